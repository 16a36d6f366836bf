// All alerts of one judge: what is read of them, room, and another judge that goes on.
import { describe, expect, test } from "vitest";
import { AlertBook, type RuleReadings } from "../../../src/alerts/core/alert-book.ts";
import type { AlertName, Reading } from "../../../src/alerts/core/alert-rules.ts";
import { ALERT_MARKS_MAX } from "../../../src/metrics/core/leader-word.ts";

const LIMITS = { threshold: 1, clearBelow: 1, forMs: 0, clearForMs: 0 };

function reads(name: AlertName, readings: readonly Reading[] | undefined, forMs = 0): RuleReadings {
  return { name, limits: { ...LIMITS, forMs }, readings };
}
function bad(...subjects: readonly string[]): readonly Reading[] {
  return subjects.map((subject) => ({ subject, value: 1 }));
}
function at(seconds: number): { nowMs: number; wallMs: number } {
  return { nowMs: seconds * 1_000, wallMs: seconds * 1_000 };
}
function judge(book: AlertBook, seconds: number, ...rules: readonly RuleReadings[]): readonly string[] {
  return book.judge(rules, at(seconds)).map(({ kind, mark }) => `${kind} ${mark.rule} ${mark.subject}`);
}

describe("the book of one judge", () => {
  test("clears what is not there any more, and keeps what nothing is known of", () => {
    const book = new AlertBook();
    judge(book, 1, reads("node-missing", bad("node/n1", "node/n2")));
    expect(judge(book, 2, reads("node-missing", undefined))).toEqual([]);
    expect(judge(book, 3, reads("node-missing", bad("node/n2")))).toEqual(["cleared node-missing node/n1"]);
  });

  test("clears what was switched off", () => {
    const book = new AlertBook();
    judge(book, 1, reads("node-missing", bad("node/n1")));
    expect(judge(book, 2, reads("clock-off", []))).toEqual(["cleared node-missing node/n1"]);
    expect(book.list()).toEqual([]);
  });

  test("goes on from the marks of another judge: what stands does not fire again, what was about to does (L3)", () => {
    const first = new AlertBook();
    for (const second of [1, 2, 3]) {
      judge(first, second, reads("node-missing", bad("node/n1")), reads("clock-off", bad("node/n2"), 4_000));
    }
    const next = new AlertBook();
    next.adopt(first.list(), at(103).nowMs);
    const rules = [reads("node-missing", bad("node/n1")), reads("clock-off", bad("node/n2"), 4_000)];
    expect(judge(next, 104, ...rules)).toEqual([]);
    expect(judge(next, 105, ...rules)).toEqual(["fired clock-off node/n2"]);
  });

  test("a judge that stood still does not take that time for time that it has seen", () => {
    const book = new AlertBook();
    judge(book, 1, reads("clock-off", bad("node/n2"), 60_000));
    expect(judge(book, 600, reads("clock-off", bad("node/n2"), 60_000))).toEqual([]);
  });

  test("has room for so many alerts: those that stand keep theirs, the others are counted", () => {
    const book = new AlertBook();
    const many = Array.from({ length: ALERT_MARKS_MAX + 5 }, (_, index) => `method/m${String(index).padStart(4, "0")}`);
    judge(book, 1, reads("calls-fail", bad(...many.slice(10))));
    expect(judge(book, 2, reads("calls-fail", bad(...many)))).toHaveLength(5);
    expect(book.list()).toHaveLength(ALERT_MARKS_MAX);
    expect(book.left).toBe(5);
    expect(judge(book, 3, reads("calls-fail", bad(...many)))).toEqual([]);
  });
});
