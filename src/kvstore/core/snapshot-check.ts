// Owns: what makes a row of chunks a snapshot: in order, whole, each row as it was written, totals and digests right.
// Does not own: where the rows go.
import { AetherError } from "../../base/errors.ts";
import { FIRST_ROW, parseCheckpoint, type Checkpoint } from "./checkpoint.ts";
import {
  chainSnapshotDigest,
  decodeSnapshotChunk,
  EMPTY_SNAPSHOT_DIGEST,
  type SnapshotChunk,
  type SnapshotRow,
} from "./snapshot-chunk.ts";
import { decodeRow } from "./stored-entry.ts";

/** What the last chunk of a good snapshot says. */
export interface SnapshotEnd {
  readonly checkpoint: Checkpoint;
  readonly checkpointRow: Uint8Array;
  /** Over all chunks, the last one included: equal digests, equal snapshots. */
  readonly digest: string;
  readonly rows: number;
}

export class SnapshotCheck {
  private digest = EMPTY_SNAPSHOT_DIGEST;
  private nextIndex = 0;
  private rowCount = 0;
  private lastKey: Uint8Array = new Uint8Array(0);
  private found: SnapshotEnd | undefined;

  /** Set once the last chunk was taken. */
  get end(): SnapshotEnd | undefined {
    return this.found;
  }

  get rows(): number {
    return this.rowCount;
  }

  /**
   * The rows of the next chunk; none of the last one. A chunk that is refused changes nothing here.
   * @throws AetherError E_DATA_CORRUPT, E_VERSION
   */
  take(bytes: Uint8Array): readonly SnapshotRow[] {
    const chunk = decodeSnapshotChunk(bytes);
    if (this.found !== undefined) throw corrupt("it comes after the last one");
    if (chunk.index !== this.nextIndex) throw corrupt(`it is chunk ${chunk.index} in place of ${this.nextIndex}`);
    const rows = chunk.kind === "rows" ? this.checkRows(chunk.rows) : [];
    const digest = chainSnapshotDigest(this.digest, bytes);
    if (chunk.kind === "end") this.found = this.checkEnd(chunk, digest);
    this.digest = digest;
    this.nextIndex += 1;
    this.rowCount += rows.length;
    this.lastKey = rows.at(-1)?.[0] ?? this.lastKey;
    return rows;
  }

  private checkRows(rows: readonly SnapshotRow[]): readonly SnapshotRow[] {
    let before = this.lastKey;
    for (const [key, value] of rows) {
      const isInOrder = Buffer.compare(before, key) < 0 && Buffer.compare(FIRST_ROW, key) <= 0;
      if (!isInOrder) throw corrupt("a row is out of order");
      decodeRow(key, value);
      before = key;
    }
    return rows;
  }

  private checkEnd(chunk: Extract<SnapshotChunk, { kind: "end" }>, digest: string): SnapshotEnd {
    if (chunk.digest !== this.digest) throw corrupt("the digest of all chunks is another one");
    if (chunk.rows !== this.rowCount) throw corrupt(`there are ${this.rowCount} rows in place of ${chunk.rows}`);
    const checkpoint = parseCheckpoint(chunk.checkpoint);
    return { checkpoint, checkpointRow: chunk.checkpoint, digest, rows: chunk.rows };
  }
}

function corrupt(reason: string): AetherError {
  return new AetherError("E_DATA_CORRUPT", `cannot use a chunk of a snapshot: ${reason}; fetch it from elsewhere`);
}
