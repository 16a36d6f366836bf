// Owns: the batches that are here and have not run yet, and which of them no slot holds ("unassigned").
// Does not own: which batches ran (dedupe-table.ts).
import type { NodeUid } from "../../base/ids.ts";
import { type BatchId, type BatchKey, type Value, batchKeyOf, valueOf } from "./message.ts";

export interface Batch {
  readonly id: BatchId;
  readonly key: BatchKey;
  /** A MessagePack array of commands. */
  readonly commands: Uint8Array;
  readonly arrivedMs: number;
}

interface Held extends Batch {
  /** Queued for, or on, this node's disk. */
  isJournaled: boolean;
  /** The slot whose proposal holds it. */
  slot: number | undefined;
  /** In its origin's queue of unassigned batches; entries that were assigned since are skipped there. */
  isQueued: boolean;
}

export class BatchPool {
  private readonly held = new Map<BatchKey, Held>();
  private readonly queues = new Map<NodeUid, Held[]>();
  /** The origin whose turn is first in the next value. */
  private turn = 0;
  private unassigned = 0;

  get unassignedCount(): number {
    return this.unassigned;
  }

  get(key: BatchKey): Batch | undefined {
    return this.held.get(key);
  }

  /** False when it was here already. */
  add(id: BatchId, commands: Uint8Array, nowMs: number, disk: "journaled" | "new" = "new"): boolean {
    const key = batchKeyOf(id);
    if (this.held.has(key)) return false;
    const batch: Held = {
      id,
      key,
      commands,
      arrivedMs: nowMs,
      isJournaled: disk === "journaled",
      slot: undefined,
      isQueued: false,
    };
    this.held.set(key, batch);
    this.enqueue(batch);
    return true;
  }

  /** The batches of `value` that are here and not yet on this node's disk; from now on they count as journaled. */
  takeUnjournaled(value: Value): readonly Batch[] {
    const fresh: Batch[] = [];
    for (const id of value.batches) {
      const batch = this.held.get(batchKeyOf(id));
      if (batch === undefined || batch.isJournaled) continue;
      batch.isJournaled = true;
      fresh.push(batch);
    }
    return fresh;
  }

  /** A proposal of this node for `slot` names these batches. */
  assign(value: Value, slot: number): void {
    for (const id of value.batches) {
      const batch = this.held.get(batchKeyOf(id));
      if (batch === undefined) continue;
      if (batch.slot === undefined) this.unassigned -= 1;
      batch.slot = slot;
    }
  }

  /** `slot` is decided: what its proposal held and the outcome does not contain is unassigned again. */
  release(proposed: Value, slot: number): void {
    for (const id of proposed.batches) {
      const batch = this.held.get(batchKeyOf(id));
      if (batch === undefined || batch.slot !== slot) continue;
      batch.slot = undefined;
      this.enqueue(batch);
    }
  }

  /** The batch ran, or never will. */
  remove(key: BatchKey): void {
    const batch = this.held.get(key);
    if (batch === undefined) return;
    if (batch.slot === undefined) this.unassigned -= 1;
    // Skipped in its queue from now on.
    batch.slot = Number.POSITIVE_INFINITY;
    this.held.delete(key);
  }

  /** Drops the batches of `origin` that are older than `incarnation`: they can never run any more. */
  removeOlder(origin: NodeUid, incarnation: number): void {
    for (const batch of [...this.held.values()]) {
      if (batch.id.origin === origin && batch.id.incarnation < incarnation) this.remove(batch.key);
    }
  }

  /** Drops the batches that ran elsewhere or never can. */
  removeCovered(isCovered: (id: BatchId) => boolean): void {
    for (const batch of [...this.held.values()]) if (isCovered(batch.id)) this.remove(batch.key);
  }

  /**
   * The next value to propose: oldest first, round robin over origins, within the limits; undefined when nothing
   * waits.
   */
  nextValue(idsMax: number, bytesMax: number): Value | undefined {
    const ids: BatchId[] = [];
    const cursors = this.liveQueues().map((queue) => ({ queue, next: 0 }));
    let bytes = 0;
    for (let skipped = 0, i = this.turn; skipped < cursors.length && ids.length < idsMax; i++) {
      const cursor = cursors[i % cursors.length];
      const batch = cursor?.queue[cursor.next];
      const isFull = batch !== undefined && ids.length > 0 && bytes + batch.commands.byteLength > bytesMax;
      if (cursor === undefined || batch === undefined || isFull) {
        skipped += 1;
        continue;
      }
      skipped = 0;
      cursor.next += 1;
      ids.push(batch.id);
      bytes += batch.commands.byteLength;
    }
    this.turn += 1;
    return ids.length === 0 ? undefined : valueOf(ids);
  }

  /** When the oldest unassigned batch arrived. */
  oldestUnassignedMs(): number | undefined {
    let oldest: number | undefined;
    for (const queue of this.liveQueues()) {
      const head = queue[0];
      if (head !== undefined && (oldest === undefined || head.arrivedMs < oldest)) oldest = head.arrivedMs;
    }
    return oldest;
  }

  /** Unassigned batches, oldest first per origin. */
  unassignedBatches(): readonly Batch[] {
    return this.liveQueues().flat();
  }

  private enqueue(batch: Held): void {
    this.unassigned += 1;
    if (batch.isQueued) return;
    const queue = this.queues.get(batch.id.origin) ?? [];
    this.queues.set(batch.id.origin, queue);
    batch.isQueued = true;
    const at = queue.findLastIndex((other) => isBefore(other.id, batch.id)) + 1;
    queue.splice(at, 0, batch);
  }

  private liveQueues(): (readonly Held[])[] {
    const live: (readonly Held[])[] = [];
    for (const origin of this.queues.keys()) {
      const queue = this.liveQueue(origin);
      if (queue.length > 0) live.push(queue);
    }
    return live;
  }

  private liveQueue(origin: NodeUid): readonly Held[] {
    const queue = this.queues.get(origin) ?? [];
    if (queue.every((batch) => batch.slot === undefined)) return queue;
    const live = queue.filter((batch) => {
      batch.isQueued = batch.slot === undefined;
      return batch.isQueued;
    });
    this.queues.set(origin, live);
    return live;
  }
}

function isBefore(a: BatchId, b: BatchId): boolean {
  return a.incarnation < b.incarnation || (a.incarnation === b.incarnation && a.sequence < b.sequence);
}
