// Owns: measuring the own process, and the room on the disk of its data.
import { statfs } from "node:fs/promises";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { createProcessMemory } from "../base/process-memory-adapter.ts";
import { SECOND_MS } from "../base/units.ts";
import type { DiskRoom, ProcessMeter } from "../env/process-meter.ts";

/** Time between two looks at the event loop: what is shorter is not seen. */
const LOOP_LOOK_MS = 20;
const US_PER_MS = 1_000;
const NS_PER_MS = 1_000_000;

/** Between two looks at the disk. */
const DISK_LOOK_EVERY_MS = 5 * SECOND_MS;

export function createProcessMeter(dataDir: string): ProcessMeter {
  const delay = monitorEventLoopDelay({ resolution: LOOP_LOOK_MS });
  delay.enable();
  const readMemory = createProcessMemory();
  const readDisk = createDiskLook(dataDir);
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
        disk: readDisk(),
      };
    },
  };
}

export async function readDiskRoom(dataDir: string): Promise<DiskRoom> {
  const { bsize, bavail, blocks } = await statfs(dataDir);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

/** What the last look found: a disk that does not answer holds up nobody. */
function createDiskLook(dataDir: string): () => DiskRoom | undefined {
  let found: DiskRoom | undefined;
  let lookedMs = -Infinity;
  let isLooking = false;
  const look = async (): Promise<void> => {
    try {
      found = await readDiskRoom(dataDir);
    } catch {
      // ignored: what is not known is told as such
      found = undefined;
    } finally {
      isLooking = false;
    }
  };
  return () => {
    const nowMs = performance.now();
    if (!isLooking && nowMs - lookedMs >= DISK_LOOK_EVERY_MS) {
      isLooking = true;
      lookedMs = nowMs;
      void look();
    }
    return found;
  };
}
