// Owns: real time for a client that lives outside a node.
import { performance } from "node:perf_hooks";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { Clock } from "../env/clock.ts";

export function createClientClock(): Clock {
  return {
    nowMs: () => performance.now(),
    wallMs: () => Date.now(),
    setTimer: (delayMs, fire) => {
      const timer = setTimeout(fire, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
    defer: (fire) => void setImmediate(fire),
    nextTurn: (fire) => void setImmediate(() => setImmediate(fire)),
    sleep: (delayMs, signal) => sleepFor(delayMs, undefined, signal === undefined ? {} : { signal }),
  };
}
