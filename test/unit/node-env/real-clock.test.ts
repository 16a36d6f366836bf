import { describe, expect, test } from "vitest";
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
