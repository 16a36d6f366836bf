// Owns: the order of everything that happens in a simulated world: by virtual time, then by the order of scheduling.
// Does not own: time itself or what an event does (world.ts).
import type { SimProcess } from "./sim-process.ts";

export interface SimEvent {
  /** Moves only when the event's process is paused; `sequence` then keeps its place among the others. */
  atMs: number;
  readonly sequence: number;
  readonly kind: string;
  /** The process this happens to; nothing happens to a dead one. Absent: an act of the world itself. */
  readonly process: SimProcess | undefined;
  /** Checksum of the bytes involved, for the trace. */
  readonly checksum: number;
  readonly fire: () => void;
  isCancelled: boolean;
}

/** A binary heap; `pop` returns the earliest event. */
export class EventQueue {
  private readonly heap: SimEvent[] = [];

  get size(): number {
    return this.heap.length;
  }

  peek(): SimEvent | undefined {
    return this.heap[0];
  }

  push(event: SimEvent): void {
    const heap = this.heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isEarlier(event, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  pop(): SimEvent | undefined {
    const first = this.heap[0];
    const last = this.heap.pop();
    if (first === undefined || last === undefined || first === last) return first;
    this.sink(last);
    return first;
  }

  private sink(event: SimEvent): void {
    const heap = this.heap;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      let smallest = heap[child];
      if (smallest === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && isEarlier(right, smallest)) {
        smallest = right;
        child += 1;
      }
      if (!isEarlier(smallest, event)) break;
      heap[index] = smallest;
      index = child;
    }
    heap[index] = event;
  }
}

function isEarlier(left: SimEvent, right: SimEvent): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.sequence < right.sequence);
}
