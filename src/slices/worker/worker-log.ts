// Owns: `ctx.log`: lines on their way from a slice to its node's structured log, bounded in size and number.
// Runs inside the worker: what is left out costs the node nothing.
import type { Clock } from "../../env/clock.ts";
import type { LineBudget } from "../core/line-budget.ts";
import { toPlain } from "../core/plain-data.ts";
import { LOG_FIELDS_BYTES_MAX, LOG_TEXT_LENGTH_MAX } from "../core/worker-limits.ts";
import type { LogLevel, WorkerMessage } from "../core/worker-protocol.ts";
import type { TurnOutbox } from "../turn-outbox.ts";

type Fields = Readonly<Record<string, unknown>>;

export interface WorkerLogPorts {
  readonly clock: Pick<Clock, "nowMs">;
  readonly outbox: TurnOutbox<WorkerMessage>;
  /** Shared with the output of the thread. */
  readonly lines: LineBudget;
}

export class WorkerLog {
  private readonly ports: WorkerLogPorts;

  constructor(ports: WorkerLogPorts) {
    this.ports = ports;
  }

  readonly debug = (message: string, fields?: Fields): void => this.write("debug", message, fields);
  readonly info = (message: string, fields?: Fields): void => this.write("info", message, fields);
  readonly warn = (message: string, fields?: Fields): void => this.write("warn", message, fields);
  readonly error = (message: string, fields?: Fields): void => this.write("error", message, fields);

  private write(level: LogLevel, message: unknown, fields: Fields | undefined): void {
    const { clock, outbox, lines } = this.ports;
    if (!lines.take(clock.nowMs())) return;
    const plain = plainFields(fields, lines.takeLeftOut());
    const text = String(message).slice(0, LOG_TEXT_LENGTH_MAX);
    outbox.addLater(plain === undefined ? { kind: "log", level, text } : { kind: "log", level, text, fields: plain });
  }
}

function plainFields(fields: Fields | undefined, linesLeftOut: number): Fields | undefined {
  const dropped = linesLeftOut === 0 ? {} : { linesLeftOut };
  if (fields === undefined) return linesLeftOut === 0 ? undefined : dropped;
  const plain = toPlain(fields, LOG_FIELDS_BYTES_MAX);
  if (plain.kind !== "plain") return { ...dropped, fieldsLeftOut: plain.kind };
  return { ...dropped, fields: plain.value };
}
