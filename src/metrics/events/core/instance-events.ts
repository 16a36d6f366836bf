// Owns: what the rows of instances say has happened.
import { prefixOf } from "../../../kvstore/core/key.ts";
import { parseInstanceRow, type InstanceRow } from "../../../slices/core/instance-row.ts";
import type { EventDraft } from "./event.ts";
import type { EventFields } from "./event-kinds.ts";
import { eventRule } from "./event-rule.ts";

type Placed = EventFields<"instance.placed">;

export const INSTANCE_EVENTS = eventRule<InstanceRow>({
  prefix: prefixOf({ kind: "slices" }),
  keepsRows: true,
  read: (key, value) => (key.kind === "slice" ? parseInstanceRow(value) : undefined),
  derive: ({ key, before, after }) => {
    const row = after ?? before;
    if (key.kind !== "slice" || row === undefined) return [];
    const { slice, blueprint, attempt } = row;
    const placed = { slice, blueprint, node: key.node, artifact: key.artifact, instance: key.instance, attempt };
    return after === undefined ? [{ kind: "instance.ended", fields: placed }] : instanceEvents(before, after, placed);
  },
});

function instanceEvents(before: InstanceRow | undefined, after: InstanceRow, placed: Placed): readonly EventDraft[] {
  if (before?.state === after.state && before.generation === after.generation) return [];
  const { state, sinceMs: atMs, error } = after;
  switch (state) {
    case "LOAD":
      return [{ kind: "instance.placed", fields: placed, atMs }];
    case "ACTIVE":
      return [{ kind: "instance.active", fields: placed, atMs }];
    case "FAILED": {
      // Also what a node says of its earlier life when it starts again in order: nothing has failed then.
      if (error === undefined) return [];
      const { code, message, fatal: isFatal } = error;
      const fields = { ...placed, code, message, isFatal, wasServing: before?.state === "ACTIVE" };
      return [{ kind: "instance.failed", fields, atMs }];
    }
    default:
      return [];
  }
}
