// Owns: how many bytes of large payloads a node has in its memory at once; who wants to hold one waits for its turn.
import { createDeferred } from "../../base/deferred.ts";
import { MiB } from "../../base/units.ts";

/** Of payloads that are written or read just now, encoded: two of the largest. */
export const PAYLOADS_HELD_BYTES_MAX = 128 * MiB;

interface Waiting {
  readonly bytes: number;
  readonly enter: () => void;
}

export class PayloadRoom {
  private readonly bytesMax: number;
  private held = 0;
  private waiting: Waiting[] = [];

  constructor(bytesMax = PAYLOADS_HELD_BYTES_MAX) {
    this.bytesMax = bytesMax;
  }

  /** Resolves, in the order of the calls, when there is room; what it gives is called once, when it is held no more. */
  async take(bytes: number, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    const entered = createDeferred<void>();
    const waiting: Waiting = { bytes, enter: () => entered.resolve() };
    const leave = (): void => {
      this.waiting = this.waiting.filter((other) => other !== waiting);
      entered.reject(signal?.reason);
      this.admit();
    };
    signal?.addEventListener("abort", leave, { once: true });
    this.waiting.push(waiting);
    this.admit();
    try {
      await entered.promise;
    } finally {
      signal?.removeEventListener("abort", leave);
    }
    let isHeld = true;
    return () => {
      if (isHeld) this.held -= bytes;
      isHeld = false;
      this.admit();
    };
  }

  private admit(): void {
    for (;;) {
      const [next] = this.waiting;
      // One that is larger than all room comes alone.
      if (next === undefined || (this.held > 0 && this.held + next.bytes > this.bytesMax)) return;
      this.waiting.shift();
      this.held += next.bytes;
      next.enter();
    }
  }
}
