import { beforeEach, describe, expect, test } from "vitest";
import {
  ENDED_KEPT_MAX, LINES_BYTES_MAX, LINES_KEPT_MAX, RecentLines, type LinesQuery, type SliceLine,
} from "../../../src/slices/core/recent-lines.ts";

const ALL: LinesQuery = { after: 0, linesMax: 10_000 };
let hosted: Set<string>;
let lines: RecentLines;

beforeEach(() => {
  hosted = new Set(["a/0", "a/1"]);
  lines = new RecentLines((instance) => hosted.has(instance));
});

function line(text: string, fields?: Readonly<Record<string, unknown>>): SliceLine {
  return { atMs: 5, level: "info", text, ...(fields === undefined ? {} : { fields }) };
}

const textsOf = (slice: string, query: LinesQuery = ALL) => lines.read(slice, query).lines.map(({ text }) => text);

test("lines of all instances of a slice are read in the order in which they came, and of no other", () => {
  lines.add("a", "a/0", line("one", { stream: "stdout" }));
  lines.add("b", "b/0", line("other"));
  lines.add("a", "a/1", line("two"));
  lines.add("a", "a/0", line("three"));
  expect(textsOf("a")).toEqual(["one", "two", "three"]);
  expect(lines.read("a", ALL).lines[0]).toEqual({
    number: 1, instance: "a/0", atMs: 5, level: "info", text: "one", fields: { stream: "stdout" },
  });
  expect([lines.has("a"), lines.has("c")]).toEqual([true, false]);
});

test("who asks after the last answer gets what came since, once", () => {
  lines.add("a", "a/0", line("one"));
  const { last } = lines.read("a", ALL);
  expect(lines.read("a", { ...ALL, after: last })).toEqual({ lines: [], last, isComplete: true });
  lines.add("a", "a/1", line("two"));
  expect(textsOf("a", { ...ALL, after: last })).toEqual(["two"]);
});

describe("of an instance that says much", () => {
  test("the latest lines are kept, the others are missed by who has not read them", () => {
    for (let at = 1; at <= LINES_KEPT_MAX + 3; at++) lines.add("a", "a/0", line(`line ${at}`));
    const page = lines.read("a", ALL);
    expect(page.lines.map(({ text }) => text).slice(0, 1)).toEqual(["line 4"]);
    expect(page).toMatchObject({ last: LINES_KEPT_MAX + 3, isComplete: false });
    expect(lines.read("a", { ...ALL, after: 3 }).isComplete).toBe(true);
    expect(lines.read("a", { ...ALL, after: 2 }).isComplete).toBe(false);
  });

  test("their bytes are bounded too, with their fields; one line is always kept", () => {
    const kib = "x".repeat(1_024);
    for (let at = 0; at < LINES_KEPT_MAX; at++) lines.add("a", "a/0", line(kib, { more: kib }));
    const kept = lines.read("a", ALL).lines.length;
    expect(kept).toBeLessThan(LINES_BYTES_MAX / 2_048);
    expect(kept).toBeGreaterThan(LINES_BYTES_MAX / 2_048 - 20);
    lines.add("a", "a/0", line("x".repeat(2 * LINES_BYTES_MAX)));
    expect(lines.read("a", ALL).lines).toHaveLength(1);
  });
});

test("an answer has the latest lines that fit into it, and says that there were more", () => {
  for (const text of ["one", "two", "three"]) lines.add("a", "a/0", line(text));
  expect(textsOf("a", { after: 0, linesMax: 2 })).toEqual(["two", "three"]);
  expect(lines.read("a", { after: 0, linesMax: 2 }).isComplete).toBe(false);
  expect(lines.read("a", { after: 1, linesMax: 2 }).isComplete).toBe(true);
  for (let at = 0; at < 10; at++) {
    hosted.add(`a/big${at}`);
    lines.add("a", `a/big${at}`, line("x".repeat(200 * 1_024)));
  }
  const page = lines.read("a", ALL);
  expect(page.isComplete).toBe(false);
  expect(page.lines.map(({ instance }) => instance)).toEqual(["a/big5", "a/big6", "a/big7", "a/big8", "a/big9"]);
});

test("lines outlive their instance, until too many others have ended since", () => {
  lines.add("a", "a/0", line("its last words"));
  hosted.delete("a/0");
  const { last } = lines.read("a", ALL);
  for (let at = 0; at < ENDED_KEPT_MAX; at++) lines.add("b", `b/${at}`, line("x"));
  expect(textsOf("a")).toEqual(["its last words"]);
  lines.add("a", "a/1", line("alive"));
  lines.add("b", "b/another", line("x"));
  expect(textsOf("a")).toEqual(["alive"]);
  expect(lines.read("a", ALL).isComplete).toBe(false);
  expect(lines.read("a", { ...ALL, after: last }).isComplete).toBe(true);
});
