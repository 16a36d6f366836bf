import { describe, expect, test } from "vitest";
import type { TestModule } from "vitest/node";
import { closingLine, countTests } from "../../support/closing-line-reporter.ts";

type State = "passed" | "failed" | "skipped";

/** The little that the reporter asks of a module of the runner. */
function moduleOf(state: State, tests: readonly State[]): TestModule {
  const module = {
    state: () => state,
    children: { allTests: () => tests.map((test) => ({ result: () => ({ state: test }) })) },
  };
  return module as unknown as TestModule;
}

describe("the closing line", () => {
  test("is the same text for every run", () => {
    expect(closingLine({ passed: 12, failed: 0 })).toBe("12 passed, 0 failed");
  });

  test("counts tests, and not those that were skipped", () => {
    const modules = [moduleOf("passed", ["passed", "skipped"]), moduleOf("failed", ["passed", "failed", "failed"])];
    expect(countTests(modules, [], "failed")).toEqual({ passed: 2, failed: 2 });
  });

  test("counts a module that does not load as a failure", () => {
    expect(countTests([moduleOf("failed", [])], [], "failed")).toEqual({ passed: 0, failed: 1 });
  });

  test("counts an error outside of all tests as a failure", () => {
    const stray = { message: "stray rejection" };
    expect(countTests([moduleOf("passed", ["passed"])], [stray], "failed")).toEqual({ passed: 1, failed: 1 });
  });

  test("never shows an interrupted run as a success", () => {
    expect(countTests([moduleOf("passed", ["passed"])], [], "interrupted")).toEqual({ passed: 1, failed: 1 });
  });
});
