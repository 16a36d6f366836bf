import { beforeEach, expect, test } from "vitest";
import { PAGES_AT_ONCE_MAX, READS_WAITING_MAX, ReadTurns, TURN_READ_BYTES_MAX } from
  "../../../src/kvstore/read-turns.ts";

let deferred: (() => void)[];
let later: (() => void)[];
let turns: ReadTurns;
let begun: string[];

beforeEach(() => {
  deferred = [];
  later = [];
  begun = [];
  turns = new ReadTurns({ defer: (fire) => void deferred.push(fire), nextTurn: (fire) => void later.push(fire) });
});

function nextTurn(): void {
  for (const fire of deferred.splice(0)) fire();
  for (const fire of later.splice(0)) fire();
}

function entry(reader: object, name: string, bytes: number): void {
  void turns.entry(reader, () => {
    begun.push(name);
    return { value: name, bytes };
  });
}

test("what is small is read at once, without a promise", () => {
  expect(turns.entry({}, () => ({ value: 7, bytes: 10 }))).toBe(7);
});

test("a turn reads so many bytes, one entry always; the next one goes on", () => {
  const reader = {};
  for (const name of ["a", "b", "c", "d"]) entry(reader, name, TURN_READ_BYTES_MAX / 2);
  entry(reader, "huge", 3 * TURN_READ_BYTES_MAX);
  entry(reader, "last", 1);
  expect(begun).toEqual(["a", "b"]);
  nextTurn();
  expect(begun).toEqual(["a", "b", "c", "d"]);
  nextTurn();
  expect(begun.slice(4)).toEqual(["huge"]);
  nextTurn();
  expect(begun.slice(5)).toEqual(["last"]);
  nextTurn();
  expect(later).toEqual([]);
});

test("readers take turns, however much one of them wants", () => {
  const [greedy, modest] = [{}, {}];
  for (let at = 0; at < 6; at++) entry(greedy, "greedy", TURN_READ_BYTES_MAX / 2);
  entry(modest, "modest", TURN_READ_BYTES_MAX / 2);
  nextTurn();
  expect(begun).toEqual(["greedy", "greedy", "greedy", "modest"]);
});

test("so many pages are read at once; entries do not wait for them", async () => {
  const ends: (() => void)[] = [];
  const readers = Array.from({ length: PAGES_AT_ONCE_MAX + 2 }, () => ({}));
  const read = readers.map((reader, at) => turns.page(reader, () => {
    begun.push(`page ${at}`);
    return new Promise<void>((resolve) => void ends.push(resolve));
  }));
  expect(begun).toHaveLength(PAGES_AT_ONCE_MAX);
  entry({}, "entry", 1);
  nextTurn();
  expect(begun.slice(PAGES_AT_ONCE_MAX)).toEqual(["entry"]);
  ends.shift()?.();
  await read[0];
  nextTurn();
  expect(begun.slice(PAGES_AT_ONCE_MAX)).toEqual(["entry", `page ${PAGES_AT_ONCE_MAX}`]);
});

test("a page that fails makes room for the next one", async () => {
  const fail = (): Promise<never> => Promise.reject(new Error("no"));
  const failing = Array.from({ length: PAGES_AT_ONCE_MAX }, () => turns.page({}, fail));
  const next = turns.page({}, () => Promise.resolve("read"));
  await Promise.all(failing.map((page) => expect(page).rejects.toThrow("no")));
  nextTurn();
  expect(await next).toBe("read");
});

test("more than may wait are refused; what fails fails alone", async () => {
  entry({}, "first", TURN_READ_BYTES_MAX);
  const reader = {};
  const failed = turns.entry(reader, () => {
    throw new RangeError("it is damaged");
  });
  for (let at = 1; at < READS_WAITING_MAX; at++) entry(reader, "waits", 0);
  expect(() => turns.entry({}, () => ({ value: 1, bytes: 1 }))).toThrow(/slow down/);
  nextTurn();
  await expect(failed).rejects.toThrow("damaged");
  expect(begun).toHaveLength(READS_WAITING_MAX);
});
