import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { JobId } from "../../../../src/base/ids.ts";
import { MiB } from "../../../../src/base/units.ts";
import type { CallName } from "../../../../src/jobs/core/ids.ts";
import type { JobEvent } from "../../../../src/jobs/core/log/event.ts";
import { defineAgent, type Agent } from "../../../../src/sdk/agent.ts";
import { isChildFailed } from "../../../../src/sdk/child.ts";
import type { Job } from "../../../../src/sdk/job.ts";
import { AgentHost } from "../../../support/agent-host.ts";

const CALL = "audit#1" as CallName;
const CHILD = "child-1" as JobId;
const audit = defineAgent({
  name: "audit",
  input: z.object({ order: z.string().transform((text) => text.trim()) }),
  output: z.object({ by: z.string().default("nobody") }),
  run: () => ({}),
});

function agentOf(run: (job: Job) => unknown): Agent {
  return defineAgent({ name: "test", input: z.any(), output: z.any(), run: async (job) => await run(job) });
}

async function hostOf(run: (job: Job) => unknown, log: readonly JobEvent[] = []): Promise<AgentHost> {
  const host = new AgentHost({ agent: agentOf(run), log });
  await host.goOn();
  return host;
}

/** What the code ends with, and what it ends with when it is run again from its log. */
async function endsOf(run: (job: Job) => unknown, host: AgentHost): Promise<readonly unknown[]> {
  await host.goOn();
  const again = await hostOf(run, host.log);
  return [host.end, again.end];
}

describe("a child", () => {
  test("is asked for with what its schema passes on, and gives what its schema makes of its answer", async () => {
    const run = (job: Job): unknown => job.child(audit, { order: "o-1" });
    const host = await hostOf(run);
    expect(host.children.get(CALL)).toMatchObject({ agent: "audit", input: { order: "o-1" }, isDetached: false });
    host.offer({ kind: "child-completed", output: {} }, CALL);
    const end = { kind: "completed", output: { by: "nobody" } };
    expect(await endsOf(run, host)).toEqual([end, end]);
  });

  test("is asked for again by code that runs again, under the same name", async () => {
    const run = (job: Job): unknown => job.child("audit", 5, { name: "look" });
    const host = await hostOf(run);
    const again = await hostOf(run, host.log);
    expect([...again.children.keys()]).toEqual(["look#1"]);
    expect(again.log).toEqual(host.log);
    again.offer({ kind: "child-completed", output: 7 }, "look#1" as CallName);
    await again.goOn();
    expect(again.end).toEqual({ kind: "completed", output: 7 });
  });

  test("that fails is an error that the code may catch, live as in replay", async () => {
    const run = async (job: Job): Promise<unknown> => {
      try {
        return await job.child(audit, { order: "o-1" });
      } catch (error) {
        return isChildFailed(error) ? [error.code, error.details] : "something else";
      }
    };
    const host = await hostOf(run);
    const details = { agent: "audit", job: CHILD, status: "failed", error: { name: "Error", message: "no" } };
    const error = { name: "ChildFailed", message: "it failed", code: "E_NO", details };
    host.offer({ kind: "child-failed", error }, CALL);
    const end = { kind: "completed", output: ["E_NO", details] };
    expect(await endsOf(run, host)).toEqual([end, end]);
  });

  test("whose time is over is one that did not complete", async () => {
    const run = (job: Job): unknown => job.child(audit, { order: "o-1" }, { timeout: "1 min" })
      .catch((error: unknown) => (isChildFailed(error) ? [error.code, error.details.status] : error));
    const host = await hostOf(run);
    expect(host.children.get(CALL)?.untilMs).toBe(host.clock.wallMs() + 60_000);
    host.offer({ kind: "timer-fired" }, CALL);
    const end = { kind: "completed", output: ["E_TIMEOUT", "timed-out"] };
    expect(await endsOf(run, host)).toEqual([end, end]);
  });

  test("that is detached gives its id as soon as it is started", async () => {
    const run = (job: Job): unknown => job.child("audit", null, { detached: true });
    const host = await hostOf(run);
    expect(host.end).toBeUndefined();
    host.offer({ kind: "child-detached", job: CHILD }, CALL);
    const end = { kind: "completed", output: { id: CHILD } };
    expect(await endsOf(run, host)).toEqual([end, end]);
  });

  test("is not waited for once the job is cancelled, and none is started then", async () => {
    const run = async (job: Job): Promise<unknown> => {
      const first = await job.child(audit, { order: "o-1" }).catch((error: unknown) => String(error));
      const second = await job.child(audit, { order: "o-2" }).catch((error: unknown) => String(error));
      return [first, second];
    };
    const host = await hostOf(run);
    host.offer({ kind: "cancel" });
    const end = { kind: "completed", output: Array(2).fill("JobCancelled: the job was cancelled") };
    expect(await endsOf(run, host)).toEqual([end, end]);
    expect(host.children.size).toBe(1);
  });

  test.each<readonly [string, (job: Job) => unknown, string]>([
    ["input that its schema refuses", (job) => job.child(audit, { order: 1 } as never), "E_INVALID"],
    ["too much input", (job) => job.child("audit", "x".repeat(64 * MiB)), "E_TOO_LARGE"],
    ["no agent", (job) => job.child({} as never, 1), "E_INVALID"],
    ["a timeout of what nobody waits for", (job) =>
      job.child("audit", 1, { detached: true, timeout: 5 } as never), "E_INVALID"],
  ])("with %s is an error in the code, and nothing is asked for", async (_what, run, code) => {
    const host = await hostOf(run);
    expect(host.end).toMatchObject({ kind: "failed", error: { code } });
    expect([host.children.size, host.log]).toEqual([0, []]);
  });

  test("of another agent or input than the log has is never the one that was started", async () => {
    const host = await hostOf((job) => job.child(audit, { order: "o-1" }));
    const other = await hostOf((job) => job.child(audit, { order: "o-2" }), host.log);
    expect(other.diverged).toMatchObject({ code: "E_NONDETERMINISM", details: { call: CALL } });
    const step = await hostOf((job) => job.step("audit", () => 1), host.log);
    expect(step.diverged).toMatchObject({ code: "E_NONDETERMINISM" });
  });
});
