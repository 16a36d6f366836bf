// Owns: real time.
import { performance } from "node:perf_hooks";
import type { Clock } from "../env/clock.ts";

/**
 * What is deferred while the deferred work of a turn runs still belongs to that turn, so that a machine's step and the
 * frames it causes leave together. After this many rounds the rest waits for the next turn: sockets want to be read.
 */
const ROUNDS_PER_TURN = 8;

/** What `setTimeout` can count; anything above would fire at once. */
const DELAY_MS_MAX = 2 ** 31 - 1;

export function createRealClock(): Clock {
  return {
    nowMs: () => performance.now(),
    wallMs: () => Date.now(),
    setTimer: (delayMs, fire) => {
      const timer = setTimeout(fire, Math.min(delayMs, DELAY_MS_MAX));
      return { cancel: () => clearTimeout(timer) };
    },
    ...createTurns(),
    sleep,
  };
}

/** All deferred work of a turn shares one immediate. */
function createTurns(): Pick<Clock, "defer" | "nextTurn"> {
  let due: (() => void)[] = [];
  let later: (() => void)[] = [];
  let isScheduled = false;
  const schedule = (): void => {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(runTurn);
  };
  const runTurn = (): void => {
    let firing: (() => void)[] = [];
    let fired = 0;
    try {
      // Still "scheduled" while it runs: what is added meanwhile is taken by the next round.
      for (let round = 0; round < ROUNDS_PER_TURN && due.length > 0; round += 1) {
        firing = due;
        due = [];
        for (fired = 0; fired < firing.length;) firing[fired++]?.();
      }
    } finally {
      // A throw is a bug, and whether the process outlives it is for its owner to say. If so, the others' work goes on.
      if (fired < firing.length) due = [...firing.slice(fired), ...due];
      if (later.length > 0) due.push(...later);
      later = [];
      isScheduled = false;
      if (due.length > 0) schedule();
    }
  };
  return {
    defer: (fire) => {
      due.push(fire);
      schedule();
    },
    nextTurn: (fire) => {
      later.push(fire);
      schedule();
    },
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
    }, Math.min(delayMs, DELAY_MS_MAX));
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
