// Owns: writing payloads that are stored apart, and reading them again. Does not own: who needs which (core/life), what
// is taken away when nobody does (retention/payload-collector.ts).
import { DigestOfParts } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import { StoreOutage, throughOutage } from "../../cluster/store-outage.ts";
import type { CallOptions, Env } from "../../env/env.ts";
import type { Op, Txn, TxnResult } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import {
  blobWriteKey, chunkBytesOf, chunkCountOf, chunkKey, isBeingWritten, isThere, putBlob, type BlobRef,
  type BlobWriteRow,
} from "../core/payloads/blob.ts";

/** A transaction has 1 MiB at most. */
const CHUNKS_PER_TXN = 4;

export type PartOf = (part: number) => Promise<Uint8Array>;

export class PayloadStore {
  private readonly clock: Env["clock"];
  private readonly kv: Pick<Kv, "get" | "transact">;
  private readonly outage: StoreOutage;

  constructor({ clock, telemetry }: Pick<Env, "clock" | "telemetry">, kv: Pick<Kv, "get" | "transact">) {
    this.clock = clock;
    this.kv = kv;
    this.outage = new StoreOutage(telemetry.log, "job payloads");
  }

  /**
   * Resolves once the payload is stored; whoever needs it has to name it within a day. Through outages of the store it
   * goes on until it is aborted. `partOf` may be asked for a part more than once, or not at all.
   * @throws AetherError E_INVALID when the parts are not what the digest says
   */
  async put(blob: BlobRef, partOf: PartOf, signal: AbortSignal): Promise<void> {
    while (!await this.renew(blob, signal)) {
      if (await this.write(blob, partOf, signal)) return;
    }
  }

  /** One chunk. @throws AetherError E_DATA_CORRUPT when it is not there, or not of the right size */
  async part(blob: BlobRef, part: number, options: CallOptions = {}): Promise<Uint8Array> {
    const key = chunkKey(blob, part);
    // Who knows of the payload has applied its chunks, unless it was told of it by another node.
    const near = await this.kv.get(key, { ...options, consistency: "local" });
    const { entry } = near.entry === undefined ? await this.kv.get(key, options) : near;
    const isWhole = entry?.value instanceof Uint8Array && entry.value.byteLength === chunkBytesOf(blob, part);
    if (isWhole) return entry.value;
    throw damaged(blob, `its part ${part} is ${entry === undefined ? "missing" : "not what was written"}`);
  }

  /** All of it. @throws AetherError E_DATA_CORRUPT */
  async read(blob: BlobRef, options: CallOptions = {}): Promise<Uint8Array> {
    const bytes = new Uint8Array(blob.bytes);
    const digest = new DigestOfParts();
    let at = 0;
    for (let part = 0; part < chunkCountOf(blob); part++) {
      const chunk = await this.part(blob, part, options);
      digest.add(chunk);
      bytes.set(chunk, at);
      at += chunk.byteLength;
      await this.pause();
    }
    if (digest.finish() !== blob.digest) throw damaged(blob, "its digest is another one");
    return bytes;
  }

  /** Whether it is stored already; then it stays for another day. */
  private async renew(blob: BlobRef, signal: AbortSignal): Promise<boolean> {
    const txn = { compare: [isThere(blob)], then: [putBlob(blob, this.clock.wallMs())], else: [] };
    return (await this.transact(txn, signal)).succeeded;
  }

  /**
   * False when it is to be begun anew: somebody takes away what was written, because it was begun so long ago that
   * nobody seemed to write it; or somebody else has written all of it.
   */
  private async write(blob: BlobRef, partOf: PartOf, signal: AbortSignal): Promise<boolean> {
    const mark = blobWriteKey(blob);
    const count = chunkCountOf(blob);
    const digest = new DigestOfParts();
    const isAtOnce = count <= CHUNKS_PER_TXN;
    if (!isAtOnce) {
      const row: BlobWriteRow = { putMs: this.clock.wallMs() };
      await this.transact({ compare: [], then: [{ kind: "put", key: mark, value: row }], else: [] }, signal);
    }
    const compare = isAtOnce ? [] : isBeingWritten(blob);
    let last: readonly Op[] = [];
    for (let from = 0; from < count; from += CHUNKS_PER_TXN) {
      const chunks: Op[] = [];
      for (let part = from; part < Math.min(count, from + CHUNKS_PER_TXN); part++) {
        const value = await partOf(part);
        digest.add(value);
        chunks.push({ kind: "put", key: chunkKey(blob, part), value });
      }
      if (isAtOnce) last = chunks;
      else if (!(await this.transact({ compare, then: chunks, else: [] }, signal)).succeeded) return false;
    }
    if (digest.finish() !== blob.digest) {
      throw new AetherError("E_INVALID", `the parts of the payload ${blob.digest} are not those of its digest`);
    }
    const { succeeded } = await this.transact({
      compare,
      then: [...last, { kind: "delete", key: mark }, putBlob(blob, this.clock.wallMs())],
      else: [],
    }, signal);
    return succeeded;
  }

  /** What is done again is done once: chunks and marks are put as they are. */
  private async transact(txn: Txn, signal: AbortSignal): Promise<TxnResult> {
    return await throughOutage(this.clock, this.outage, () => this.kv.transact(txn, { signal }), signal);
  }

  private async pause(): Promise<void> {
    await new Promise<void>((resolve) => this.clock.nextTurn(() => resolve()));
  }
}

function damaged({ digest }: BlobRef, reason: string): AetherError {
  return new AetherError("E_DATA_CORRUPT", `the payload ${digest} is damaged: ${reason}; restore it from a backup`, {
    details: { digest },
  });
}
