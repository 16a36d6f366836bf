// Owns: plain data as JSON text, bytes included.

/** JSON text of `value`; bytes, which JSON does not have, become `{ "$base64": "…" }`. Undefined becomes null. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value, replaceBytes) ?? "null";
}

// `this[key]` is the value before `toJSON`, which would turn a Buffer into an array of numbers.
function replaceBytes(this: unknown, key: string, value: unknown): unknown {
  const original: unknown = typeof this === "object" && this !== null ? Reflect.get(this, key) : value;
  if (original instanceof Uint8Array) return { $base64: Buffer.from(original).toString("base64") };
  return value;
}
