import fc from "fast-check";
import { expect, test } from "vitest";
import { EventQueue, type SimEvent } from "../../../../src/testkit/sim/event-queue.ts";

function event(atMs: number, sequence: number): SimEvent {
  return { atMs, sequence, kind: "test", process: undefined, checksum: 0, fire: () => undefined, isCancelled: false };
}

test("events come out by time, and in the order of scheduling within one moment", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9), { maxLength: 60 }), (times) => {
      const queue = new EventQueue();
      for (const [sequence, atMs] of times.entries()) queue.push(event(atMs, sequence));
      const popped: SimEvent[] = [];
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) popped.push(next);
      const expected = [...times.entries()].sort(([i, a], [j, b]) => a - b || i - j);
      expect(popped.map(({ atMs, sequence }) => [sequence, atMs])).toEqual(expected);
    }),
  );
});

test("an event that is put back later keeps its place within the new moment", () => {
  const queue = new EventQueue();
  const first = event(1, 0);
  queue.push(first);
  queue.push(event(5, 1));
  queue.pop();
  first.atMs = 5;
  queue.push(first);
  expect(queue.pop()?.sequence).toBe(0);
});
