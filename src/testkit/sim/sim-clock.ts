// Owns: time as one simulated process sees it. Every node's monotonic clock has another origin.
import type { Clock, Timer } from "../../env/clock.ts";
import type { HardwareClock } from "./hardware-clock.ts";
import type { SimProcess } from "./sim-process.ts";
import type { World } from "./world.ts";

export class SimClock implements Clock {
  private readonly world: World;
  private readonly process: SimProcess;
  private readonly hardware: HardwareClock;
  private readonly originMs: number;

  constructor(world: World, process: SimProcess, hardware: HardwareClock, originMs: number) {
    this.world = world;
    this.process = process;
    this.hardware = hardware;
    this.originMs = originMs;
  }

  nowMs(): number {
    return this.originMs + this.hardware.nowMs;
  }

  wallMs(): number {
    // Whole milliseconds, as an operating system's.
    return Math.floor(this.hardware.wallMs);
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    // A timer never fires in the turn that sets it, also with a delay of 0.
    const worldDelayMs = Math.max(delayMs / this.hardware.rate, 0.01);
    const event = this.world.schedule({ delayMs: worldDelayMs, kind: "timer", process: this.process }, fire);
    return {
      cancel: () => {
        event.isCancelled = true;
      },
    };
  }

  defer(fire: () => void): void {
    this.world.schedule({ delayMs: 0, kind: "defer", process: this.process }, fire);
  }

  nextTurn(fire: () => void): void {
    // Whatever happens at this very time comes first, also what is yet to be deferred.
    this.setTimer(0, fire);
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const timer = this.setTimer(delayMs, () => {
        // A loop that sleeps often has one signal for all of it.
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      const onAbort = (): void => {
        timer.cancel();
        reject(signal?.reason as Error);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}
