import { beforeEach, expect, test } from "vitest";
import { READS_PER_TURN_MAX, READS_WAITING_MAX, ReadQueue } from "../../../src/consensus/read-queue.ts";

let later: (() => void)[];
const nextTurn = (fire: () => void): void => void later.push(fire);

function endTurn(): void {
  for (const fire of later.splice(0)) fire();
}

beforeEach(() => {
  later = [];
});

test("a read is answered when its round is and its slot is applied, not before", () => {
  const reads = new ReadQueue(nextTurn);
  const answers: string[] = [];
  reads.add(({ kind }) => answers.push(`first ${kind}`));
  expect(reads.beginRound(false)).toBe(true);
  reads.add(({ kind }) => answers.push(`second ${kind}`));
  expect(reads.beginRound(true)).toBe(false);
  reads.roundAnswered(5, 3);
  reads.applied(4);
  expect(answers).toEqual([]);
  reads.applied(5);
  expect(answers).toEqual(["first ready"]);
  expect(reads.beginRound(false)).toBe(true);
  reads.roundAnswered(5, 5);
  expect(answers).toEqual(["first ready", "second ready"]);
  expect(reads.beginRound(false)).toBe(false);
});

test("the limit holds for all reads that wait, also for those whose slot is not applied", () => {
  const reads = new ReadQueue(nextTurn);
  for (let round = 0; round < 4; round++) {
    for (let at = 0; at < READS_WAITING_MAX / 4; at++) expect(reads.add(() => undefined)).toBeUndefined();
    expect(reads.beginRound(false)).toBe(true);
    reads.roundAnswered(1_000, 0);
  }
  expect(reads.add(() => undefined)).toMatchObject({ kind: "refused", code: "E_OVERLOADED" });
  reads.applied(1_000);
  expect(reads.add(() => undefined)).toBeUndefined();
});

test("one round serves many reads, but not all in one turn; new voters or an end concern those that are left", () => {
  const reads = new ReadQueue(nextTurn);
  const counts = { ready: 0, refused: 0 };
  const add = (): void => void reads.add(({ kind }) => (counts[kind] += 1));
  for (let at = 0; at < 4 * READS_PER_TURN_MAX; at++) add();
  reads.beginRound(false);
  reads.roundAnswered(5, 5);
  expect(counts.ready).toBe(READS_PER_TURN_MAX);
  reads.applied(6);
  expect(counts.ready).toBe(READS_PER_TURN_MAX);
  endTurn();
  expect(counts.ready).toBe(2 * READS_PER_TURN_MAX);
  reads.restart(() => undefined);
  endTurn();
  expect(counts.ready).toBe(2 * READS_PER_TURN_MAX);
  expect(reads.beginRound(false)).toBe(true);
  reads.roundAnswered(7, 7);
  expect(counts.ready).toBe(3 * READS_PER_TURN_MAX);
  reads.abandon("the node is stopping");
  endTurn();
  expect(counts).toEqual({ ready: 3 * READS_PER_TURN_MAX, refused: READS_PER_TURN_MAX });
});

test("a node that stops refuses every read that waits, wherever it waits, once", () => {
  const reads = new ReadQueue(nextTurn);
  const answers: string[] = [];
  for (const name of ["blocked", "in round", "waiting"]) {
    reads.add(({ kind }) => answers.push(`${name} ${kind}`));
    if (name === "waiting") break;
    reads.beginRound(false);
    if (name === "blocked") reads.roundAnswered(9, 0);
  }
  reads.abandon("the node is stopping");
  expect(answers.sort()).toEqual(["blocked refused", "in round refused", "waiting refused"]);
  reads.applied(9);
  expect(answers).toHaveLength(3);
});
