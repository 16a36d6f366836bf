// Owns: why a job is pending, in words for a person, as this node sees it.
import { hasLabels } from "../../cluster/deployment/core/placement.ts";
import type { MembershipService } from "../../cluster/membership/membership-service.ts";
import type { JobLimit } from "../core/flow/permits.ts";
import type { JobRow } from "../core/rows.ts";
import type { PermitView } from "./permit-view.ts";

export interface PendingReasonsPorts {
  readonly membership: Pick<MembershipService, "nodes">;
  readonly permits: Pick<PermitView, "fullLimit">;
}

export class PendingReasons {
  private readonly ports: PendingReasonsPorts;

  constructor(ports: PendingReasonsPorts) {
    this.ports = ports;
  }

  /** Undefined for a job that is not pending. */
  why(row: JobRow): string | undefined {
    if (row.status !== "pending") return undefined;
    const { labels = {} } = row;
    const onDuty = this.ports.membership.nodes.filter(({ status }) => status === "on-duty");
    if (onDuty.length === 0) return "no node is on duty";
    const fitting = onDuty.filter((view) => hasLabels({ labels: view.row?.labels ?? {} }, labels));
    if (fitting.length === 0) return `no node on duty has the labels ${labelsText(labels)}`;
    const full = this.ports.permits.fullLimit(row);
    return full === undefined ? "a node with room takes it in its turn" : limitText(full);
  }
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels).map(([name, value]) => `${name}=${value}`).join(", ");
}

function limitText({ limit, running }: { readonly limit: JobLimit; readonly running: number }): string {
  const { scope, name, max } = limit;
  switch (scope) {
    case "agent":
      return `${running} jobs of agent ${name} run, ${max} may`;
    case "tenant":
      return `${running} jobs of tenant ${name} run, ${max} may`;
    case "cluster":
      return `${running} jobs run in the cluster, ${max} may`;
  }
}
