// Owns: the telemetry of a simulated process: its log is part of the trace, its metrics are not kept.
import { LogLevels } from "../../base/log-levels.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import type { Tracing } from "../../env/tracing.ts";

/** Nobody records. */
export const NO_TRACING: Tracing = { isOn: false, begin: () => undefined };

export function createSimTelemetry(log: Log): Telemetry {
  const none = (): void => undefined;
  return {
    log,
    levels: new LogLevels("info"),
    tracing: NO_TRACING,
    counter: () => ({ add: none }),
    gauge: () => ({ set: none }),
    histogram: () => ({ observe: none }),
    exposition: () => Promise.resolve(""),
  };
}
