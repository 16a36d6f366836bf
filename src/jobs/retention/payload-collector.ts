// Owns: taking away payloads that no job needs any more, and what is left of those that nobody wrote to their end: the
// leader does it. Does not own: references (core/life), writing payloads (payloads/payload-store.ts).
//
// A payload goes when two looks have found it without a reference and unchanged, a day after somebody wrote or named it
// last: a wall clock that jumps takes away nothing that is about to be named. Its row becomes a mark, in one
// transaction, so that the next leader finds its chunks too. Whoever wants to write it meanwhile puts another mark.
import { toAetherError } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import { HOUR_MS, MINUTE_MS } from "../../base/units.ts";
import type { LeadershipService } from "../../cluster/leadership/leadership-service.ts";
import { StoreLoop } from "../../cluster/store-loop.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { knownKey, prefixOf, type AetherKey, type KeyPrefix, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, KvEntry, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import {
  BEING_TAKEN, blobKey, blobWriteKey, isThere, parseBlobRow, parseBlobWriteRow,
} from "../core/payloads/blob.ts";
import type { JobsMetrics } from "../metrics.ts";

export interface PayloadCollectorPorts {
  readonly kv: Pick<Kv, "list" | "get" | "transact">;
  readonly leadership: Pick<LeadershipService, "fence">;
  readonly metrics: Pick<JobsMetrics, "collected">;
  readonly onFatal: (error: unknown) => void;
}

/** Between looks; nothing goes that only one of them has seen without a reference. */
export const PAYLOADS_LOOK_EVERY_MS = 10 * MINUTE_MS;
/** After somebody wrote or named it last, by the wall clock. */
export const PAYLOAD_IDLE_MS = 24 * HOUR_MS;
const ROWS_PER_PAGE = 500;
/** A chunk has 192 KiB. */
const CHUNKS_PER_PAGE = 16;

export class PayloadCollector {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: PayloadCollectorPorts;
  private readonly loop: StoreLoop;
  /** Payloads that the look before found without a reference, with the revision of their rows. */
  private idle: ReadonlyMap<Digest, number> = new Map();

