// Owns: which batches have already changed the state. Part of every checkpoint: a state without it could run a batch
// again.
// C8  Each batch changes the state at most once, however often it is decided.
import { assert } from "../../base/assert.ts";
import type { NodeUid } from "../../base/ids.ts";
import type { BatchId } from "./message.ts";

interface Row {
  incarnation: number;
  /** All sequences up to here ran. */
  watermark: number;
  /** Sequences above the watermark that ran; small, because an origin repeats its batches until they are in. */
  readonly beyond: Set<number>;
}

export type DedupeSnapshot = readonly (readonly [NodeUid, number, number, readonly number[]])[];

export class DedupeTable {
  private readonly rows = new Map<NodeUid, Row>();

  static restore(snapshot: DedupeSnapshot): DedupeTable {
    const table = new DedupeTable();
    for (const [origin, incarnation, watermark, beyond] of snapshot) {
      table.rows.set(origin, { incarnation, watermark, beyond: new Set(beyond) });
    }
    return table;
  }

  /** Sorted, so that equal tables have equal bytes. */
  snapshot(): DedupeSnapshot {
    return [...this.rows.entries()]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([origin, row]) => [origin, row.incarnation, row.watermark, [...row.beyond].sort((a, b) => a - b)] as const);
  }

  /** True when this batch ran, or never may: one of a newer incarnation of its origin already did. */
  covers(id: BatchId): boolean {
    const row = this.rows.get(id.origin);
    if (row === undefined || id.incarnation > row.incarnation) return false;
    if (id.incarnation < row.incarnation) return true;
    return id.sequence <= row.watermark || row.beyond.has(id.sequence);
  }

  /** The batch ran. True when it is the first of its incarnation: older ones of its origin are now covered. */
  mark(id: BatchId): boolean {
    let row = this.rows.get(id.origin);
    assert(row === undefined || id.incarnation >= row.incarnation, "C8: a batch that is covered does not run");
    const isFirst = row === undefined || row.incarnation < id.incarnation;
    if (row === undefined || isFirst) {
      row = { incarnation: id.incarnation, watermark: 0, beyond: new Set() };
      this.rows.set(id.origin, row);
    }
    row.beyond.add(id.sequence);
    while (row.beyond.delete(row.watermark + 1)) row.watermark += 1;
    return isFirst;
  }

  /** The origin is no member any more, and never will be again. */
  forget(origin: NodeUid): void {
    this.rows.delete(origin);
  }
}
