// Owns: how stored entries look as JSON, and how JSON answers are made.
import { jsonText } from "../base/json-text.ts";
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

export function jsonResponse(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(jsonText(value), {
    status,
    headers: { "content-type": "application/json; charset=utf-8", ...headers },
  });
}
