// Owns: series with points of their own as columns of one time, which is what a chart draws.

export type Point = readonly [atMs: number, value: number];

/** Seconds first, then a column for each series: null where it has no point. */
export function alignSeries(series: readonly (readonly Point[])[], scale = 1): readonly (readonly (number | null)[])[] {
  const times = [...new Set(series.flatMap((points) => points.map(([atMs]) => secondOf(atMs))))].sort((a, b) => a - b);
  return [times, ...series.map((points) => {
    const values = new Map(points.map(([atMs, value]) => [secondOf(atMs), value * scale]));
    return times.map((time) => values.get(time) ?? null);
  })];
}

/** Nodes report in the same second at moments of their own. */
function secondOf(atMs: number): number {
  return Math.round(atMs / 1_000);
}
