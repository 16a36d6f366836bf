// Owns: how the parts that make the events of one node are put together.
import type { NodeLife } from "../../cluster/core/rows.ts";
import type { Clock } from "../../env/clock.ts";
import type { Telemetry } from "../../env/telemetry.ts";
import { BLUEPRINT_EVENTS } from "./core/blueprint-events.ts";
import type { EventDraft } from "./core/event.ts";
import type { AnyEventRule } from "./core/event-rule.ts";
import { INSTANCE_EVENTS } from "./core/instance-events.ts";
import { LEADER_EVENTS, NODE_EVENTS } from "./core/node-events.ts";
import { ROLLOUT_EVENTS } from "./core/rollout-events.ts";
import { SCALE_EVENTS } from "./core/scale-events.ts";
import { LeaderEvents } from "./leader-events.ts";
import { EventHub, type ClusterEvents } from "./event-hub.ts";
import { OwnEvents, type OwnEventsPorts } from "./own-events.ts";
import { StoreEvents, type StoreEventsPorts } from "./store-events.ts";

export interface EventsPorts extends Omit<StoreEventsPorts, "hub">, Omit<OwnEventsPorts, "hub"> {}

/** What the rows of the cluster say; areas to the right have rules of their own. */
export const CLUSTER_EVENT_RULES: readonly AnyEventRule[] = [
  NODE_EVENTS, LEADER_EVENTS, BLUEPRINT_EVENTS, SCALE_EVENTS, ROLLOUT_EVENTS, INSTANCE_EVENTS,
];

export interface NodeEvents {
  readonly events: ClusterEvents;
  /** What the leader says, to be sent with its snapshots. */
  readonly ofLeader: LeaderEvents;
  /** What this node says by itself. */
  say(draft: EventDraft): void;
  start(): void;
  close(): Promise<void>;
}

export function openEvents(
  env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: EventsPorts, self: NodeLife,
): NodeEvents {
  const hub = new EventHub(self);
  const store = new StoreEvents(env, { ...ports, hub }, self.node);
  const own = new OwnEvents(env, { ...ports, hub }, self.node);
  return {
    events: hub,
    ofLeader: new LeaderEvents(env.clock, hub),
    say: (draft) => hub.say(draft, env.clock.wallMs()),
    start: () => {
      store.start();
      own.start();
    },
    close: async () => {
      own.close();
      await store.close();
    },
  };
}
