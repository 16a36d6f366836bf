// Owns: the deadlines of much that runs at the same time and mostly ends long before them: one timer for all. Setting
// and clearing one for each would cost a call more than its place in this heap.
import type { Clock, Timer } from "../env/clock.ts";

/** Cleared entries stay in the heap until they are more than the others, and at least this many. */
const CLEARED_KEPT_MIN = 256;
/** A timer may be early by rounding; to wait for that little again would never end. */
const EARLY_MS = 0.01;

export interface DeadlineEntry<T> {
  readonly atMs: number;
  /** Undefined once it was passed or cleared. */
  item: T | undefined;
}

export class Deadlines<T> {
  private readonly clock: Pick<Clock, "nowMs" | "setTimer">;
  private readonly onPassed: (item: T) => void;
  /** A binary heap, the earliest first. */
  private heap: DeadlineEntry<T>[] = [];
  private standing = 0;
  private armed: { readonly atMs: number; readonly timer: Timer } | undefined;

  constructor(clock: Pick<Clock, "nowMs" | "setTimer">, onPassed: (item: T) => void) {
    this.clock = clock;
    this.onPassed = onPassed;
  }

  /** Entries in memory, those included that were cleared lately. */
  get held(): number {
    return this.heap.length;
  }

  add(item: T, atMs: number): DeadlineEntry<T> {
    const entry: DeadlineEntry<T> = { atMs, item };
    this.standing += 1;
    this.heap.push(entry);
    siftUp(this.heap, this.heap.length - 1);
    if (this.armed === undefined || atMs < this.armed.atMs) this.arm(atMs);
    return entry;
  }

  /** Idempotent. */
  clear(entry: DeadlineEntry<T>): void {
    if (entry.item === undefined) return;
    entry.item = undefined;
    this.standing -= 1;
    if (this.standing === 0) return this.rest();
    if (this.heap.length > 2 * this.standing + CLEARED_KEPT_MIN) this.compact();
  }

  private arm(atMs: number): void {
    this.armed?.timer.cancel();
    const timer = this.clock.setTimer(Math.max(0, atMs - this.clock.nowMs()), () => this.fire());
    this.armed = { atMs, timer };
  }

  private fire(): void {
    this.armed = undefined;
    const nowMs = this.clock.nowMs();
    for (let first = this.heap[0]; first !== undefined; first = this.heap[0]) {
      if (first.item !== undefined && first.atMs > nowMs + EARLY_MS) break;
      takeFirst(this.heap);
      const { item } = first;
      if (item === undefined) continue;
      first.item = undefined;
      this.standing -= 1;
      this.onPassed(item);
    }
    const next = this.heap[0];
    if (next !== undefined && this.armed === undefined) this.arm(next.atMs);
  }

  /** Nothing is left to wait for: an owner that has ended leaves no timer behind. */
  private rest(): void {
    this.armed?.timer.cancel();
    this.armed = undefined;
    this.heap = [];
  }

  /** Sorted is heap enough, and entries come nearly in order. */
  private compact(): void {
    this.heap = this.heap.filter(({ item }) => item !== undefined).sort((a, b) => a.atMs - b.atMs);
  }
}

type Timed = Pick<DeadlineEntry<unknown>, "atMs">;

function siftUp<E extends Timed>(heap: E[], from: number): void {
  let at = from;
  const entry = heap[at];
  while (entry !== undefined && at > 0) {
    const parentAt = (at - 1) >> 1;
    const parent = heap[parentAt];
    if (parent === undefined || parent.atMs <= entry.atMs) return;
    heap[parentAt] = entry;
    heap[at] = parent;
    at = parentAt;
  }
}

function takeFirst<E extends Timed>(heap: E[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  heap[0] = last;
  for (let at = 0; ;) {
    const leftAt = 2 * at + 1;
    const left = heap[leftAt];
    if (left === undefined) return;
    const right = heap[leftAt + 1];
    const [childAt, child] = right !== undefined && right.atMs < left.atMs ? [leftAt + 1, right] : [leftAt, left];
    if (child.atMs >= last.atMs) return;
    heap[childAt] = last;
    heap[at] = child;
    at = childAt;
  }
}
