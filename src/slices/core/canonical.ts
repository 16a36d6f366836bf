// Owns: one form of plain data, whatever order its keys were written in.

/** The same data with the keys of every object sorted. Bytes and arrays stay as they are. */
export function toCanonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toCanonical);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, field]) => [key, toCanonical(field)]));
}

/** Whether two pieces of JSON-like data say the same. */
export function isSameData(a: unknown, b: unknown): boolean {
  return JSON.stringify(toCanonical(a)) === JSON.stringify(toCanonical(b));
}
