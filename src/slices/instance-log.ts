// Owns: what one instance may write to its node's log: lines with slice and instance, bounded per second.
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import { LineBudget } from "./core/line-budget.ts";
import type { LogLevel } from "./core/worker-protocol.ts";

export class InstanceLog {
  private readonly clock: Pick<Clock, "nowMs">;
  private readonly log: Log;
  private readonly budget: LineBudget;

  constructor(env: { readonly clock: Pick<Clock, "nowMs"> }, log: Log, linesPerSecondMax: number) {
    this.clock = env.clock;
    this.log = log;
    this.budget = new LineBudget(linesPerSecondMax);
  }

  write(level: LogLevel, text: string, fields: Readonly<Record<string, unknown>> = {}): void {
    if (!this.budget.take(this.clock.nowMs())) return;
    const linesLeftOut = this.budget.takeLeftOut();
    if (linesLeftOut > 0) this.log.warn({ event: "slice.log-limited", linesLeftOut });
    this.log[level]({ ...fields, event: "slice.log", text });
  }
}
