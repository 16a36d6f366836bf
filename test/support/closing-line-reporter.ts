// Owns: the last line of a test run, `N passed, N failed`, for people and scripts that read only the end.
import type { Reporter, SerializedError, TestModule, TestRunEndReason } from "vitest/node";

export class ClosingLineReporter implements Reporter {
  onTestRunEnd(
    modules: readonly TestModule[],
    unhandledErrors: readonly SerializedError[],
    reason: TestRunEndReason,
  ): void {
    const line = closingLine(countTests(modules, unhandledErrors, reason));
    // Written at the very end: other reporters and the runner itself still print after this event.
    process.once("exit", () => process.stdout.write(`${line}\n`));
  }
}

export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
}

export function closingLine({ passed, failed }: TestCounts): string {
  return `${passed} passed, ${failed} failed`;
}

/** What failed outside of any test (a module that does not load, a stray rejection) counts as one failure each. */
export function countTests(
  modules: readonly TestModule[],
  unhandledErrors: readonly SerializedError[],
  reason: TestRunEndReason,
): TestCounts {
  let passed = 0;
  let failed = unhandledErrors.length;
  for (const module of modules) {
    const failedBefore = failed;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") passed++;
      if (state === "failed") failed++;
    }
    // A module can fail with all of its tests passed or none found: in its imports or its hooks.
    if (module.state() === "failed" && failed === failedBefore) failed++;
  }
  // An interrupted run, or a failure that belongs to nothing above, must not read as a success.
  return { passed, failed: reason === "passed" ? failed : Math.max(failed, 1) };
}
