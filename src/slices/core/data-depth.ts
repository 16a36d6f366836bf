// Owns: how deep nested data is, asked before anything walks it by recursion.

/** Whether `value` has more than `levels` levels of arrays and objects. Ends as soon as it knows. */
export function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return false;
  if (levels === 0) return true;
  return Object.values(value).some((field) => isDeeperThan(field, levels - 1));
}
