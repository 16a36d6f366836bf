// Owns: the telemetry of a simulated process: its log is part of the trace, its metrics are not kept.
import type { Log, Telemetry } from "../../env/telemetry.ts";

export function createSimTelemetry(log: Log): Telemetry {
  const none = (): void => undefined;
  return {
    log,
    counter: () => ({ add: none }),
    gauge: () => ({ set: none }),
    histogram: () => ({ observe: none }),
    exposition: () => Promise.resolve(""),
  };
}
