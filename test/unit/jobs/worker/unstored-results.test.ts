import { describe, expect, test } from "vitest";
import { z } from "zod";
import { createDeferred } from "../../../../src/base/deferred.ts";
import { KiB } from "../../../../src/base/units.ts";
import { UNSTORED_RESULT_BYTES_MAX } from "../../../../src/jobs/worker/unstored-results.ts";
import { defineAgent } from "../../../../src/sdk/agent.ts";
import type { JobScope } from "../../../../src/sdk/job.ts";
import { defineTool } from "../../../../src/sdk/tool.ts";
import { AgentHost } from "../../../support/agent-host.ts";

const RESULT = "x".repeat(60 * KiB);
/** So many of them are more than may be told. */
const FULL = Math.ceil(UNSTORED_RESULT_BYTES_MAX / (61 * KiB));
const BRANCHES = 3 * FULL;

let answer = createDeferred<string>();

/** Steps in branches, all at once, and what else there is beside them; `ask` calls a tool. */
function hostOf(beside: (ask: () => Promise<string>) => Promise<unknown> = () => Promise.resolve()): AgentHost {
  const ask = defineTool({
    name: "ask", input: z.any(), output: z.string(), effect: "read", execute: () => answer.promise,
  });
  return new AgentHost({
    agent: defineAgent({
      name: "test", input: z.any(), output: z.any(), tools: { ask },
      run: async (job) => {
        const names = Array.from({ length: BRANCHES }, (_, at) => `b${at}`);
        const steps = job.all(Object.fromEntries(names.map((name) => [
          name, async (scope: JobScope) => void await scope.step("read", () => RESULT),
        ])));
        await Promise.race([steps, beside(() => job.tools.ask({})).then(() => steps)]);
      },
    }),
  });
}

function stepsTold(host: AgentHost): number {
  return host.told.filter(({ kind }) => kind === "step-completed").length;
}

describe("what steps of parallel branches answered", () => {
  test("is told as far as the node keeps it in memory, and goes on as that is stored", async () => {
    const host = hostOf();
    await host.clock.settle();
    expect([stepsTold(host), host.isIdle]).toEqual([FULL, false]);
    host.commit(5);
    await host.clock.settle();
    expect([stepsTold(host), host.isIdle]).toEqual([FULL + 5, false]);
    await host.goOn();
    expect([stepsTold(host), host.end]).toEqual([BRANCHES, { kind: "completed" }]);
  });

  test("goes on also as what is stored is behind something that is not", async () => {
    const host = hostOf();
    await host.clock.settle();
    host.commitAhead([2, 3, 5]);
    await host.clock.settle();
    expect(stepsTold(host)).toBe(FULL + 3);
    await host.goOn();
    expect([stepsTold(host), host.end]).toEqual([BRANCHES, { kind: "completed" }]);
  });

  test("keeps neither the outcome of a call nor a cancel waiting", async () => {
    answer = createDeferred();
    const host = hostOf((ask) => ask());
    await host.clock.settle();
    host.commit(1);
    await host.clock.settle();
    expect(host.told.map(({ kind }) => kind)).toContain("want-tool");
    answer.resolve("answered");
    await host.clock.settle();
    host.offer({ kind: "cancel" });
    await host.clock.settle();
    expect(host.told.slice(-3).map(({ kind }) => kind)).toEqual(["outcome", "took", "cancelled"]);
  });

  test("is told at once where the job is to go to another node, before the worker says that it has left", async () => {
    const host = hostOf();
    await host.clock.settle();
    host.send({ kind: "leave", run: 1 });
    await host.clock.settle();
    expect([stepsTold(host), host.end]).toEqual([BRANCHES, { kind: "completed" }]);
  });

  test("is for nobody once the code has ended", async () => {
    const host = hostOf(() => Promise.reject(new RangeError("enough")));
    await host.clock.settle();
    expect([stepsTold(host), host.end]).toMatchObject([0, { kind: "failed" }]);
  });
});
