// Owns: how the parts of control of one node are put together.
import type { ClusterServices } from "../cluster/cluster-services.ts";
import type { Group } from "../consensus/group.ts";
import type { Clock } from "../env/clock.ts";
import type { Telemetry } from "../env/telemetry.ts";
import type { Kv } from "../kvstore/kv.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";
import type { LeaderEvents } from "../metrics/events/leader-events.ts";
import type { SliceFacts } from "./core/advice.ts";
import { ControlLoop } from "./control-loop.ts";
import { ControlService } from "./control-service.ts";
import { ControlView } from "./control-view.ts";
import { ModelAdvisor, type ModelAdvisorPorts } from "./model-advisor.ts";

export interface ControlPorts extends ModelAdvisorPorts {
  readonly kv: Kv;
  readonly group: Pick<Group, "status">;
  readonly cluster: Pick<ClusterServices, "controlViews" | "leadership" | "membership">;
  readonly metrics: Pick<ClusterMetrics, "history">;
  readonly ofLeader: Pick<LeaderEvents, "say">;
}

export interface Control {
  readonly service: ControlService;
  /** How slices stand, as this node sees them. */
  facts(): ReadonlyMap<string, SliceFacts>;
  start(): void;
  close(): Promise<void>;
}

export function openControl(
  env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: ControlPorts,
): Control {
  const { kv, group, cluster, metrics, ofLeader, onFatal } = ports;
  const { leadership, membership, controlViews: views } = cluster;
  const control = new ControlView({ clock: env.clock, log: env.telemetry.log }, kv);
  const models = new ModelAdvisor(env, ports);
  const loop = new ControlLoop(env, {
    kv, views, control, leadership, membership, group, metrics, ofLeader, models, time: membership, onFatal,
  });
  const service = new ControlService({
    kv, control, views, time: membership,
    facts: () => loop.facts(),
    recent: () => loop.recent(),
    leader: () => leadership.current()?.node,
  });
  const start = (): void => {
    control.open();
    loop.start();
  };
  const close = async (): Promise<void> => {
    await loop.close();
    await control.close();
  };
  return { service, facts: () => loop.facts(), start, close };
}
