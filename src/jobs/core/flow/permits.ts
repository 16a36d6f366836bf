// Owns: how many jobs of an agent, of a tenant and of the cluster may run at once: which limits a job has, and which
// places of them, and of those for calls, are free, as far as a node sees. Does not own: that no place is given twice
// (who takes it compares it).
import { crc32 } from "../../../base/digest.ts";
import type { PermitPlace, PermitScope } from "../../../kvstore/core/job-key.ts";
import type { QueueRow } from "../rows.ts";

/** As a limit: none. Below it each job that may run is a place with a number of up to six digits. */
export const UNLIMITED_JOBS = 1_000_000;

export interface PermitLimits {
  /** Of the whole cluster. */
  readonly runningMax: number;
  /** Of each tenant. */
  readonly tenantRunningMax: number;
}

export interface PermitLimit<S extends PermitScope = PermitScope> {
  readonly scope: S;
  readonly name: string;
  readonly max: number;
}

/** Of jobs that run, and not of their calls. */
export type JobLimit = PermitLimit<Exclude<PermitScope, "call">>;

type Limited = Pick<QueueRow, "agent" | "tenant" | "agentMax">;

const NO_LIMITS: readonly JobLimit[] = [];
/** Of the only one of its scope. */
const CLUSTER_NAME = "all";

/** None for most jobs. */
export function limitsOf(
  { agent, tenant, agentMax = UNLIMITED_JOBS }: Limited, { runningMax, tenantRunningMax }: PermitLimits,
): readonly JobLimit[] {
  if (Math.min(agentMax, tenantRunningMax, runningMax) === UNLIMITED_JOBS) return NO_LIMITS;
  const limits: readonly JobLimit[] = [
    { scope: "agent", name: agent, max: agentMax },
    { scope: "tenant", name: tenant, max: tenantRunningMax },
    { scope: "cluster", name: CLUSTER_NAME, max: runningMax },
  ];
  return limits.filter(({ max }) => max < UNLIMITED_JOBS);
}

/** Places that are taken, as far as is known. */
export class TakenPlaces {
  private readonly slots = new Map<string, Set<number>>();

  take({ slot, ...limit }: PermitPlace): void {
    const name = nameOf(limit);
    const taken = this.slots.get(name) ?? new Set<number>();
    this.slots.set(name, taken.add(slot));
  }

  free({ slot, ...limit }: PermitPlace): void {
    const name = nameOf(limit);
    const taken = this.slots.get(name);
    taken?.delete(slot);
    if (taken?.size === 0) this.slots.delete(name);
  }

  /** Also counts those above `max`, of a time when there were more. */
  isFull(limit: PermitLimit): boolean {
    return this.count(limit) >= limit.max;
  }

  count(limit: Pick<PermitLimit, "scope" | "name">): number {
    return this.slots.get(nameOf(limit))?.size ?? 0;
  }

  /** A free place for each limit; undefined when one of them has none. Where it looks first depends on who wants it. */
  choose(limits: readonly PermitLimit[], holder: string): readonly PermitPlace[] | undefined {
    if (limits.some((limit) => this.isFull(limit))) return undefined;
    const hash = limits.length === 0 ? 0 : crc32(Buffer.from(holder));
    return limits.map(({ scope, name, max }) => {
      const taken = this.slots.get(nameOf({ scope, name }));
      let slot = hash % max;
      // Fewer are taken than there are, so that one of them is free.
      while (taken?.has(slot) === true) slot = (slot + 1) % max;
      return { scope, name, slot };
    });
  }
}

function nameOf({ scope, name }: Pick<PermitLimit, "scope" | "name">): string {
  return `${scope}/${name}`;
}
