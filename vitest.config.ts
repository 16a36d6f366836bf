// Owns: how the tests share a machine: quick ones first and side by side, then the simulator, then real processes.
import { defineConfig } from "vitest/config";
import { ClosingLineReporter } from "./test/support/closing-line-reporter.ts";

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;

interface Group {
  readonly name: string;
  /** Groups run one after the other: real nodes have time limits of the product's own, and the simulator takes all. */
  readonly order: number;
  readonly include: readonly string[];
  readonly exclude?: readonly string[];
  readonly timeoutMs: number;
  readonly workers: number;
}

const GROUPS: readonly Group[] = [
  // Everything that is in no other group, so that no test can be in none.
  {
    name: "fast",
    order: 0,
    include: ["test/**/*.test.ts"],
    exclude: ["test/sim/**", "test/process/**"],
    timeoutMs: 30 * SECOND_MS,
    workers: 2,
  },
  { name: "sim", order: 1, include: ["test/sim/**/*.test.ts"], timeoutMs: 15 * MINUTE_MS, workers: 2 },
  // Each has up to three nodes at work, most of the time waiting for a disk or a clock.
  { name: "process", order: 2, include: ["test/process/**/*.test.ts"], timeoutMs: 3 * MINUTE_MS, workers: 3 },
];

export default defineConfig({
  test: {
    // Child processes, because the storage library is native code and some tests start threads of their own.
    pool: "forks",
    allowOnly: false,
    reporters: ["default", new ClosingLineReporter()],
    projects: GROUPS.map((group) => ({
      extends: true as const,
      test: {
        name: group.name,
        include: [...group.include],
        exclude: [...(group.exclude ?? [])],
        testTimeout: group.timeoutMs,
        hookTimeout: group.timeoutMs,
        maxWorkers: group.workers,
        sequence: { groupOrder: group.order },
      },
    })),
  },
});
