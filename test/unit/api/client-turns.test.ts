import { beforeEach, describe, expect, test } from "vitest";
import { ClientTurns, type ClientWork } from "../../../src/api/client-turns.ts";
import {
  SHARE_BYTES_MAX, SHARE_REQUESTS_MAX, TURN_BYTES_MAX, TURN_MS_MAX, TURN_REQUESTS_MAX,
} from "../../../src/api/limits.ts";

let nowMs: number;
let deferred: (() => void)[];
let later: (() => void)[];
let begun: string[];
let turns: ClientTurns;

beforeEach(() => {
  nowMs = 0;
  deferred = [];
  later = [];
  begun = [];
  turns = new ClientTurns({
    nowMs: () => nowMs,
    defer: (fire) => void deferred.push(fire),
    nextTurn: (fire) => void later.push(fire),
  });
});

/** The end of this turn, then the next one up to its end. */
function nextTurn(): void {
  for (const fire of deferred.splice(0)) fire();
  for (const fire of later.splice(0)) fire();
  for (const fire of deferred.splice(0)) fire();
}

function client(name: string, requests: number, { costMs = 0, bytes = 0 } = {}): ClientWork {
  let left = requests;
  return {
    workOff: (share) => {
      for (let at = 0; left > 0; at++, left--) {
        if (at >= share.requests || at * bytes >= share.bytes || !turns.take(bytes)) return "waits";
        begun.push(name);
        nowMs += costMs;
      }
      return "done";
    },
  };
}

const countOf = (name: string): number => begun.filter((other) => other === name).length;

describe("one turn", () => {
  test("begins what comes at once, as long as it is not too much", () => {
    expect(turns.enter(client("a", 3))).toBe(true);
    expect(turns.enter(client("b", 2))).toBe(true);
    expect(begun).toEqual(["a", "a", "a", "b", "b"]);
    expect(later).toEqual([]);
  });

  test("begins so many requests and no more, whoever they are from", () => {
    expect(turns.enter(client("a", TURN_REQUESTS_MAX - 1))).toBe(true);
    expect(turns.enter(client("b", 5))).toBe(false);
    expect(turns.enter(client("c", 1))).toBe(false);
    expect(begun).toHaveLength(TURN_REQUESTS_MAX);
    nextTurn();
    expect(begun).toHaveLength(TURN_REQUESTS_MAX + 5);
    expect(turns.size).toBe(0);
  });

  test("begins so many bytes and no more, but one request always", () => {
    const bytes = TURN_BYTES_MAX / 4;
    expect(turns.enter(client("large", 6, { bytes }))).toBe(false);
    expect(turns.enter(client("huge", 2, { bytes: 5 * TURN_BYTES_MAX }))).toBe(false);
    expect(begun).toHaveLength(4);
    nextTurn();
    expect(begun.slice(4)).toEqual(["large", "huge"]);
    nextTurn();
    nextTurn();
    expect(begun.slice(6).sort()).toEqual(["huge", "large"]);
    expect(turns.size).toBe(0);
  });

  test("ends after some time, however few requests it began", () => {
    expect(turns.enter(client("slow", 100, { costMs: 1 }))).toBe(false);
    expect(begun.length).toBeLessThan(3 * TURN_MS_MAX);
    while (turns.size > 0) {
      const before = begun.length;
      nextTurn();
      expect(begun.length).toBeGreaterThan(before);
      expect(begun.length - before).toBeLessThan(3 * TURN_MS_MAX);
    }
    expect(begun).toHaveLength(100);
  });
});

describe("among those that wait", () => {
  test("nobody waits behind all that another one wants", () => {
    turns.enter(client("greedy", 10 * TURN_REQUESTS_MAX));
    turns.enter(client("modest", 1));
    turns.enter(client("other", 2 * SHARE_REQUESTS_MAX));
    expect(countOf("modest")).toBe(0);
    nextTurn();
    expect(countOf("modest")).toBe(1);
    expect(countOf("other")).toBe(2 * SHARE_REQUESTS_MAX);
    expect(begun).toHaveLength(2 * TURN_REQUESTS_MAX);
  });

  test("equals get equal parts", () => {
    const names = ["a", "b", "c", "d"];
    for (const name of names) turns.enter(client(name, 5 * TURN_REQUESTS_MAX));
    const first = countOf("a");
    for (let at = 0; at < 8; at++) nextTurn();
    for (const name of names) {
      expect(Math.abs(countOf(name) - (name === "a" ? first : 0) - 2 * TURN_REQUESTS_MAX)).toBeLessThanOrEqual(
        SHARE_REQUESTS_MAX,
      );
    }
  });

  test("who sends much in few requests gets no more of a turn than who sends little in many", () => {
    const bytes = SHARE_BYTES_MAX / 2;
    turns.enter(client("first", TURN_REQUESTS_MAX + 1));
    turns.enter(client("large", 100, { bytes }));
    turns.enter(client("small", 3 * SHARE_REQUESTS_MAX));
    begun = [];
    nextTurn();
    expect(begun.slice(0, 6)).toEqual(["first", "large", "large", "small", "small", "small"]);
    expect(countOf("large")).toBe(TURN_BYTES_MAX / bytes);
    expect(countOf("small")).toBe(3 * SHARE_REQUESTS_MAX);
  });

  test("who came later does not go first, though the turn would have room", () => {
    turns.enter(client("first", TURN_REQUESTS_MAX + 1));
    for (const fire of deferred.splice(0)) fire();
    expect(turns.enter(client("later", 1))).toBe(false);
    expect(countOf("later")).toBe(0);
    nextTurn();
    expect(begun.slice(-2)).toEqual(["first", "later"]);
  });

  test("who left is not worked for", () => {
    turns.enter(client("stays", TURN_REQUESTS_MAX + 1));
    const gone = client("leaves", 4);
    turns.enter(gone);
    turns.leave(gone);
    nextTurn();
    expect(countOf("leaves")).toBe(0);
    expect(turns.size).toBe(0);
    expect(later).toEqual([]);
  });
});