  constructor(env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: PayloadCollectorPorts) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.loop = new StoreLoop(env, "job payloads", { look: (signal) => this.look(signal), onFatal: ports.onFatal });
  }

  start(): void {
    this.loop.start();
  }

  async close(): Promise<void> {
    await this.loop.close();
  }

  private async look(signal: AbortSignal): Promise<number> {
    if (this.ports.leadership.fence() === undefined) {
      this.idle = new Map();
      return PAYLOADS_LOOK_EVERY_MS;
    }
    await this.takeRows(signal);
    await this.takeChunks(signal);
    return PAYLOADS_LOOK_EVERY_MS;
  }

  /** Payloads and references are both in the order of their digests. */
  private async takeRows(signal: AbortSignal): Promise<void> {
    const idle = new Map<Digest, number>();
    const references = this.rows({ kind: "job-blob-refs" }, ROWS_PER_PAGE, signal);
    let reference = await references.next();
    for await (const { key, entry } of this.rows({ kind: "job-blobs" }, ROWS_PER_PAGE, signal)) {
      if (key.kind !== "job-blob") continue;
      while (reference.done !== true && digestOf(reference.value.key) < key.digest) reference = await references.next();
      const isNamed = reference.done !== true && digestOf(reference.value.key) === key.digest;
      if (isNamed || !this.isOld(entry, parseBlobRow)) continue;
      if (this.idle.get(key.digest) !== entry.modRevision) idle.set(key.digest, entry.modRevision);
      else await this.takeRow(key.digest, entry, signal);
    }
    this.idle = idle;
  }

  private async takeRow(digest: Digest, { key, modRevision }: KvEntry, signal: AbortSignal): Promise<void> {
    const mark = blobWriteKey({ digest });
    const isTaken = await this.write(
      [unchanged(key, modRevision), { key: mark, target: "exists", op: "=", value: false }],
      [{ kind: "delete", key }, { kind: "put", key: mark, value: BEING_TAKEN }],
      signal,
    );
    if (!isTaken) return;
    this.ports.metrics.collected.add(1, { what: "payload" });
    this.log.info({ event: "jobs.payload-taken", digest });
  }

  /** Of payloads whose rows are gone, and of those that nobody wrote to their end. */
  private async takeChunks(signal: AbortSignal): Promise<void> {
    for await (const { key, entry } of this.rows({ kind: "job-blob-writes" }, ROWS_PER_PAGE, signal)) {
      if (key.kind === "job-blob-write" && this.isOld(entry, parseBlobWriteRow)) {
        await this.takeMark(key.digest, entry, signal);
      }
    }
  }

  private async takeMark(digest: Digest, entry: KvEntry, signal: AbortSignal): Promise<void> {
    const mark = { key: entry.key, modRevision: entry.modRevision };
    const { entry: row } = await this.ports.kv.get(blobKey({ digest }), { consistency: "local", signal });
    if (row !== undefined) {
      // Somebody else has written it; its chunks are needed.
      await this.write([unchanged(mark.key, mark.modRevision), isThere({ digest })], [forget(mark.key)], signal);
    } else if (parseBlobWriteRow(entry.value).putMs !== BEING_TAKEN.putMs) {
      // The next look takes its chunks: whoever writes them still has begun anew by then.
      const seized: Op = { kind: "put", key: mark.key, value: BEING_TAKEN };
      await this.write([unchanged(mark.key, mark.modRevision)], [seized], signal);
    } else await this.takeChunksOf(digest, mark, signal);
  }

  private async takeChunksOf(
    digest: Digest, { key, modRevision }: Pick<KvEntry, "key" | "modRevision">, signal: AbortSignal,
  ): Promise<void> {
    const prefix = prefixOf({ kind: "job-blob-chunks", digest });
    const guards = [unchanged(key, modRevision)];
    for (;;) {
      const page = await this.ports.kv.list({ prefix, limit: CHUNKS_PER_PAGE }, { consistency: "local", signal });
      const gone = page.entries.map((chunk) => forget(chunk.key));
      const isDone = await this.write(guards, page.more ? gone : [...gone, forget(key)], signal);
      if (!isDone || !page.more) return;
    }
  }

  /** One that cannot be read stays, for a person to look at. */
  private isOld({ key, value }: KvEntry, parse: (value: unknown) => { readonly putMs: number }): boolean {
    try {
      return parse(value).putMs <= this.clock.wallMs() - PAYLOAD_IDLE_MS;
    } catch (error) {
      this.log.error({ event: "jobs.payload-not-collected", key, reason: toAetherError(error).message });
      return false;
    }
  }

  /** False when something has changed, or another node leads. */
  private async write(guards: readonly Compare[], then: readonly Op[], signal: AbortSignal): Promise<boolean> {
    const fence = this.ports.leadership.fence();
    if (fence === undefined) return false;
    return (await this.ports.kv.transact({ compare: [fence, ...guards], then, else: [] }, { signal })).succeeded;
  }

  private async *rows(
    prefix: KeyPrefix, limit: number, signal: AbortSignal,
  ): AsyncGenerator<{ readonly key: AetherKey; readonly entry: KvEntry }, void> {
    for (let after: KeyText | undefined; ;) {
      const query = { prefix: prefixOf(prefix), limit, ...(after !== undefined && { after }) };
      const page = await this.ports.kv.list(query, { consistency: "local", signal });
      for (const entry of page.entries) {
        const key = knownKey(entry.key);
        if (key !== undefined) yield { key, entry };
      }
      after = page.entries.at(-1)?.key;
      if (!page.more || after === undefined) return;
    }
  }
}

function digestOf(key: AetherKey): string {
  return key.kind === "job-blob-ref" ? key.digest : "";
}

function forget(key: KeyText): Op {
  return { kind: "delete", key };
}
