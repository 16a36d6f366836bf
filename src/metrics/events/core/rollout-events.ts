// Owns: what the rows of rollouts say has happened.
import { unreachable } from "../../../base/assert.ts";
import { prefixOf } from "../../../kvstore/core/key.ts";
import { parseRolloutRow, percentOf, type RolloutRow } from "../../../slices/core/rollout-row.ts";
import type { EventDraft } from "./event.ts";
import type { EventFields } from "./event-kinds.ts";
import { eventRule } from "./event-rule.ts";

type Turned = EventFields<"rollout.done">;

export const ROLLOUT_EVENTS = eventRule<RolloutRow>({
  prefix: prefixOf({ kind: "rollouts" }),
  keepsRows: true,
  read: (key, value) => (key.kind === "rollout" ? parseRolloutRow(value) : undefined),
  derive: ({ key, before, after }) => {
    // A row goes with its blueprint, which is an event of its own.
    if (key.kind !== "rollout" || after === undefined) return [];
    const { slice, blueprint } = key;
    const turned = { slice, blueprint, from: after.previous.artifact, to: after.target.artifact };
    const isNew = before === undefined || !isSameRollout(before, after);
    const started: EventDraft = {
      kind: "rollout.started", fields: { ...turned, strategy: after.strategy }, atMs: after.sinceMs,
    };
    return [...(isNew ? [started] : []), ...stageEvents(isNew ? undefined : before, after, turned)];
  },
});

/** A row that begins again from its end is another rollout of the same versions. */
function isSameRollout(before: RolloutRow, after: RolloutRow): boolean {
  const isSame = before.target.specDigest === after.target.specDigest
    && before.previous.specDigest === after.previous.specDigest;
  const isOver = before.stage === "done" || before.stage === "rolled-back";
  return isSame && (!isOver || before.stage === after.stage);
}

function stageEvents(before: RolloutRow | undefined, after: RolloutRow, fields: Turned): readonly EventDraft[] {
  const { stage, sinceMs: atMs, reason = "" } = after;
  if (before?.stage === stage) return shareEvents(before, after, fields);
  switch (stage) {
    case "shifting":
      return shareEvents(before, after, fields);
    case "finishing":
      return [{ kind: "rollout.settled", fields, atMs }];
    case "done":
      return [{ kind: "rollout.done", fields, atMs }];
    case "rolling-back":
      return [{ kind: "rollout.turned-back", fields: { ...fields, reason }, atMs }];
    case "rolled-back":
      return [{ kind: "rollout.rolled-back", fields, atMs }];
    default:
      return unreachable(stage);
  }
}

function shareEvents(before: RolloutRow | undefined, after: RolloutRow, fields: Turned): readonly EventDraft[] {
  const { targetShare, sinceMs: atMs } = after;
  if (targetShare === undefined || targetShare === (before?.targetShare ?? 0)) return [];
  return [{ kind: "rollout.share", fields: { ...fields, percent: percentOf(targetShare) }, atMs }];
}
