// Owns: one job as lines, as of one revision of the store, read while they are written: however long its log is, little
// of it is in memory. Does not own: what a line is (core/explain/export-line.ts), whether they agree (job-check.ts).
import type { JobId } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";
import { formatKey, knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry } from "../../kvstore/core/schema.ts";
import type { Kv, KvListQuery } from "../../kvstore/kv.ts";
import { SDK_VERSION } from "../../sdk/version.ts";
import { readUndamaged } from "../../slices/core/damaged-row.ts";
import { firstLine, lineOf, LinesDigest, rowBytes, type ExportRecord } from "../core/explain/export-line.ts";
import { refOf } from "../core/ids.ts";
import { headKey, resultKey, rowKey, specKey } from "../core/life/job-keys.ts";
import { nextLink } from "../core/log/chain.ts";
import { chunkCountOf, chunkKey, parsePayloadRow } from "../core/payloads/blob.ts";
import { parseJobPage, parseJobRow } from "../core/rows.ts";
import { collectedJob, unknownJob } from "../job-store.ts";

/** Rows of one read: each has 512 KiB at most. */
const ROWS_PER_READ = 32;

export class JobExport {
  private readonly kv: Pick<Kv, "get" | "list">;

  constructor(kv: Pick<Kv, "get" | "list">) {
    this.kv = kv;
  }

  /**
   * The lines of a job, each with its end; what is damaged is in them as it is. Reading them fails with E_COMPACTED
   * when it takes longer than the store keeps old revisions.
   * @throws AetherError E_NOT_FOUND
   */
  async open(job: JobId, options: CallOptions = {}): Promise<AsyncIterable<string>> {
    const ref = refOf(job);
    const { entry, revision } = await this.kv.get(rowKey(ref), options);
    if (entry === undefined) throw unknownJob(job);
    const collectedMs = readUndamaged(() => parseJobRow(entry.value))?.collectedMs;
    if (collectedMs !== undefined) throw collectedJob(job, collectedMs);
    return ended(this.records(ref, entry, revision, options));
  }

  private async *records(
    ref: JobRef, row: KvEntry, revision: number, options: CallOptions,
  ): AsyncGenerator<ExportRecord> {
    const at = { ...options, revision };
    const keys = [formatKey({ kind: "cluster-uid" }), headKey(ref), specKey(ref), resultKey(ref)];
    const [uid, head, spec, result] = await Promise.all(keys.map((key) => this.kv.get(key, at)));
    const clusterUid = uid?.entry?.value;
    yield firstLine({
      job: ref.job, revision, createdBy: SDK_VERSION, ...(typeof clusterUid === "string" && { clusterUid }),
    });
    yield { kind: "job", bytes: rowBytes(row.value) };
    if (spec?.entry !== undefined) yield { kind: "spec", bytes: rowBytes(spec.entry.value) };
    if (head?.entry !== undefined) yield { kind: "head", bytes: rowBytes(head.entry.value) };
    if (result?.entry !== undefined) yield { kind: "result", bytes: rowBytes(result.entry.value) };
    for await (const { key: text, value } of this.rows({ prefix: prefixOf({ kind: "job-runs", ...ref }), revision },
      options)) {
      const key = knownKey(text);
      if (key?.kind !== "job-run") continue;
      yield { kind: "run", run: key.run, bytes: rowBytes(value) };
      yield* this.run({ ...ref, run: key.run }, revision, options);
    }
    const run = readUndamaged(() => parseJobRow(row.value))?.run ?? 1;
    yield* this.run({ ...ref, run }, revision, options);
    yield* this.payloads(ref, revision, options);
  }

  /** What of them cannot be read is left out. Under their digests they are the same at any revision. */
  private async *payloads(ref: JobRef, revision: number, options: CallOptions): AsyncGenerator<ExportRecord> {
    const query = { prefix: prefixOf({ kind: "job-payloads", ...ref }), revision };
    for await (const { key: text, value } of this.rows(query, options)) {
      const key = knownKey(text);
      const row = readUndamaged(() => parsePayloadRow(value));
      if (key?.kind !== "job-payload" || row === undefined) continue;
      const { digest } = key;
      for (let part = 0; part < chunkCountOf(row); part++) {
        const { entry } = await this.kv.get(chunkKey({ digest }, part), { ...options, consistency: "local" });
        if (entry?.value instanceof Uint8Array) yield { kind: "payload", digest, part, bytes: entry.value };
      }
    }
  }

  private async *run(
    ref: JobRef & { readonly run: number }, revision: number, options: CallOptions,
  ): AsyncGenerator<ExportRecord> {
    yield* this.events({ prefix: prefixOf({ kind: "job-log", ...ref }), revision }, options);
    for await (const { key: text, value } of this.rows({ prefix: prefixOf({ kind: "job-chunks", ...ref }), revision },
      options)) {
      const key = knownKey(text);
      if (key?.kind === "job-chunk") yield chunkRecord(key, value);
    }
    const tools = { prefix: prefixOf({ kind: "job-tools", ...ref }), revision };
    for await (const { key: text, value } of this.rows(tools, options)) {
      const key = knownKey(text);
      if (key?.kind === "job-tool") yield { kind: "tool", effect: key.effect, bytes: rowBytes(value) };
    }
  }

  private async *events(query: KvListQuery, options: CallOptions): AsyncGenerator<ExportRecord> {
    for await (const { key: text, value } of this.rows(query, options)) {
      const key = knownKey(text);
      if (key?.kind !== "job-page") continue;
      const page = readUndamaged(() => parseJobPage(value));
      if (page === undefined) {
        yield { kind: "page", run: key.run, seq: key.seq, bytes: rowBytes(value) };
        continue;
      }
      let link = page.prev;
      for (const [index, bytes] of page.events.entries()) {
        const seq = key.seq + index;
        const prev = index === 0 ? { prev: hexOf(link) } : {};
        link = nextLink(link, seq, bytes);
        yield { kind: "event", run: key.run, seq, ...prev, link: hexOf(link), bytes };
      }
    }
  }

  private async *rows(query: KvListQuery, options: CallOptions): AsyncGenerator<KvEntry> {
    for (let after: KeyText | undefined; ;) {
      const page = await this.kv.list(
        { ...query, limit: ROWS_PER_READ, ...(after === undefined ? {} : { after }) }, options,
      );
      yield* page.entries;
      after = page.entries.at(-1)?.key;
      if (!page.more || after === undefined) return;
    }
  }
}

/** The bytes of a chunk are those of the events: that is to be checked, and they are not written twice. */
function chunkRecord({ run, seq }: { readonly run: number; readonly seq: number }, value: unknown): ExportRecord {
  const page = readUndamaged(() => parseJobPage(value));
  if (page === undefined) return { kind: "chunk", run, seq, links: [] };
  let link = page.prev;
  const links = page.events.map((bytes, index) => {
    link = nextLink(link, seq + index, bytes);
    return hexOf(link);
  });
  return { kind: "chunk", run, seq, prev: hexOf(page.prev), links };
}

/** The lines, and the last one, by which a reader knows that nothing is missing. */
async function* ended(records: AsyncIterable<ExportRecord>): AsyncGenerator<string> {
  const digest = new LinesDigest();
  for await (const record of records) {
    const line = lineOf(record);
    digest.add(line);
    yield `${line}\n`;
  }
  yield `${lineOf({ kind: "end", lines: digest.lines, digest: digest.text })}\n`;
}

function hexOf(link: Uint8Array): string {
  return Buffer.from(link).toString("hex");
}
