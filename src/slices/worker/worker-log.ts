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
  private readonly traceparent: string | undefined;

  /** `traceparent`: of the call whose handler writes. */
  constructor(ports: WorkerLogPorts, traceparent?: string) {
    this.ports = ports;
    this.traceparent = traceparent;
  }

  /** The same log, for the handler of a call. */
  within(traceparent: string | undefined): WorkerLog {
    return traceparent === undefined ? this : new WorkerLog(this.ports, traceparent);
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
    outbox.addLater({
      kind: "log", level, text,
      ...(plain !== undefined && { fields: plain }),
      ...(this.traceparent !== undefined && { trace: traceIdOf(this.traceparent) }),
    });
  }
}

function plainFields(fields: Fields | undefined, linesLeftOut: number): Fields | undefined {
  const dropped = linesLeftOut === 0 ? {} : { linesLeftOut };
  if (fields === undefined) return linesLeftOut === 0 ? undefined : dropped;
  const plain = toPlain(fields, LOG_FIELDS_BYTES_MAX);
  if (plain.kind !== "plain") return { ...dropped, fieldsLeftOut: plain.kind };
  return { ...dropped, fields: plain.value };
}

/** The node that made it has it checked. */
function traceIdOf(traceparent: string): string {
  return traceparent.split("-")[1] ?? "";
}
