// Owns: how stored values look as JSON, and how JSON answers are made.
import type { KvEntry } from "../kvstore/core/schema.ts";

/** A KV entry as the HTTP API shows it. */
export interface EntryJson {
  readonly key: string;
  readonly value: unknown;
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
  /** The lease that the key is attached to, when there is one. */
  readonly lease?: number;
}

export function entryJson(entry: KvEntry): EntryJson {
  const { key, value, modRevision, createRevision, version, lease } = entry;
  return { key, value, modRevision, createRevision, version, ...(lease === undefined ? {} : { lease }) };
}

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

export function jsonResponse(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(jsonText(value), {
    status,
    headers: { "content-type": "application/json; charset=utf-8", ...headers },
  });
}
