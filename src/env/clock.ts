// Ports only: the real one is node/real-env.ts, the simulated one testkit/sim/sim-clock.ts.
/** A pending timer. `cancel` is idempotent, also after it fired. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds, for every duration and deadline. */
  nowMs(): number;
  /** Milliseconds since the Unix epoch, for people, and for what they plan by the time of day; never for logic. */
  wallMs(): number;
  setTimer(delayMs: number, fire: () => void): Timer;
  /** Runs `fire` after the I/O events of this turn of the event loop: where a turn's writes and sends leave. */
  defer(fire: () => void): void;
  /** Runs `fire` in the next turn, after the I/O events of that one: who has much to do lets others in between. */
  nextTurn(fire: () => void): void;
  /** Resolves after `delayMs`; rejects with the signal's reason when it is aborted first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}
