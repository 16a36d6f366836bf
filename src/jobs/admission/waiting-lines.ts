// Owns: calls that wait for something that the whole cluster shares, in a line for each name and in the order in which
// they came: one task serves a line while anybody stands in it. Does not own: what they wait for.
import type { Random } from "../../base/random.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { SECOND_MS } from "../../base/units.ts";
import { StoreOutage } from "../../cluster/store-outage.ts";
import { Wake } from "../../cluster/wake.ts";
import type { Clock } from "../../env/clock.ts";
import type { Telemetry } from "../../env/telemetry.ts";

/** Nodes that wait for the same thing do not all ask at once: each of them is the first one now and then. */
const SPREAD_MS = 10;
/** A look without a reason: what an outage, or a dead node, left. */
const LOOK_EVERY_MS = SECOND_MS;

/** One that has aborted is passed over. */
export interface Waiter {
  readonly signal: AbortSignal;
}

/** When to serve the line again: at once, a moment later, or when there is a reason to. */
export type Served = "at-once" | "spread" | "wait";

interface Line<W> {
  readonly waiters: W[];
  readonly wake: Wake;
}

export interface WaitingLinesEnv {
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Pick<Telemetry, "log">;
}

export class WaitingLines<W extends Waiter> {
  readonly outage: StoreOutage;
  /** For what is to end with the lines. */
  readonly scope: TaskScope;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly serve: (name: string, waiters: W[], closing: AbortSignal) => Promise<Served>;
  private readonly lines = new Map<string, Line<W>>();

  /** `serve` is called while there are `waiters`, and takes away those that it has served. */
  constructor(
    service: string,
    { clock, random, telemetry }: WaitingLinesEnv,
    ports: {
      readonly serve: (name: string, waiters: W[], closing: AbortSignal) => Promise<Served>;
      readonly onFatal: (error: unknown) => void;
    },
  ) {
    this.clock = clock;
    this.random = random;
    this.serve = ports.serve;
    this.outage = new StoreOutage(telemetry.log, service);
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  join(name: string, waiter: W): void {
    const line = this.lines.get(name);
    if (line === undefined) {
      this.lines.set(name, { waiters: [waiter], wake: new Wake(this.clock) });
      this.scope.spawn("waiting line", (closing) => this.run(name, closing));
    } else {
      line.waiters.push(waiter);
      line.wake.notify();
    }
  }

  /** There is a reason to serve all of them. */
  notify(): void {
    for (const { wake } of this.lines.values()) wake.notify();
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  private async run(name: string, closing: AbortSignal): Promise<void> {
    const line = this.lines.get(name);
    while (line !== undefined && !closing.aborted) {
      const { waiters, wake } = line;
      waiters.splice(0, waiters.length, ...waiters.filter(({ signal }) => !signal.aborted));
      if (waiters.length === 0) break;
      try {
        const served = await this.serve(name, waiters, closing);
        this.outage.noteSuccess();
        if (served === "wait") await wake.wait(closing, LOOK_EVERY_MS);
        if (served !== "at-once") await this.clock.sleep(this.random.below(SPREAD_MS), closing);
      } catch (error) {
        closing.throwIfAborted();
        await this.clock.sleep(this.outage.noteFailure(error), closing);
      }
    }
    this.lines.delete(name);
  }
}
