// Owns: a loop that looks at the store now and then, or when it is told to, and goes on when the store is away.
import { TaskScope } from "../base/task-scope.ts";
import type { Clock } from "../env/clock.ts";
import type { Telemetry } from "../env/telemetry.ts";
import { StoreOutage } from "./store-outage.ts";
import { Wake } from "./wake.ts";

export interface StoreLoopWork {
  /** Says after how many milliseconds to look again unless told before; undefined to look only when told. */
  look(signal: AbortSignal): Promise<number | undefined>;
  /** The loop has ended: what was thrown does not pass by itself. */
  readonly onFatal: (error: unknown) => void;
}

export class StoreLoop {
  private readonly clock: Clock;
  private readonly name: string;
  private readonly work: StoreLoopWork;
  private readonly outage: StoreOutage;
  private readonly wake: Wake;
  private readonly scope: TaskScope;

  constructor(env: { readonly clock: Clock; readonly telemetry: Telemetry }, name: string, work: StoreLoopWork) {
    this.clock = env.clock;
    this.name = name;
    this.work = work;
    this.outage = new StoreOutage(env.telemetry.log, name);
    this.wake = new Wake(env.clock);
    this.scope = new TaskScope((_task, error) => work.onFatal(error));
  }

  /** The first look is now. */
  start(): void {
    this.scope.spawn(this.name, (signal) => this.run(signal));
  }

  /** Looks again, once what is under way has ended. */
  notify(): void {
    this.wake.notify();
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const waitMs = await this.work.look(signal);
        this.outage.noteSuccess();
        await this.wake.wait(signal, waitMs);
      } catch (error) {
        signal.throwIfAborted();
        // Notices that come meanwhile must not make a loop without a pause of it.
        await this.clock.sleep(this.outage.noteFailure(error), signal);
      }
    }
  }
}
