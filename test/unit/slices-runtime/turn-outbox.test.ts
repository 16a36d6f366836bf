import { expect, test } from "vitest";
import { PIECE_MESSAGES, TurnOutbox } from "../../../src/slices/turn-outbox.ts";
import { ManualClock } from "../../support/manual-clock.ts";

function open() {
  const clock = new ManualClock();
  const posted: (readonly number[])[] = [];
  return { clock, posted, outbox: new TurnOutbox<number>(clock, (messages) => posted.push(messages)) };
}

test("what is added in one turn leaves together at its end, and the next turn's after it", async () => {
  const { clock, posted, outbox } = open();
  outbox.add(1);
  outbox.add(2);
  expect(posted).toEqual([]);
  await clock.settle();
  outbox.add(3);
  await clock.settle();
  expect(posted).toEqual([[1, 2], [3]]);
});

test("of much, whole pieces leave at once and the rest at the end of the turn, all in order", async () => {
  const { clock, posted, outbox } = open();
  const all = Array.from({ length: 2 * PIECE_MESSAGES + 3 }, (_, index) => index);
  for (const one of all) outbox.add(one);
  expect(posted.map(({ length }) => length)).toEqual([PIECE_MESSAGES, PIECE_MESSAGES]);
  await clock.settle();
  expect(posted.map(({ length }) => length)).toEqual([PIECE_MESSAGES, PIECE_MESSAGES, 3]);
  expect(posted.flat()).toEqual(all);
});
