// Owns: asking the workers of a node for their memory, and finding the one that makes the process grow while it says
// nothing: a loop that fills its heap or buffers answers no question. While the process grows by more than all reports
// explain, every worker is asked for a sign of life; who owes one and could explain the growth is ended.
// Does not own: the rules (core/memory-rule.ts), what a report leads to (worker-host.ts).
import type { Clock, Timer } from "../../env/clock.ts";
import { MiB } from "../../base/units.ts";
import { pickSuspect, type SilentWorker } from "../core/memory-rule.ts";

export interface GuardedWorker {
  readonly heapBytesMax: number;
  /** Grows with each turn in which the worker said something. */
  readonly turnsHeard: number;
  /** What it says that it uses in all; 0 before it has said so. */
  readonly reportedBytes: number;
  /** Asks it for a report, which is a sign of life too. */
  ask(): void;
  /** Ends it; the reason is for people. */
  recycle(reason: string): void;
}

export interface MemoryGuardPorts {
  /** Memory of the process, without the heap and the buffers of the node itself. */
  processBytes(): number;
  workers(): Iterable<GuardedWorker>;
}

/** Time between two looks: a loop fills a heap at a gibibyte per second. */
const LOOK_EVERY_MS = 100;
/** Looks between two reports of every worker: one second. */
const REPORT_LOOKS = 10;
/** Looks whose lowest value is what growth is measured from: two seconds. */
const LOOKS_KEPT = 20;
/** Growth within these looks that makes the guard ask. */
const RISE_BYTES = 64 * MiB;

interface Asked extends SilentWorker {
  readonly turnsHeard: number;
}

export class MemoryGuard {
  private readonly clock: Pick<Clock, "setTimer">;
  private readonly ports: MemoryGuardPorts;
  private asked: ReadonlyMap<GuardedWorker, Asked> = new Map();
  private lately: readonly number[] = [];
  private looks = 0;
  private timer: Timer | undefined;

  constructor(env: { readonly clock: Pick<Clock, "setTimer"> }, ports: MemoryGuardPorts) {
    this.clock = env.clock;
    this.ports = ports;
  }

  /** Begins, or begins anew: what grows because workers come and go is no sign of a fault. */
  start(): void {
    this.forget();
    if (this.timer === undefined) this.lookLater();
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
    this.forget();
  }

  private lookLater(): void {
    this.timer = this.clock.setTimer(LOOK_EVERY_MS, () => {
      this.lookLater();
      this.look();
    });
  }

  private look(): void {
    const workers = [...this.ports.workers()];
    const bytes = workers.reduce((rest, worker) => rest - worker.reportedBytes, this.ports.processBytes());
    const lowest = Math.min(bytes, ...this.lately);
    this.lately = [...this.lately.slice(1 - LOOKS_KEPT), bytes];
    this.looks += 1;
    if (bytes - lowest >= RISE_BYTES) return this.search(workers, { bytes, lowest });
    this.asked = new Map();
    if (this.looks % REPORT_LOOKS === 0) for (const worker of workers) worker.ask();
  }

  private search(workers: readonly GuardedWorker[], memory: Memory): void {
    this.asked = new Map(workers.map((worker) => [worker, this.ask(worker, memory)]));
    const silent = [...this.asked].map(([worker, asked]) => ({ ...asked, worker }));
    const suspect = pickSuspect(silent, memory.bytes);
    if (suspect === undefined) return;
    const grownMiB = Math.round((memory.bytes - suspect.askedAtBytes) / MiB);
    // What the others owe is asked anew, from what is left once this one is gone.
    this.forget();
    suspect.worker.recycle(
      `it stood still while the memory of its node grew by ${grownMiB} MiB; ` +
        "look for a loop that fills its heap or buffers",
    );
  }

  private ask(worker: GuardedWorker, { bytes, lowest }: Memory): Asked {
    const { heapBytesMax, turnsHeard } = worker;
    const before = this.asked.get(worker);
    if (before?.turnsHeard === turnsHeard) return { ...before, looks: before.looks + 1 };
    worker.ask();
    // Who has just answered is not to blame for what grew before.
    return { heapBytesMax, turnsHeard, askedAtBytes: before === undefined ? lowest : bytes, looks: 0 };
  }

  private forget(): void {
    this.asked = new Map();
    this.lately = [];
  }
}

interface Memory {
  readonly bytes: number;
  readonly lowest: number;
}
