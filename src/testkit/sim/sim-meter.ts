// Owns: what a simulated process uses of its machine: nothing, as far as anybody measures it.
import type { ProcessMeter, ProcessReading } from "../../env/process-meter.ts";

const NOTHING: ProcessReading = { cpuMs: 0, loopBusyMs: 0, loopDelayMsMax: 0, heapUsedBytes: 0, rssBytes: 0 };

export function createSimMeter(): ProcessMeter {
  return { read: () => NOTHING };
}
