// Owns: measuring the own process.
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { createProcessMemory } from "../base/process-memory-adapter.ts";
import type { ProcessMeter } from "../env/process-meter.ts";

/** Time between two looks at the event loop: what is shorter is not seen. */
const LOOP_LOOK_MS = 20;
const US_PER_MS = 1_000;
const NS_PER_MS = 1_000_000;

export function createProcessMeter(): ProcessMeter {
  const delay = monitorEventLoopDelay({ resolution: LOOP_LOOK_MS });
  delay.enable();
  const readMemory = createProcessMemory();
  return {
    read() {
      const { user, system } = process.cpuUsage();
      const { heapUsed, rss } = readMemory();
      // A look that comes in time is counted as the time between looks; without any the maximum is 0.
      const loopDelayMsMax = Math.max(0, delay.max / NS_PER_MS - LOOP_LOOK_MS);
      delay.reset();
      return {
        cpuMs: (user + system) / US_PER_MS,
        loopBusyMs: performance.eventLoopUtilization().active,
        loopDelayMsMax,
        heapUsedBytes: heapUsed,
        rssBytes: rss,
      };
    },
  };
}
