// The power of the whole cluster is cut before and after every transaction of a job and of its children, found by a run
// without a crash: what a job waits for, a timer, a signal, a person, the end of a child, its own end in time, comes
// about as if nothing had happened.
import { expect, test } from "vitest";
import { z } from "zod";
import {
  defineAgent, defineContract, defineSignal, defineSlice, defineTool, isChildFailed,
} from "../../src/sdk/index.ts";
import { crashEverywhere, inlineSlice, type CrashReport, type TestCluster } from "../../src/testkit/index.ts";

const nobody = (): never => {
  throw new Error("the test plays the other side");
};
const refund = defineTool({
  name: "refund", input: z.object({ cents: z.int() }), output: z.object({ refund: z.string() }), effect: "once",
  timeoutMs: 2_000, settleMs: 2_000, execute: nobody, reconcile: nobody,
});
const go = defineSignal("go", z.object({ cents: z.int() }));
const never = defineSignal("never", z.object({}));

/** Waits for what never comes, and cleans up when it is told to end. */
const waiting = defineAgent({
  name: "waiting", input: z.object({ maxed: z.boolean().default(false) }), output: z.object({}), tools: { refund },
  run: async (job) => {
    try {
      await job.waitFor(never);
      return {};
    } finally {
      await job.tools.refund({ cents: 1 });
    }
  },
});
const limited = defineAgent({ ...waiting, name: "limited", maxDuration: "20 s" });
const whole = defineAgent({
  name: "whole", input: z.object({}), output: z.object({ refund: z.string(), child: z.unknown() }), tools: { refund },
  run: async (job) => {
    await job.step("load", () => 1);
    await job.sleep("rest", "6 s");
    const told = await job.waitFor(go);
    // Its time is over before it ends: then it is cancelled.
    const child = await job.child(waiting, {}, { timeout: "8 s" }).catch((error: unknown) => {
      if (!isChildFailed(error)) throw error;
      return error.details.status;
    });
    // What it does then takes its time where nobody knows at first what became of it.
    await job.sleep("leave it time", "30 s");
    const { approved } = await job.approve("manager", { summary: "Refund?", timeout: "1 hour" });
    if (!approved) return { refund: "none", child };
    const { refund } = await job.tools.refund({ cents: told?.cents ?? 0 });
    return { refund, child };
  },
});

const AGENTS = defineSlice({
  contract: defineContract("agents", {}), methods: {}, agents: [whole, waiting, limited],
});
const PACKAGE = {
  slices: [inlineSlice({ artifact: "test:agents:1.0.0", create: () => AGENTS })],
  blueprint: { name: "agents", slices: { agents: { artifact: "test:agents:1.0.0", instances: 0 } } },
  victims: ["all nodes"],
  outside: (cluster: TestCluster) => {
    cluster.mockTool(refund, ({ cents }) => ({ refund: `re-${cents}` }));
  },
} as const;

function expectNoneWrong(report: CrashReport, pointsMin: number): void {
  expect(report, report.message).toMatchObject({ repeated: [], lost: [], otherEnds: [] });
  expect(report.points).toBeGreaterThanOrEqual(pointsMin);
  expect(report.crashes).toBe(2 * report.points);
}

test("timers, signals, approvals, and a child that is cancelled in the end", async () => {
  const report = await crashEverywhere(whole, {
    ...PACKAGE,
    input: {},
    script: async ({ job }) => {
      await job.signal(go, { cents: 7 });
      await job.approve("manager");
    },
  });
  expectNoneWrong(report, 15);
});

test("the longest duration of a job", async () => {
  expectNoneWrong(await crashEverywhere(limited, { ...PACKAGE, input: {} }), 5);
});

test("a cancel", async () => {
  const script = async ({ job }: { readonly job: { cancel(): Promise<void> } }): Promise<void> => await job.cancel();
  expectNoneWrong(await crashEverywhere(waiting, { ...PACKAGE, input: {}, script }), 4);
});
