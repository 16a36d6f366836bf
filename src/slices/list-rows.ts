// Owns: reading all rows of a prefix, page by page.
import type { Kv, KvReadOptions } from "../kvstore/kv.ts";
import type { KvEntry } from "../kvstore/core/schema.ts";

/** All entries in key order. Pages may be of different revisions: use it where each row stands for itself. */
export async function listRows(
  kv: Pick<Kv, "list">, prefix: string, options: KvReadOptions = {},
): Promise<KvEntry[]> {
  const rows: KvEntry[] = [];
  for (;;) {
    const after = rows.at(-1)?.key;
    const page = await kv.list({ prefix, ...(after === undefined ? {} : { after }) }, options);
    rows.push(...page.entries);
    if (!page.more || page.entries.length === 0) return rows;
  }
}
