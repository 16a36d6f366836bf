import { expect, test } from "vitest";
import { barChart, dotChart } from "./chart.ts";
import { replaceBlock } from "./page.ts";

test("a block is replaced, what is around it stays", () => {
  const page = "# A\n<!-- measured: x -->\nold\n<!-- end -->\ntext\n<!-- measured: y -->\n<!-- end -->\n";
  expect(replaceBlock(page, "x", "new")).toBe(page.replace("old", "new"));
  expect(replaceBlock(page, "y", "z")).toContain("<!-- measured: y -->\nz\n<!-- end -->");
});

test("a page without the block is not written", () => {
  expect(() => replaceBlock("# A\n", "x", "new")).toThrow("no block");
});

test("the longest bar belongs to the largest value", () => {
  const chart = barChart("t", ["a", "b"], [{ title: "p", groups: [{ label: "g", values: [100, 50] }] }]);
  const widths = [...chart.matchAll(/class="s\d" x="120" y="\d+" width="([\d.]+)"/g)].map(([, width]) => Number(width));
  expect(widths).toHaveLength(2);
  expect(widths[0]).toBeCloseTo(2 * (widths[1] ?? 0), 0);
});

test("every value is a dot, longer times are further right", () => {
  const chart = dotChart("t", [{ name: "a", values: [10, 100, 1_000] }]);
  const xs = [...chart.matchAll(/cx="([\d.]+)"/g)].map(([, x]) => Number(x));
  expect(xs).toHaveLength(3);
  expect([...xs].sort((a, b) => a - b)).toEqual(xs);
});
