// Owns: `ctx.log`: lines on their way from a slice to its node's structured log, bounded in size and number.
// Runs inside the worker.
import { KiB } from "../base/units.ts";
import { toPlain } from "./core/plain-data.ts";
import type { LogLevel, WorkerMessage } from "./core/worker-protocol.ts";
import type { TurnOutbox } from "./turn-outbox.ts";

type Fields = Readonly<Record<string, unknown>>;

const TEXT_LENGTH_MAX = 8 * KiB;
const FIELDS_BYTES_MAX = 8 * KiB;
/** Messages of one turn beyond which a slice is only flooding: its lines are dropped, replies never are. */
const OUTBOX_SIZE_MAX = 2_000;

export class WorkerLog {
  private readonly outbox: TurnOutbox<WorkerMessage>;
  private droppedLines = 0;

  constructor(outbox: TurnOutbox<WorkerMessage>) {
    this.outbox = outbox;
  }

  readonly debug = (message: string, fields?: Fields): void => this.write("debug", message, fields);
  readonly info = (message: string, fields?: Fields): void => this.write("info", message, fields);
  readonly warn = (message: string, fields?: Fields): void => this.write("warn", message, fields);
  readonly error = (message: string, fields?: Fields): void => this.write("error", message, fields);

  private write(level: LogLevel, message: unknown, fields: Fields | undefined): void {
    if (this.outbox.size >= OUTBOX_SIZE_MAX) {
      this.droppedLines += 1;
      return;
    }
    const plain = plainFields(fields, this.droppedLines);
    this.droppedLines = 0;
    const text = String(message).slice(0, TEXT_LENGTH_MAX);
    this.outbox.add(plain === undefined ? { kind: "log", level, text } : { kind: "log", level, text, fields: plain });
  }
}

function plainFields(fields: Fields | undefined, droppedLines: number): Fields | undefined {
  const dropped = droppedLines === 0 ? {} : { droppedLines };
  if (fields === undefined) return droppedLines === 0 ? undefined : dropped;
  const plain = toPlain(fields, FIELDS_BYTES_MAX);
  if (plain.kind !== "plain") return { ...dropped, fieldsLeftOut: plain.kind };
  return { ...dropped, fields: plain.value };
}
