// Owns: whether the next small synced write is better made at once or by the thread pool.
//
// A write that takes 0.2 ms costs less when the event loop waits for it than when a thread is woken for it, which wakes
// the loop again. On a disk that is slow, or has become slow, the loop must not wait.
// Whoever writes says how long it took; one slow write is enough to leave the disk to the thread pool for a while.

/** A write that takes longer than this is no business of the event loop. */
const SLOW_MS = 2;
/** So many writes in a row must have been quick before the loop waits for one again. */
const QUICK_WRITES_MIN = 256;
/** A larger write takes longer on any disk. */
const AT_ONCE_BYTES_MAX = 128 * 1_024;

export class WritePace {
  /** Quick writes still to be seen. */
  private probation = 0;

  /** Whether the event loop may wait for a write of this size. */
  mayWait(bytes: number): boolean {
    return this.probation === 0 && bytes <= AT_ONCE_BYTES_MAX;
  }

  note(tookMs: number): void {
    if (tookMs > SLOW_MS) this.probation = QUICK_WRITES_MIN;
    else if (this.probation > 0) this.probation -= 1;
  }
}
