import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createRealClock } from "../../../src/node/env-clock-adapter.ts";

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("defer", () => {
  test("runs after the current turn, in order, and what it defers still belongs to that turn", async () => {
    const clock = createRealClock();
    const order: string[] = [];
    clock.defer(() => {
      order.push("step");
      clock.defer(() => order.push("flush"));
    });
    clock.defer(() => order.push("other"));
    expect(order).toEqual([]);
    await nextTurn();
    expect(order).toEqual(["step", "other", "flush"]);
  });

  test("lets the sockets have their turn when work defers work without end", async () => {
    const clock = createRealClock();
    let rounds = 0;
    const again = (): void => {
      rounds += 1;
      if (rounds < 1_000) clock.defer(again);
    };
    clock.defer(again);
    await nextTurn();
    expect(rounds).toBeGreaterThan(1);
    expect(rounds).toBeLessThan(100);
    while (rounds < 1_000) await nextTurn();
  });
});

describe("nextTurn", () => {
  test("runs in the next turn, after everything of this one", async () => {
    const clock = createRealClock();
    const order: string[] = [];
    const ended = new Promise<void>((resolve) => {
      clock.nextTurn(() => {
        order.push("next turn");
        clock.nextTurn(() => {
          order.push("the one after");
          resolve();
        });
        clock.defer(() => order.push("deferred there"));
      });
    });
    clock.defer(() => {
      order.push("this turn");
      clock.defer(() => order.push("still this turn"));
    });
    await nextTurn();
    expect(order).toContain("still this turn");
    expect(order).not.toContain("next turn");
    await ended;
    expect(order).toEqual(["this turn", "still this turn", "next turn", "deferred there", "the one after"]);
  });

  test("work that goes on turn after turn keeps no timer waiting", async () => {
    const clock = createRealClock();
    let isFired = false;
    let turns = 0;
    clock.setTimer(1, () => (isFired = true));
    const again = (): void => {
      turns += 1;
      if (!isFired) clock.nextTurn(again);
    };
    again();
    while (!isFired) await nextTurn();
    expect(turns).toBeGreaterThan(0);
  });
});

describe("defer, when something deferred throws", () => {
  let listeners: NodeJS.UncaughtExceptionListener[];
  beforeEach(() => {
    listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
  });
  afterEach(() => {
    process.removeAllListeners("uncaughtException");
    for (const listener of listeners) process.on("uncaughtException", listener);
  });

  test("the rest of the turn and all later turns still run, for a process that goes on", async () => {
    const clock = createRealClock();
    const order: string[] = [];
    process.once("uncaughtException", (error) => order.push(error.message));
    clock.defer(() => {
      clock.defer(() => order.push("deferred before the throw"));
      throw new RangeError("thrown");
    });
    clock.defer(() => order.push("other"));
    while (order.length < 3) await nextTurn();
    expect(order).toEqual(["thrown", "other", "deferred before the throw"]);
    clock.defer(() => order.push("later"));
    await nextTurn();
    expect(order.at(-1)).toBe("later");
  });
});

describe("sleep", () => {
  test("ends with the reason of a signal that is or becomes aborted", async () => {
    const clock = createRealClock();
    const controller = new AbortController();
    const sleeping = clock.sleep(60_000, controller.signal);
    controller.abort("enough");
    await expect(sleeping).rejects.toBe("enough");
    await expect(clock.sleep(60_000, controller.signal)).rejects.toBe("enough");
    await expect(clock.sleep(0)).resolves.toBeUndefined();
  });
});

test("a cancelled timer does not fire, and may be cancelled again", async () => {
  const clock = createRealClock();
  let isFired = false;
  const timer = clock.setTimer(0, () => (isFired = true));
  timer.cancel();
  timer.cancel();
  await clock.sleep(2);
  expect(isFired).toBe(false);
});

test("a timer beyond what the platform can count does not fire at once", async () => {
  const clock = createRealClock();
  const fired: number[] = [];
  const timers = [2 ** 31, Infinity].map((delayMs) => clock.setTimer(delayMs, () => fired.push(delayMs)));
  const controller = new AbortController();
  const sleeping = clock.sleep(Infinity, controller.signal).then(() => fired.push(0));
  await clock.sleep(5);
  for (const timer of timers) timer.cancel();
  controller.abort("enough");
  await expect(sleeping).rejects.toBe("enough");
  expect(fired).toEqual([]);
});
