// Owns: what `undefined` means in plain values on their way through the store, which knows only null and absence.

/** Whether two plain values mean the same after a way through the store: `undefined` comes back as null or absent. */
export function isSameValue(a: unknown, b: unknown): boolean {
  if (a === b || (a ?? null) === (b ?? null)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const left = new Map<string, unknown>(Object.entries(a));
  const right = new Map<string, unknown>(Object.entries(b));
  const names = new Set([...left.keys(), ...right.keys()]);
  return [...names].every((name) => isSameValue(left.get(name), right.get(name)));
}

/** The same value without fields that are `undefined`; inside an array they become null, to keep their places. */
export function storable(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(storable);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(fields.map(([name, field]) => [name, storable(field)]));
}
