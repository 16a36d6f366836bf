// Owns: reading a state from disk as the chunks of a snapshot.
// Does not own: the bytes of a chunk (core/snapshot-chunk.ts).
import { AetherError, toAetherError } from "../base/errors.ts";
import type { OrderedStore, StoreEntry } from "../env/store.ts";
import type { ConsensusMark, SnapshotReader } from "../consensus/state-machine.ts";
import { parseCheckpoint, type Checkpoint } from "./core/checkpoint.ts";
import {
  chainSnapshotDigest,
  EMPTY_SNAPSHOT_DIGEST,
  encodeSnapshotChunk,
  SNAPSHOT_CHUNK_BYTES,
} from "./core/snapshot-chunk.ts";
import { decodeRow } from "./core/stored-entry.ts";

export interface SnapshotReaderOptions {
  readonly bytesEstimated: number | undefined;
  /** What is stored cannot be read: E_DATA_CORRUPT. */
  onDamage(error: AetherError): void;
}

export class KvSnapshotReader implements SnapshotReader {
  readonly bytesEstimated: number | undefined;
  private readonly onDamage: SnapshotReaderOptions["onDamage"];
  private readonly rows: AsyncIterator<StoreEntry>;
  private readonly checkpointRow: Uint8Array;
  private readonly checkpoint: Checkpoint;
  private digest = EMPTY_SNAPSHOT_DIGEST;
  private index = 0;
  private rowCount = 0;
  private state: "rows" | "end" | "done" | "closed" = "rows";

  /**
   * Undefined when the store has no checkpoint with a slot. The view is that of the moment of this call.
   * @throws AetherError E_DATA_CORRUPT, E_UNAVAILABLE
   */
  static async open(store: OrderedStore, options: SnapshotReaderOptions): Promise<KvSnapshotReader | undefined> {
    const rows = store.entries({})[Symbol.asyncIterator]();
    // The record of the checkpoint lies before all rows, so it comes from the same view as they do.
    const first = await rows.next();
    if (first.done === true) return undefined;
    try {
      const reader = new KvSnapshotReader(rows, Uint8Array.from(first.value[1]), options);
      // A state that was restored and has no log yet means nothing to another node.
      if (reader.appliedSlots > 0) return reader;
    } catch (error) {
      await rows.return?.();
      throw error;
    }
    await rows.return?.();
    return undefined;
  }

  private constructor(rows: AsyncIterator<StoreEntry>, checkpointRow: Uint8Array, options: SnapshotReaderOptions) {
    this.bytesEstimated = options.bytesEstimated;
    this.onDamage = options.onDamage;
    this.rows = rows;
    this.checkpointRow = checkpointRow;
    this.checkpoint = parseCheckpoint(checkpointRow);
  }

  get appliedSlots(): number {
    return this.checkpoint.slot + 1;
  }

  get revision(): number {
    return this.checkpoint.revision;
  }

  get stateHash(): number {
    return this.checkpoint.stateHash;
  }

  get mark(): ConsensusMark {
    return this.checkpoint.mark;
  }

  async next(): Promise<Uint8Array | undefined> {
    try {
      return await this.nextChunk();
    } catch (thrown) {
      const error = toAetherError(thrown);
      if (error.code === "E_DATA_CORRUPT") this.onDamage(error);
      throw error;
    }
  }

  private async nextChunk(): Promise<Uint8Array | undefined> {
    switch (this.state) {
      case "rows":
        return this.nextRows();
      case "end":
        return this.endChunk();
      case "done":
        return undefined;
      case "closed":
        throw new AetherError("E_UNAVAILABLE", "this snapshot is closed: open another one");
    }
  }

  async close(): Promise<void> {
    if (this.state === "closed") return;
    this.state = "closed";
    await this.rows.return?.();
  }

  private async nextRows(): Promise<Uint8Array> {
    const rows: StoreEntry[] = [];
    for (let bytes = 0; bytes < SNAPSHOT_CHUNK_BYTES;) {
      const next = await this.rows.next();
      if (next.done === true) {
        this.state = "end";
        break;
      }
      const row = next.value;
      // A damaged row must not spread.
      decodeRow(row[0], row[1]);
      rows.push(row);
      bytes += row[0].length + row[1].length;
    }
    if (rows.length === 0) return this.endChunk();
    const chunk = encodeSnapshotChunk({ kind: "rows", index: this.index, rows });
    this.digest = chainSnapshotDigest(this.digest, chunk);
    this.index += 1;
    this.rowCount += rows.length;
    return chunk;
  }

  private endChunk(): Uint8Array {
    this.state = "done";
    const { index, rowCount: rows, digest, checkpointRow: checkpoint } = this;
    return encodeSnapshotChunk({ kind: "end", index, rows, digest, checkpoint });
  }
}
