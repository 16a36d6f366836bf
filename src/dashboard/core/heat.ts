// Owns: durations as a heat map has them: a column for each second, a row for each doubling of the time.
import type { MethodAnswer } from "../answers.ts";

export const HEAT_ROWS = 20;
/** The first row ends here; each row takes twice as long as the one before. The last one has everything above. */
const FIRST_ROW_MS = 0.1;

export function heatRow(upToMs: number): number {
  if (!(upToMs > FIRST_ROW_MS)) return 0;
  return Math.min(HEAT_ROWS - 1, Math.ceil(Math.log2(upToMs / FIRST_ROW_MS)));
}

/** Where a row ends. */
export function heatRowMs(row: number): number {
  return FIRST_ROW_MS * 2 ** row;
}

/** How many calls of one second took how long. */
export function heatColumn(methods: readonly MethodAnswer[]): readonly number[] {
  const rows = Array.from({ length: HEAT_ROWS }, () => 0);
  for (const { durations } of methods) {
    for (const [upToMs, count] of durations) {
      const row = heatRow(upToMs);
      rows[row] = (rows[row] ?? 0) + count;
    }
  }
  return rows;
}

/** 0 for none, 1 for the most: one call is seen beside ten thousand. */
export function heatOf(count: number, most: number): number {
  return count <= 0 ? 0 : (1 + Math.log1p(count)) / (1 + Math.log1p(Math.max(count, most)));
}
