// Owns: time as one simulated process sees it. Every node's monotonic clock has another origin.
import type { Clock, Timer } from "../../env/clock.ts";
import type { SimProcess } from "./sim-process.ts";
import type { World } from "./world.ts";

const WALL_ORIGIN_MS = 1_700_000_000_000;

export class SimClock implements Clock {
  private readonly world: World;
  private readonly process: SimProcess;
  private readonly originMs: number;
  /** How far this node's wall clock is off; never used for logic. */
  private readonly wallSkewMs: number;

  constructor(world: World, process: SimProcess, offsets: { readonly originMs: number; readonly wallSkewMs: number }) {
    this.world = world;
    this.process = process;
    this.originMs = offsets.originMs;
    this.wallSkewMs = offsets.wallSkewMs;
  }

  nowMs(): number {
    return this.originMs + this.world.nowMs;
  }

  wallMs(): number {
    return WALL_ORIGIN_MS + this.wallSkewMs + this.world.nowMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    // A timer never fires in the turn that sets it, also with a delay of 0.
    const event = this.world.schedule({ delayMs: Math.max(delayMs, 0.01), kind: "timer", process: this.process }, fire);
    return {
      cancel: () => {
        event.isCancelled = true;
      },
    };
  }

  defer(fire: () => void): void {
    this.world.schedule({ delayMs: 0, kind: "defer", process: this.process }, fire);
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const timer = this.setTimer(delayMs, resolve);
      const onAbort = (): void => {
        timer.cancel();
        reject(signal?.reason as Error);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}
