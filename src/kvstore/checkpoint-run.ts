// Owns: one checkpoint on its way to disk. Its rows are handed over piece by piece, so that the event loop goes on
// with other work between them; they become durable together, in one atomic, synced write.
// Does not own: when a checkpoint is due, what is in it (kv-state.ts).
import { MiB } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import type { OrderedStore, StoreBatch } from "../env/store.ts";
import type { CheckpointGate } from "../consensus/state-machine.ts";
import { CHECKPOINT_ROW } from "./core/checkpoint.ts";
import type { KeyText } from "./core/key.ts";
import type { Layered } from "./layered-entries.ts";

/** Handing over a row takes about 1 µs, and its bytes are copied: the event loop is held up for a millisecond or so. */
const ROWS_PER_PIECE = 512;
const PIECE_BYTES = 1 * MiB;

export type CheckpointEnd =
  | { readonly kind: "written" }
  /** It was not and will not be written. */
  | { readonly kind: "skipped" }
  | { readonly kind: "failed"; readonly failure: Error };

export interface CheckpointParts {
  readonly store: Pick<OrderedStore, "begin">;
  readonly clock: Clock;
  /** Gives the same from here on, whatever is applied meanwhile. */
  readonly rows: Iterable<readonly [KeyText, Layered]>;
  /** The record that makes them a state. */
  readonly record: Uint8Array;
  readonly gate: CheckpointGate;
  /** Exactly once, unless it was cancelled before. */
  onEnd(end: CheckpointEnd): void;
}

export class CheckpointRun {
  private readonly parts: CheckpointParts;
  private readonly batch: StoreBatch;
  private readonly remaining: Iterator<readonly [KeyText, Layered]>;
  private isBuilt = false;
  private isOpen = false;
  private isOver = false;

  constructor(parts: CheckpointParts) {
    this.parts = parts;
    this.batch = parts.store.begin();
    this.remaining = parts.rows[Symbol.iterator]();
  }

  /** Hands over the first rows within this call, the others later. */
  start(): void {
    this.parts.gate((decision) => {
      if (this.isOver) return;
      if (decision === "skip") return this.end({ kind: "skipped" });
      this.isOpen = true;
      this.writeWhenReady();
    });
    this.build();
  }

  /**
   * Nothing comes of it any more, unless it is being written already. The rows handed over stay in memory until the
   * store is closed: whoever cancels does that next, because another state takes its place.
   */
  cancel(): void {
    this.isOver = true;
  }

  private build(): void {
    if (this.isOver) return;
    let bytes = 0;
    for (let count = 0; count < ROWS_PER_PIECE && bytes < PIECE_BYTES; count++) {
      const next = this.remaining.next();
      if (next.done === true) {
        this.batch.put(CHECKPOINT_ROW, this.parts.record);
        this.isBuilt = true;
        this.writeWhenReady();
        return;
      }
      bytes += handOver(this.batch, next.value);
    }
    // Not deferred: deferred work of deferred work still belongs to the same turn.
    this.parts.clock.setTimer(0, () => this.build());
  }

  private writeWhenReady(): void {
    if (!this.isBuilt || !this.isOpen) return;
    this.batch.write((failure) => {
      if (!this.isOver) this.end(failure === undefined ? { kind: "written" } : { kind: "failed", failure });
    });
  }

  private end(end: CheckpointEnd): void {
    this.isOver = true;
    this.parts.onEnd(end);
  }
}

/** How many bytes it takes. */
function handOver(batch: StoreBatch, [text, row]: readonly [KeyText, Layered]): number {
  if (row === "absent") {
    const key = Buffer.from(text);
    batch.delete(key);
    return key.byteLength;
  }
  const { key, value } = row.row;
  batch.put(key, value);
  return key.byteLength + value.byteLength;
}
