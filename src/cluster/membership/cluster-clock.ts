// Owns: a node's clock with the wall time that most nodes have. Does not own: which time that is.
import type { Clock } from "../../env/clock.ts";

/** For whatever is planned by the time of day; durations are those of the node's own clock. */
export function createClusterClock(clock: Clock, time: { wallMs(): number }): Clock {
  return {
    nowMs: () => clock.nowMs(),
    wallMs: () => time.wallMs(),
    setTimer: (delayMs, fire) => clock.setTimer(delayMs, fire),
    defer: (fire) => clock.defer(fire),
    nextTurn: (fire) => clock.nextTurn(fire),
    sleep: (delayMs, signal) => clock.sleep(delayMs, signal),
  };
}
