import { expect, test } from "vitest";
import { PAUSE_AFTER_BYTES, PIECE_MESSAGES, PIECES_PER_TURN_MAX, TurnOutbox } from "../../../src/slices/turn-outbox.ts";
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

test("a turn that does not end sends so many pieces and then nothing, so that it does not look alive", async () => {
  const { clock, posted, outbox } = open();
  for (let n = 0; n < 10 * PIECES_PER_TURN_MAX * PIECE_MESSAGES; n++) outbox.add(n);
  expect(posted).toHaveLength(PIECES_PER_TURN_MAX);
  await clock.settle();
  expect(posted).toHaveLength(PIECES_PER_TURN_MAX + 1);
  expect(posted.flat()).toEqual(Array.from({ length: 10 * PIECES_PER_TURN_MAX * PIECE_MESSAGES }, (_, n) => n));
  for (let n = 0; n < PIECE_MESSAGES; n++) outbox.add(n);
  expect(posted).toHaveLength(PIECES_PER_TURN_MAX + 2);
});

test("what nobody waits for makes no piece, and leaves with the next one or at the end of the turn", async () => {
  const { clock, posted, outbox } = open();
  for (let n = 0; n < 3 * PIECE_MESSAGES; n++) outbox.addLater(n);
  expect(posted).toEqual([]);
  await clock.settle();
  expect(posted.flat()).toHaveLength(3 * PIECE_MESSAGES);
});

test("after much in bytes nothing leaves until the other side asks for more, and then as much again", async () => {
  const clock = new ManualClock();
  const posted: (readonly (number | "pause")[])[] = [];
  const outbox = new TurnOutbox<number | "pause">(clock, (messages) => posted.push(messages), "pause");
  outbox.add(1, PAUSE_AFTER_BYTES / 2);
  for (let n = 2; n < 2 * PIECE_MESSAGES; n++) outbox.add(n, PAUSE_AFTER_BYTES / 2);
  outbox.add(99);
  await clock.settle();
  expect(posted).toEqual([[1, 2, "pause"]]);
  outbox.resume();
  expect(posted[1]).toEqual([3, 4, "pause"]);
  while (posted.at(-1)?.at(-1) === "pause") outbox.resume();
  const numbers = Array.from({ length: 2 * PIECE_MESSAGES - 1 }, (_, at) => at + 1);
  expect(posted.flat().filter((one) => one !== "pause")).toEqual([...numbers, 99]);
  outbox.add(100);
  await clock.settle();
  expect(posted.at(-1)).toEqual([100]);
});
