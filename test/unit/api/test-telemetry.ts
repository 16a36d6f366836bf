// Owns: telemetry that keeps its log lines for tests to look at.
import type { Log, LogFields, Telemetry } from "../../../src/env/telemetry.ts";
import { LogLevels } from "../../../src/base/log-levels.ts";
import { NO_TRACING } from "../../../src/testkit/sim/sim-telemetry.ts";

export interface LogLine extends LogFields {
  readonly level: "error" | "warn" | "info" | "debug";
}

export function createTestTelemetry(lines: LogLine[]): Telemetry {
  const metric = { add: () => undefined, set: () => undefined, observe: () => undefined };
  return {
    log: recordingLog(lines),
    counter: () => metric,
    gauge: () => metric,
    histogram: () => metric,
    levels: new LogLevels("info"),
    tracing: NO_TRACING,
    exposition: () => Promise.resolve(""),
  };
}

function recordingLog(lines: LogLine[]): Log {
  const log: Log = {
    error: (fields) => void lines.push({ ...fields, level: "error" }),
    warn: (fields) => void lines.push({ ...fields, level: "warn" }),
    info: (fields) => void lines.push({ ...fields, level: "info" }),
    debug: (fields) => void lines.push({ ...fields, level: "debug" }),
    child: () => log,
  };
  return log;
}
