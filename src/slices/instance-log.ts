// Owns: what one instance may write to its node's log: lines with slice and instance, bounded per second.
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import { SECOND_MS } from "../base/units.ts";
import type { LogLevel } from "./core/worker-protocol.ts";

export class InstanceLog {
  private readonly clock: Pick<Clock, "nowMs">;
  private readonly log: Log;
  private readonly linesPerSecondMax: number;
  private windowStartMs = Number.NEGATIVE_INFINITY;
  private lines = 0;
  private linesLeftOut = 0;

  constructor(env: { readonly clock: Pick<Clock, "nowMs"> }, log: Log, linesPerSecondMax: number) {
    this.clock = env.clock;
    this.log = log;
    this.linesPerSecondMax = linesPerSecondMax;
  }

  write(level: LogLevel, text: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.turnWindow();
    this.lines += 1;
    if (this.lines > this.linesPerSecondMax) this.linesLeftOut += 1;
    else this.log[level]({ event: "slice.log", text, ...fields });
  }

  private turnWindow(): void {
    const nowMs = this.clock.nowMs();
    if (nowMs - this.windowStartMs < SECOND_MS) return;
    if (this.linesLeftOut > 0) this.log.warn({ event: "slice.log-limited", linesLeftOut: this.linesLeftOut });
    this.windowStartMs = nowMs;
    this.lines = 0;
    this.linesLeftOut = 0;
  }
}
