import { expect, test } from "vitest";
import { HELD_FIRST_MS, HELD_MS_MAX, HeldTimers } from "../../../../../src/jobs/core/flow/held-timers.ts";

test("a timer that cannot be fired is tried later and later, up to a limit, until it is forgotten", () => {
  const held = new HeldTimers<string>();
  expect([held.isHeld("a", 0), held.waitMs(0)]).toEqual([false, Number.POSITIVE_INFINITY]);
  let nowMs = 0;
  const waits: number[] = [];
  for (let tries = 0; tries < 9; tries++) {
    held.hold("a", nowMs);
    const waitMs = held.waitMs(nowMs);
    waits.push(waitMs);
    expect([held.isHeld("a", nowMs + waitMs - 1), held.isHeld("a", nowMs + waitMs)]).toEqual([true, false]);
    nowMs += waitMs;
  }
  expect([waits[0], waits[1], waits.at(-1)]).toEqual([HELD_FIRST_MS, 2 * HELD_FIRST_MS, HELD_MS_MAX]);
  held.forget("a");
  held.hold("a", nowMs);
  expect(held.waitMs(nowMs)).toBe(HELD_FIRST_MS);
});
