// Owns: log lines: one JSON object per line on stderr.
import { destination, type Logger, pino, stdSerializers, stdTimeFunctions } from "pino";
import type { NodeId } from "../base/ids.ts";
import type { LogLevels } from "../base/log-levels.ts";
import type { Log } from "../env/telemetry.ts";

export interface LogOptions {
  readonly node: NodeId;
  /** Looked at for each line: they may be changed at any time. */
  readonly levels: LogLevels;
  /** Receives the lines; stderr when absent. */
  readonly write?: (line: string) => void;
}

/** Written synchronously: the last line before a crash is the one that is needed. */
export function createJsonLog({ node, levels, write }: LogOptions): Log {
  const options = {
    level: "debug",
    base: { node },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { error: stdSerializers.err },
  };
  const stream = write === undefined ? destination({ fd: 2, sync: true }) : { write };
  return wrap(pino(options, stream), levels);
}

function wrap(logger: Logger, levels: LogLevels): Log {
  return {
    error: (fields) => void (levels.allows(fields.event, "error") && logger.error(fields)),
    warn: (fields) => void (levels.allows(fields.event, "warn") && logger.warn(fields)),
    info: (fields) => void (levels.allows(fields.event, "info") && logger.info(fields)),
    debug: (fields) => void (levels.allows(fields.event, "debug") && logger.debug(fields)),
    child: (bindings) => wrap(logger.child(bindings), levels),
  };
}
