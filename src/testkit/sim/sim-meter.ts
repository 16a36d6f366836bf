// Owns: what a simulated process uses of its machine: nothing, as far as anybody measures it, unless a test says so.
import type { ProcessMeter, ProcessReading } from "../../env/process-meter.ts";

const NOTHING: ProcessReading = {
  cpuMs: 0, loopBusyMs: 0, loopDelayMsMax: 0, heapUsedBytes: 0, rssBytes: 0, disk: undefined,
};

export function createSimMeter(said: () => Partial<ProcessReading> = () => ({})): ProcessMeter {
  return { read: () => ({ ...NOTHING, ...said() }) };
}
