import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findLoadCycle } from "../../../src/slices/core/load-order.ts";

const orderOf = (edges: Readonly<Record<string, readonly string[]>>) => new Map(Object.entries(edges));

describe("slices that wait for each other", () => {
  test.each([
    ["itself", { a: ["a"] }, ["a", "a"]],
    ["two", { a: ["b"], b: ["a"] }, ["a", "b", "a"]],
    ["three, reached from outside", { a: ["b"], b: ["c"], c: ["d"], d: ["b"] }, ["b", "c", "d", "b"]],
    ["one of several ways", { a: ["b", "c"], b: ["d"], c: ["a"], d: [] }, ["a", "c", "a"]],
  ])("in a circle of %s are found with the path", (_what, edges, cycle) => {
    expect(findLoadCycle(orderOf(edges))).toEqual(cycle);
  });

  test.each([
    ["nobody", {}],
    ["a line", { a: ["b"], b: ["c"], c: [] }],
    ["a diamond", { a: ["b", "c"], b: ["d"], c: ["d"], d: [] }],
    ["names that are not there", { a: ["x"], b: ["x"] }],
  ])("not, as in %s, are fine", (_what, edges) => {
    expect(findLoadCycle(orderOf(edges))).toBeUndefined();
  });

  test("are found in forty slices that all wait for all later ones, without following every way", () => {
    const names = Array.from({ length: 40 }, (_, index) => `s${String(index).padStart(2, "0")}`);
    const edges = Object.fromEntries(names.map((name, index) => [name, names.slice(index + 1)]));
    expect(findLoadCycle(orderOf(edges))).toBeUndefined();
    expect(findLoadCycle(orderOf({ ...edges, s39: ["s38"] }))).toEqual(["s38", "s39", "s38"]);
  });

  test("are a circle exactly when no order of loading exists", () => {
    const names = ["a", "b", "c", "d", "e"];
    const edges = fc.dictionary(fc.constantFrom(...names), fc.uniqueArray(fc.constantFrom(...names), { maxLength: 3 }));
    fc.assert(fc.property(edges, (found) => {
      const cycle = findLoadCycle(orderOf(found));
      expect(cycle === undefined).toBe(canLoadAll(found, names));
      for (const [at, slice] of (cycle ?? []).slice(0, -1).entries()) {
        expect(found[slice]).toContain(cycle?.[at + 1]);
      }
      if (cycle !== undefined) expect(cycle.at(-1)).toBe(cycle[0]);
    }));
  });
});

/** Loads whatever waits for nothing that is not loaded, until nothing more can be. */
function canLoadAll(edges: Readonly<Record<string, readonly string[]>>, names: readonly string[]): boolean {
  const loaded = new Set<string>();
  for (const _round of names) {
    for (const name of names) if ((edges[name] ?? []).every((next) => loaded.has(next))) loaded.add(name);
  }
  return loaded.size === names.length;
}
