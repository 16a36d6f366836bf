// Owns: reading the log of one run of a job from the store, in chunks as far as there are any, and writing chunks.
// Does not own: what a chunk is (core/log/chunk.ts), the job beside its log (job-store.ts).
import type { CallOptions } from "../env/env.ts";
import type { Log } from "../env/telemetry.ts";
import { unchanged } from "../kvstore/core/guards.ts";
import { formatKey, prefixOf, type KeyText } from "../kvstore/core/key.ts";
import type { JobRef } from "../kvstore/core/job-key.ts";
import type { KvEntry } from "../kvstore/core/schema.ts";
import type { Kv, KvGetOptions } from "../kvstore/kv.ts";
import { readUndamaged } from "../slices/core/damaged-row.ts";
import { rowKey } from "./core/life/job-keys.ts";
import { CHUNK_EVENTS_MAX, chunkOf, lastOf, leadingChunks } from "./core/log/chunk.ts";
import type { PlacedPage } from "./core/log/page.ts";
import { verifyLog, type LogVerdict } from "./core/log/verify-log.ts";
import { pageValue, parseJobPage } from "./core/rows.ts";
import type { JobView } from "./ports.ts";

export type AtRevision = CallOptions & Pick<KvGetOptions, "consistency"> & { readonly revision?: number };

export type ReadLog =
  | {
    readonly kind: "whole";
    /** As stored. */
    readonly events: readonly Uint8Array[];
    /** Number of the last event that is in a chunk. */
    readonly chunkedTo: number;
  }
  | Extract<LogVerdict, { readonly kind: "broken" }>;

type Store = Pick<Kv, "list" | "transact">;

/** All of it, checked. A chunk that is damaged, or not what was appended, does not count. */
export async function readLog(
  { kv, log }: { readonly kv: Store; readonly log: Log }, view: JobView, at: AtRevision,
): Promise<ReadLog> {
  const { ref, row: { run }, spec: { uid }, head } = view;
  const chunks = await readChunks(kv, ref, run, at);
  const chunkedTo = lastOf(chunks);
  const pages = [...chunks, ...await readPages(kv, ref, run, { ...at, after: chunkedTo })];
  const verdict = verifyLog({ uid, run, head }, pages);
  if (verdict.kind === "whole") return { ...verdict, events: eventsOf(pages), chunkedTo };
  if (chunks.length === 0) return verdict;
  log.warn({ event: "jobs.chunk-damaged", job: ref.job, run, seq: verdict.seq, reason: verdict.reason });
  const all = await readPages(kv, ref, run, { ...at, after: 0 });
  const second = verifyLog({ uid, run, head }, all);
  return second.kind === "whole" ? { ...second, events: eventsOf(all), chunkedTo: 0 } : second;
}

/**
 * Puts the pages after event `after` into one more row, for as long as the view's owner owns the job. What it writes
 * follows from the log: written again it is the same. Answers up to which event there are chunks then; undefined when
 * the job is another one's by now.
 */
export async function writeChunk(
  kv: Store, { ref, row: { run }, rowRevision }: JobView, after: number, options: CallOptions,
): Promise<number | undefined> {
  const pages = await readPages(kv, ref, run, {
    ...options, consistency: "local", after, limit: CHUNK_EVENTS_MAX,
  });
  const chunk = chunkOf(pages);
  if (chunk?.seq !== after + 1) return undefined;
  const { succeeded } = await kv.transact({
    compare: [unchanged(rowKey(ref), rowRevision)],
    then: [{
      kind: "put", key: formatKey({ kind: "job-chunk", ...ref, run, seq: chunk.seq }), value: pageValue(chunk.page),
    }],
    else: [],
  }, options);
  return succeeded ? lastOf([chunk]) : undefined;
}

async function readChunks(kv: Store, ref: JobRef, run: number, at: AtRevision): Promise<readonly PlacedPage[]> {
  const prefix = prefixOf({ kind: "job-chunks", ...ref, run });
  const rows = await listAll(kv, { prefix }, at);
  return leadingChunks(rows.flatMap((row) => readUndamaged(() => placedOf(run, prefix, row)) ?? []));
}

/** `limit` counts rows. */
async function readPages(
  kv: Store, ref: JobRef, run: number,
  { after, limit, ...at }: AtRevision & { readonly after: number; readonly limit?: number },
): Promise<readonly PlacedPage[]> {
  const prefix = prefixOf({ kind: "job-log", ...ref, run });
  const from = formatKey({ kind: "job-page", ...ref, run, seq: after });
  const rows = await listAll(kv, { prefix, after: from, ...(limit === undefined ? {} : { limit }) }, at);
  return rows.map((row) => placedOf(run, prefix, row));
}

/** What is left of the key is the number: to parse all of it costs as much as to read the row. */
function placedOf(run: number, prefix: string, { key, value }: KvEntry): PlacedPage {
  return { run, seq: Number(key.slice(prefix.length)), page: parseJobPage(value) };
}

/** All rows, or those of the first page where a limit is given. */
export async function listAll(
  kv: Pick<Kv, "list">,
  { prefix, after: from, limit }: { readonly prefix: string; readonly after?: KeyText; readonly limit?: number },
  { revision, ...options }: AtRevision,
): Promise<readonly KvEntry[]> {
  const rows: KvEntry[] = [];
  for (let after = from; ;) {
    const page = await kv.list({
      prefix,
      ...(revision === undefined ? {} : { revision }),
      ...(limit === undefined ? {} : { limit }),
      ...(after === undefined ? {} : { after }),
    }, options);
    rows.push(...page.entries);
    after = page.entries.at(-1)?.key;
    if (!page.more || after === undefined || limit !== undefined) return rows;
  }
}

function eventsOf(pages: readonly PlacedPage[]): readonly Uint8Array[] {
  return pages.flatMap(({ page }) => page.events);
}
