import { describe, expect, test } from "vitest";
import { checkList, type ListOperation } from "./list-checker.ts";

function append(item: string, called: number, returned: number): ListOperation {
  return { kind: "append", item, called, outcome: { kind: "ok", returned } };
}

function read(items: readonly string[], called: number, returned: number): ListOperation {
  return { kind: "read", items, called, returned };
}

describe("a list that was appended to in one order", () => {
  test("may be read at any time by whoever was under way", () => {
    const appends = [append("a", 1, 6), append("b", 7, 8)];
    const reads = [read([], 2, 3), read(["a"], 4, 5), read(["a", "b"], 9, 10)];
    expect(checkList([...appends, ...reads], ["a", "b"])).toEqual([]);
  });

  test("may have an item whose fate was unknown, or not", () => {
    const unknown: ListOperation = { kind: "append", item: "u", called: 1, outcome: { kind: "unknown" } };
    expect(checkList([unknown, append("a", 2, 3)], ["a"])).toEqual([]);
    expect(checkList([unknown, append("a", 2, 3)], ["a", "u"])).toEqual([]);
  });
});

describe("what no order explains is found", () => {
  test.each<readonly [string, readonly ListOperation[], readonly string[], string]>([
    ["a lost append", [append("a", 1, 2)], [], "not in the list"],
    ["an item twice", [append("a", 1, 2)], ["a", "a"], "twice"],
    [
      "a refused append that happened",
      [{ kind: "append", item: "a", called: 1, outcome: { kind: "failed" } }],
      ["a"],
      "was refused",
    ],
    ["a stale read", [append("a", 1, 2), read([], 3, 4)], ["a"], "does not see it"],
    ["a read that goes back", [append("a", 1, 9), read(["a"], 2, 3), read([], 4, 5)], ["a"], "does not see it"],
    ["appends in the wrong order", [append("a", 1, 2), append("b", 3, 4)], ["b", "a"], "does not see it"],
    ["a read of another past", [read(["b"], 1, 2)], ["a", "b"], "no beginning"],
  ])("%s", (_what, operations, final, message) => {
    expect(checkList(operations, final).join()).toContain(message);
  });
});
