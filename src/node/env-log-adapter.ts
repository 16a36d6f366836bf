// Owns: log lines: one JSON object per line on stderr.
import { destination, type Logger, pino, stdSerializers, stdTimeFunctions } from "pino";
import type { NodeId } from "../base/ids.ts";
import type { Log } from "../env/telemetry.ts";

export type LogLevel = "error" | "warn" | "info" | "debug" | "silent";

export interface LogOptions {
  readonly node: NodeId;
  readonly level: LogLevel;
  /** Receives the lines; stderr when absent. */
  readonly write?: (line: string) => void;
}

/** Written synchronously: the last line before a crash is the one that is needed. */
export function createJsonLog({ node, level, write }: LogOptions): Log {
  const options = {
    level,
    base: { node },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { error: stdSerializers.err },
  };
  const stream = write === undefined ? destination({ fd: 2, sync: true }) : { write };
  return wrap(pino(options, stream));
}

function wrap(logger: Logger): Log {
  return {
    error: (fields) => logger.error(fields),
    warn: (fields) => logger.warn(fields),
    info: (fields) => logger.info(fields),
    debug: (fields) => logger.debug(fields),
    child: (bindings) => wrap(logger.child(bindings)),
  };
}
