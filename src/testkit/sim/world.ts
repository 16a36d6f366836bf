// Owns: virtual time. One heap of (time, sequence) events, one seed, no other source of change: the same seed gives the
// same run, event by event. Does not own: what runs in the world (machine.ts), network and disks.
import { SeededRandom, type Random } from "../../base/random.ts";
import { EventQueue, type SimEvent } from "./event-queue.ts";
import type { SimProcess } from "./sim-process.ts";
import { settleMicrotasks } from "./turn-adapter.ts";
import { NO_DETAIL, Trace, type TraceDetail, type TraceLine } from "./trace.ts";

/** Times are multiples of this, so that several events can share a turn as they do on a busy node. */
const TICK_MS = 1 / 64;

export interface ScheduleOptions {
  readonly delayMs: number;
  readonly kind: string;
  readonly process?: SimProcess | undefined;
  readonly checksum?: number;
}

interface SimTask {
  readonly process: SimProcess;
}

export interface WorldOptions {
  /** Called with every line of the trace, for people who watch a run. */
  readonly onTraceLine?: (line: TraceLine) => void;
}

export class World {
  readonly seed: number;
  readonly random: Random;
  readonly trace: Trace;
  private readonly events = new EventQueue();
  private sequence = 0;
  private time = 0;
  private stamp = 0;
  /** What waits for promises; everything else is driven by callbacks. */
  private readonly tasks = new Set<SimTask>();
  private mustSettle = false;
  private thrown: unknown;

  constructor(seed: number, options: WorldOptions = {}) {
    this.seed = seed;
    this.random = new SeededRandom(seed).fork("world");
    this.trace = new Trace(options.onTraceLine);
  }

  get nowMs(): number {
    return this.time;
  }

  /** What an event threw: the run is over. */
  get failure(): unknown {
    return this.thrown;
  }

  /** A number that grows with every call: orders what happens within one moment. */
  nextStamp(): number {
    this.stamp += 1;
    return this.stamp;
  }

  schedule(options: ScheduleOptions, fire: () => void): SimEvent {
    const delayMs = Math.max(0, options.delayMs);
    const event: SimEvent = {
      atMs: delayMs === 0 ? this.time : Math.ceil((this.time + delayMs) / TICK_MS) * TICK_MS,
      sequence: this.sequence,
      kind: options.kind,
      process: options.process,
      checksum: options.checksum ?? 0,
      fire,
      isCancelled: false,
    };
    this.sequence += 1;
    this.events.push(event);
    return event;
  }

  note(kind: string, node: string, detail: TraceDetail = NO_DETAIL): void {
    this.trace.note(this.time, kind, node, detail);
  }

  /** Ends the run with `error` after the present event. */
  fail(error: unknown): void {
    this.thrown ??= error;
  }

  /** Runs `task`, whose promises are settled before the next event for as long as they are under way. */
  spawn(process: SimProcess, task: () => Promise<void>): void {
    const entry: SimTask = { process };
    this.tasks.add(entry);
    void task()
      .catch((error: unknown) => {
        if (process.isAlive) this.fail(error);
      })
      .finally(() => this.tasks.delete(entry));
  }

  /** The present event may have settled promises of somebody who is no task: they go on before the next event. */
  settleSoon(): void {
    this.mustSettle = true;
  }

  kill(process: SimProcess): void {
    process.isAlive = false;
    for (const task of [...this.tasks]) if (task.process === process) this.tasks.delete(task);
  }

  /** Runs events until `isDone`, a failure, or virtual time `untilMs`. Returns whether `isDone` held. */
  async run(isDone: () => boolean, untilMs: number): Promise<boolean> {
    for (;;) {
      if (this.tasks.size > 0 || this.mustSettle) {
        this.mustSettle = false;
        await settleMicrotasks();
      }
      if (this.thrown !== undefined) return false;
      if (isDone()) return true;
      const next = this.events.peek();
      if (next === undefined || next.atMs > untilMs) {
        this.time = Math.max(this.time, untilMs);
        return isDone();
      }
      this.step();
    }
  }

  private step(): void {
    const event = this.events.pop();
    if (event === undefined || event.isCancelled) return;
    this.time = Math.max(this.time, event.atMs);
    const process = event.process;
    if (process !== undefined) {
      if (!process.isAlive) return;
      if (process.pausedUntilMs > this.time) {
        event.atMs = process.pausedUntilMs;
        this.events.push(event);
        return;
      }
    }
    this.trace.mix(this.time, event.kind, process?.node ?? "", event.checksum);
    try {
      event.fire();
    } catch (error) {
      this.fail(error);
    }
  }
}
