// Owns: what becomes of the rows of schedules when a cluster begins from a backup: each begins with its next tick. The
// old cluster may have run those that have come since, and what they do would be done twice.
// Does not own: when a tick is due (core/schedule-step.ts), who applies this (node/plant-state.ts).
import { prefixOf, type KeyPrefix } from "../../kvstore/core/key.ts";
import type { SeedRule } from "../../kvstore/state-seed.ts";
import { readUndamaged } from "../../slices/core/damaged-row.ts";
import { parseAgentScheduleRow, parseScheduleRow, type TickRow } from "../../slices/core/schedule-row.ts";

export const RESTORED_TICKS: readonly SeedRule[] = [
  restoredBy({ kind: "schedules" }, parseScheduleRow), restoredBy({ kind: "agent-schedules" }, parseAgentScheduleRow),
];

/** A row that cannot be read is written anew with the next tick. */
function restoredBy(prefix: KeyPrefix, parse: (value: unknown) => TickRow): SeedRule {
  return {
    prefix: prefixOf(prefix),
    fateOf: ({ value }) => {
      const row = readUndamaged(() => parse(value));
      return row === undefined ? { kind: "keep" } : { kind: "put", value: { ...row, isRestored: true } };
    },
  };
}
