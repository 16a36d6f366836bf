// Owns: how many workers of a node start at once. Starting one takes a core for some tens of milliseconds; two hundred
// at once would keep the node from voting for seconds.
// Does not own: time limits of loading. A slice whose import hangs holds its place for a moment only, so that it does
// not use up the time of those behind it.
import type { Clock } from "../../env/clock.ts";

export interface LoadGateConfig {
  readonly loadsAtOnceMax: number;
}

/** Longer than any import that only computes, far shorter than the limit of loading. */
export const HOLD_MS_MAX = 1_000;

export class LoadGate {
  private readonly clock: Pick<Clock, "setTimer">;
  private readonly placesMax: number;
  private readonly waiting = new Set<() => void>();
  private held = 0;

  constructor(env: { readonly clock: Pick<Clock, "setTimer"> }, config: LoadGateConfig) {
    this.clock = env.clock;
    this.placesMax = config.loadsAtOnceMax;
  }

  /** Waits for a place; the answer gives it back, once. Rejects with the reason of the signal. */
  async enter(signal: AbortSignal): Promise<() => void> {
    if (this.held >= this.placesMax) await this.waitForTurn(signal);
    else this.held += 1;
    const leave = this.holdPlace();
    if (signal.aborted) leave();
    signal.throwIfAborted();
    return leave;
  }

  private holdPlace(): () => void {
    let isHeld = true;
    const leave = (): void => {
      if (!isHeld) return;
      isHeld = false;
      timer.cancel();
      this.passOn();
    };
    const timer = this.clock.setTimer(HOLD_MS_MAX, leave);
    return leave;
  }

  /** A place that is given back goes to the next in line, before anybody new can take it. */
  private passOn(): void {
    const [next] = this.waiting;
    if (next === undefined) {
      this.held -= 1;
      return;
    }
    this.waiting.delete(next);
    next();
  }

  private waitForTurn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const admit = (): void => {
        signal.removeEventListener("abort", abort);
        resolve();
      };
      const abort = (): void => {
        this.waiting.delete(admit);
        reject(signal.reason as Error);
      };
      this.waiting.add(admit);
      signal.addEventListener("abort", abort, { once: true });
      if (signal.aborted) abort();
    });
  }
}
