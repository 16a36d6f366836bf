// Owns: whether slices can be loaded at all: which of them wait for each other in a circle.

/** For each slice, the slices that must serve before it is activated. */
export type LoadOrder = ReadonlyMap<string, readonly string[]>;

/**
 * A circle of slices that wait for each other, as `[orders, pricing, orders]`; undefined when there is none. The same
 * order gives the same circle. Names that are not in the order wait for nothing.
 */
export function findLoadCycle(order: LoadOrder): readonly string[] | undefined {
  const done = new Set<string>();
  for (const start of [...order.keys()].sort()) {
    const cycle = follow(order, start, { path: [], done });
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

/** Depth is bounded by the number of slices of a blueprint: no slice is entered twice. */
function follow(
  order: LoadOrder,
  slice: string,
  walk: { readonly path: readonly string[]; readonly done: Set<string> },
): readonly string[] | undefined {
  const { path, done } = walk;
  const seenAt = path.indexOf(slice);
  if (seenAt >= 0) return [...path.slice(seenAt), slice];
  if (done.has(slice)) return undefined;
  for (const next of order.get(slice) ?? []) {
    const cycle = follow(order, next, { path: [...path, slice], done });
    if (cycle !== undefined) return cycle;
  }
  done.add(slice);
  return undefined;
}
