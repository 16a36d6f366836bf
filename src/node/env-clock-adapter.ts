// Owns: real time.
import { performance } from "node:perf_hooks";
import type { Clock } from "../env/clock.ts";

/**
 * What is deferred while the deferred work of a turn runs still belongs to that turn, so that a machine's step and the
 * frames it causes leave together. After this many rounds the rest waits for the next turn: sockets want to be read.
 */
const ROUNDS_PER_TURN = 8;

export function createRealClock(): Clock {
  return {
    nowMs: () => performance.now(),
    wallMs: () => Date.now(),
    setTimer: (delayMs, fire) => {
      const timer = setTimeout(fire, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
    defer: createDefer(),
    sleep,
  };
}

/** All deferred work of a turn shares one immediate. */
function createDefer(): (fire: () => void) => void {
  let due: (() => void)[] = [];
  let isScheduled = false;
  const schedule = (): void => {
    isScheduled = true;
    setImmediate(runTurn);
  };
  const runTurn = (): void => {
    // Still "scheduled" while it runs: what is added meanwhile is taken by the next round.
    for (let round = 0; round < ROUNDS_PER_TURN && due.length > 0; round += 1) {
      const firing = due;
      due = [];
      for (const fire of firing) fire();
    }
    isScheduled = false;
    if (due.length > 0) schedule();
  };
  return (fire) => {
    due.push(fire);
    if (!isScheduled) schedule();
  };
}

function sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, delayMs);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
