// Owns: what one instance says: into its node's log, with slice and instance, and into what the node keeps of it;
// bounded per second.
import type { Clock } from "../../env/clock.ts";
import type { Log } from "../../env/telemetry.ts";
import { LineBudget } from "../core/line-budget.ts";
import type { SliceLine } from "../core/recent-lines.ts";
import type { LogLevel } from "../core/worker-protocol.ts";

export interface InstanceLogPorts {
  readonly log: Log;
  /** Kept for those who ask later. */
  keepLine(line: SliceLine): void;
  /** Takes out of each text what nobody may read. */
  readonly cleanText?: ((text: string) => string) | undefined;
}

export class InstanceLog {
  private readonly clock: Pick<Clock, "nowMs" | "wallMs">;
  private readonly ports: InstanceLogPorts;
  private readonly budget: LineBudget;

  constructor(
    env: { readonly clock: Pick<Clock, "nowMs" | "wallMs"> }, ports: InstanceLogPorts, linesPerSecondMax: number,
  ) {
    this.clock = env.clock;
    this.ports = ports;
    this.budget = new LineBudget(linesPerSecondMax);
  }

  /** `trace`: id of that of the call whose handler says it. */
  write(level: LogLevel, said: string, saidFields: Readonly<Record<string, unknown>> = {}, trace?: string): void {
    if (!this.budget.take(this.clock.nowMs())) return;
    const { text, fields } = this.clean(said, saidFields);
    const linesLeftOut = this.budget.takeLeftOut();
    const { log } = this.ports;
    if (linesLeftOut > 0) {
      log.warn({ event: "slice.log-limited", linesLeftOut });
      this.keep("warn", `${linesLeftOut} lines were left out: there were too many in a second`);
    }
    log[level]({ ...fields, event: "slice.log", text, ...(trace !== undefined && { trace }) });
    this.keep(level, text, fields);
  }

  private clean(
    text: string, fields: Readonly<Record<string, unknown>>,
  ): { readonly text: string; readonly fields: Readonly<Record<string, unknown>> } {
    const { cleanText } = this.ports;
    if (cleanText === undefined) return { text, fields };
    // Fields are plain data: as text they can be searched whole.
    const cleanFields = JSON.parse(cleanText(JSON.stringify(fields))) as Readonly<Record<string, unknown>>;
    return { text: cleanText(text), fields: cleanFields };
  }

  private keep(level: LogLevel, text: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const line = { atMs: this.clock.wallMs(), level, text };
    this.ports.keepLine(Object.keys(fields).length === 0 ? line : { ...line, fields });
  }
}
