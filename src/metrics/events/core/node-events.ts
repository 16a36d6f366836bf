// Owns: what the rows of nodes and of the leader say has happened.
import { unreachable } from "../../../base/assert.ts";
import type { NodeId } from "../../../base/ids.ts";
import {
  parseLeaderRow, parseNodeIntentRow, parseNodeStateRow, type LeaderRow, type NodeIntentRow, type NodeStateRow,
} from "../../../cluster/core/rows.ts";
import { prefixOf } from "../../../kvstore/core/key.ts";
import type { EventDraft } from "./event.ts";
import { eventRule } from "./event-rule.ts";

type NodeValue =
  | ({ readonly kind: "state" } & NodeStateRow)
  | ({ readonly kind: "intent" } & NodeIntentRow);

export const NODE_EVENTS = eventRule<NodeValue>({
  prefix: prefixOf({ kind: "nodes" }),
  keepsRows: true,
  read: (key, value) => {
    if (key.kind === "node-state") return { kind: "state", ...parseNodeStateRow(value) };
    return key.kind === "node-intent" ? { kind: "intent", ...parseNodeIntentRow(value) } : undefined;
  },
  derive: ({ key, before, after }) => {
    if (key.kind === "node-state") return stateEvents(key.node, stateOf(before), stateOf(after));
    return key.kind === "node-intent" ? intentEvents(key.node, wantOf(before), wantOf(after)) : [];
  },
});

/** Of the leader only who it is: its beat says nothing that has happened. */
export const LEADER_EVENTS = eventRule<LeaderRow>({
  prefix: prefixOf({ kind: "leader" }),
  keepsRows: true,
  read: (key, value) => (key.kind === "leader" ? parseLeaderRow(value) : undefined),
  derive: ({ before, after }) => {
    if (after === undefined || before?.epoch === after.epoch) return [];
    return [{ kind: "leader.changed", fields: { node: after.holder.node, epoch: after.epoch } }];
  },
});

function stateEvents(
  node: NodeId, before: NodeStateRow | undefined, after: NodeStateRow | undefined,
): readonly EventDraft[] {
  if (after === undefined) return before === undefined ? [] : [{ kind: "node.forgotten", fields: { node } }];
  const { incarnation, sinceMs: atMs } = after;
  const isNewLife = before?.uid !== after.uid || before.incarnation !== incarnation;
  // What another node writes of it when it is gone is no new life.
  const started: readonly EventDraft[] = isNewLife && after.state !== "gone"
    ? [{ kind: "node.started", fields: { node, incarnation }, atMs }]
    : [];
  if (!isNewLife && before.state === after.state && before.isStopping === after.isStopping) return started;
  return [...started, ...dutyEvents(node, after)];
}

function dutyEvents(node: NodeId, { state, isStopping, sinceMs: atMs }: NodeStateRow): readonly EventDraft[] {
  switch (state) {
    case "joining":
      return [];
    case "on-duty":
      return [{ kind: "node.on-duty", fields: { node }, atMs }];
    case "draining":
      return [{ kind: "node.draining", fields: { node, isStopping: isStopping === true }, atMs }];
    case "drained":
      return [{ kind: "node.drained", fields: { node }, atMs }];
    case "gone":
      return [{ kind: "node.gone", fields: { node }, atMs }];
    default:
      return unreachable(state);
  }
}

type Want = NodeIntentRow["want"];

/** A node that nothing is said of is wanted on duty. */
function intentEvents(node: NodeId, before: Want = "on-duty", after: Want = "on-duty"): readonly EventDraft[] {
  if (before === after) return [];
  return [{ kind: after === "drained" ? "node.drain-asked" : "node.drain-called-off", fields: { node } }];
}

function stateOf(value: NodeValue | undefined): NodeStateRow | undefined {
  return value?.kind === "state" ? value : undefined;
}

function wantOf(value: NodeValue | undefined): Want | undefined {
  return value?.kind === "intent" ? value.want : undefined;
}
