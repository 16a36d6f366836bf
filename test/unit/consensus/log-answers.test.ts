import { beforeEach, expect, test } from "vitest";
import { type NodeId, parseNodeId } from "../../../src/base/ids.ts";
import { KiB } from "../../../src/base/units.ts";
import { type LogEntry, NOOP } from "../../../src/consensus/core/message.ts";
import { LogAnswers } from "../../../src/consensus/log-answers.ts";

const [n1, n2] = [parseNodeId("n1"), parseNodeId("n2")];
const DECIDED = 10_000;

/** What was put off to the next turn. */
let deferred: (() => void)[];
let reads: (readonly [from: number, below: number])[];
let sent: { readonly to: NodeId; readonly from: number; readonly slots: readonly number[] }[];
let failure: unknown;
let answers: LogAnswers;

function entry(slot: number): LogEntry {
  return { slot, outcome: NOOP, contents: [new Uint8Array(40 * KiB)] };
}

function endTurn(): void {
  for (const fire of deferred.splice(0)) fire();
}

beforeEach(() => {
  [deferred, reads, sent, failure] = [[], [], [], undefined];
  answers = new LogAnswers({
    clock: { defer: (fire) => void deferred.push(fire) },
    journal: {
      readLog: (from, bytesMax, below = DECIDED) => {
        reads.push([from, below]);
        if (from < 100) return [];
        if (from === 666) throw new Error("the disk is damaged");
        const length = Math.min(below - from, Math.ceil(bytesMax / (40 * KiB)));
        return Array.from({ length }, (_, at) => entry(from + at));
      },
    },
    send: (to, from, entries) => sent.push({ to, from, slots: entries.map(({ slot }) => slot) }),
    guard: (act) => {
      try {
        act();
      } catch (error) {
        failure = error;
      }
    },
  });
});

test("what was applied last is told at once, without the journal", () => {
  for (let slot = 500; slot < 520; slot++) answers.applied({ ...entry(slot), batches: [] });
  answers.ask({ to: n1, from: 510, below: 512 });
  answers.ask({ to: n2, from: 510, below: 520 });
  expect(sent).toEqual([{ to: n1, from: 510, slots: [510, 511] }, { to: n2, from: 510, slots: [510, 511, 512, 513] }]);
  expect(reads).toEqual([]);
});

test("the journal is read once for all questions of a peer, and for one peer in a turn", () => {
  answers.ask({ to: n1, from: 203, below: 204 });
  answers.ask({ to: n1, from: 201, below: 202 });
  answers.ask({ to: n2, from: 300, below: DECIDED });
  expect(reads, "not in this turn").toEqual([]);
  endTurn();
  expect(reads).toEqual([[201, 204]]);
  expect(sent.splice(0)).toEqual([{ to: n1, from: 201, slots: [201, 202, 203] }]);
  endTurn();
  expect(reads).toEqual([[201, 204], [300, DECIDED]]);
  expect(sent).toEqual([{ to: n2, from: 300, slots: [300, 301, 302, 303] }]);
  endTurn();
  expect(reads).toHaveLength(2);
});

test("what the journal does not have is not answered; its failure is not lost", () => {
  answers.ask({ to: n1, from: 50, below: DECIDED });
  answers.ask({ to: n2, from: 666, below: DECIDED });
  endTurn();
  endTurn();
  expect([sent, failure]).toEqual([[], expect.objectContaining({ message: "the disk is damaged" })]);
  answers.ask({ to: n2, from: 700, below: 701 });
  endTurn();
  endTurn();
  expect(sent).toEqual([{ to: n2, from: 700, slots: [700] }]);
});

test("nothing is answered after the end", () => {
  answers.ask({ to: n1, from: 200, below: DECIDED });
  answers.close();
  endTurn();
  endTurn();
  expect([reads, sent]).toEqual([[], []]);
});
