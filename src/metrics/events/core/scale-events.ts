// Owns: what the rows of scaled counts say has happened.
import { prefixOf } from "../../../kvstore/core/key.ts";
import { parseScaleRow, type ScaleRow } from "../../../slices/core/scale-row.ts";
import { eventRule } from "./event-rule.ts";

export const SCALE_EVENTS = eventRule<ScaleRow>({
  prefix: prefixOf({ kind: "scales" }),
  keepsRows: true,
  read: (key, value) => (key.kind === "scale" ? parseScaleRow(value) : undefined),
  derive: ({ key, before, after }) => {
    // A row that goes follows a change of the blueprint, which says the number itself.
    if (key.kind !== "scale" || after === undefined || before?.instances === after.instances) return [];
    const { blueprint, base, instances: to, source, reason, changedAtMs: atMs } = after;
    const from = before !== undefined && before.base === base ? before.instances : base;
    const fields = { slice: key.slice, blueprint, from, to, source, reason };
    return from === to ? [] : [{ kind: "slice.scaled-by-load", fields, atMs }];
  },
});
