import { expect, test } from "vitest";
import { HOLD_MS_MAX, LoadGate } from "../../../src/slices/host/load-gate.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const NEVER = new AbortController().signal;

function openGate(loadsAtOnceMax: number) {
  const clock = new ManualClock();
  const gate = new LoadGate({ clock }, { loadsAtOnceMax });
  const order: string[] = [];
  const enter = async (name: string, signal = NEVER): Promise<() => void> => {
    const leave = await gate.enter(signal);
    order.push(name);
    return leave;
  };
  return { clock, order, enter };
}

test("only so many are inside at once, and who waits gets in by turns", async () => {
  const { clock, order, enter } = openGate(2);
  const [a, b] = await Promise.all([enter("a"), enter("b")]);
  const waiting = [enter("c"), enter("d")];
  await clock.settle();
  expect(order).toEqual(["a", "b"]);
  a();
  a();
  const late = enter("e");
  await clock.settle();
  expect(order).toEqual(["a", "b", "c"]);
  b();
  (await waiting[0])?.();
  await late;
  expect(order).toEqual(["a", "b", "c", "d", "e"]);
});

test("who holds its place too long loses it to the next, and giving it back later frees no other", async () => {
  const { clock, order, enter } = openGate(1);
  const first = await enter("hangs");
  const second = enter("next");
  const third = enter("last");
  await clock.advance(HOLD_MS_MAX);
  const leaveSecond = await second;
  first();
  await clock.settle();
  expect(order).toEqual(["hangs", "next"]);
  leaveSecond();
  await third;
});

test("who gives up while waiting leaves the line, also in the turn in which it got the place", async () => {
  const { clock, order, enter } = openGate(1);
  const leave = await enter("a");
  const leaving = [new AbortController(), new AbortController()];
  const gaveUp = leaving.map(({ signal }, index) => expect(enter(`left ${index}`, signal)).rejects.toThrow("gave up"));
  const last = enter("last");
  leaving[0]?.abort(new RangeError("gave up"));
  leave();
  leaving[1]?.abort(new RangeError("gave up"));
  await Promise.all(gaveUp);
  await last;
  await clock.settle();
  expect(order).toEqual(["a", "last"]);
});
