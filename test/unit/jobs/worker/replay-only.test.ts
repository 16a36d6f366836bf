// Code that is run only to see whether it does what a log says: nothing is begun, and where it differs is told with the
// number of the event.
import { expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../../../src/base/errors.ts";
import { parseDigest } from "../../../../src/base/ids.ts";
import type { JobEvent } from "../../../../src/jobs/core/log/event.ts";
import { digestOfPlain } from "../../../../src/jobs/core/plain-digest.ts";
import { readFromAgent } from "../../../../src/jobs/core/worker/agent-content.ts";
import {
  divergedVerdict, replayedVerdict, type ReplayVerdict,
} from "../../../../src/jobs/core/worker/replay-verdict.ts";
import { REPLAY_STALL_MS } from "../../../../src/jobs/worker/agent-run.ts";
import { defineAgent, type Agent } from "../../../../src/sdk/agent.ts";
import type { Job } from "../../../../src/sdk/job.ts";
import { defineSignal } from "../../../../src/sdk/signal.ts";
import { defineTool } from "../../../../src/sdk/tool.ts";
import { AgentHost } from "../../../support/agent-host.ts";

const go = defineSignal("go", z.object({}));
const done: string[] = [];
const pay = defineTool({
  name: "pay", input: z.object({ cents: z.number() }), output: z.any(), effect: "once",
  execute: ({ cents }) => {
    done.push(`paid ${cents}`);
    return { cents };
  },
});
type Code = (job: Job<{ pay: typeof pay }>) => unknown;

const CREATED: JobEvent = {
  type: "job.created", agent: "test", pin: parseDigest("a".repeat(64)), inputDigest: parseDigest("b".repeat(64)),
};

function agentOf(run: Code): Agent {
  return defineAgent({
    name: "test", input: z.any(), output: z.any(), tools: { pay }, run: async (job) => await run(job),
  });
}

/** What the code leaves in its log, up to its end or to where it waits. */
async function logOf(run: Code): Promise<readonly JobEvent[]> {
  const host = new AgentHost({ agent: agentOf(run), log: [CREATED] });
  await host.goOn();
  const { end } = host;
  if (end?.kind === "completed") {
    return [...host.log, { type: "job.completed", outputDigest: digestOfPlain(end.output) }];
  }
  return end?.kind === "failed" ? [...host.log, { type: "job.failed", error: end.error }] : host.log;
}

async function replay(run: Code, log: readonly JobEvent[]): Promise<ReplayVerdict> {
  done.length = 0;
  const host = new AgentHost({ agent: agentOf(run), log, isReplayOnly: true });
  await host.clock.settle();
  await host.clock.advance(REPLAY_STALL_MS);
  expect(done, "nothing was called").toEqual([]);
  expect(host.told.filter(({ kind }) => kind !== "value"), "nothing was asked for").toEqual([]);
  if (host.diverged !== undefined) return divergedVerdict(host.diverged);
  const said = host.heard.find((message) => message.kind === "replayed");
  expect(readFromAgent(said), "it is what a node takes of a worker").toEqual(said);
  if (said?.kind === "replayed") return replayedVerdict(log, said);
  throw new RangeError("the replay does not end");
}

const original: Code = async (job) => {
  const load = await job.step("load", () => done.push("load") && 1_200);
  job.now();
  await job.tools.pay({ cents: Number(load) });
  await job.waitFor(go);
  return await job.step("tell", () => done.push("told") && "told");
};
/** As it is once the signal has come. */
const unwaited: Code = async (job) => {
  await job.step("load", () => done.push("load") && 1_200);
  await job.tools.pay({ cents: 1_200 });
  return { paid: 1_200 };
};

test("the same code is the same, up to what it waits for, and its open call is not made again", async () => {
  const log = await logOf(original);
  expect(log.map(({ type }) => type)).toEqual([
    "job.created", "step.completed", "value.recorded", "tool.granted", "tool.succeeded",
  ]);
  expect(await replay(original, log)).toEqual({ kind: "same", seq: 5, next: 'waits for "go#1"' });
  const granted = log.slice(0, 4);
  expect(await replay(original, granted)).toEqual({ kind: "same", seq: 4, next: 'waits for "pay#1"' });
});

test("code that goes on in another way where the log is over is the same up to there", async () => {
  const log = await logOf(original);
  expect(await replay(async (job) => {
    await job.step("load", () => done.push("load"));
    job.now();
    await job.tools.pay({ cents: 1_200 });
    await job.step("new", () => done.push("new"));
  }, log)).toEqual({ kind: "same", seq: 5, next: 'waits for "new#1"' });
  expect(await replay(original, [CREATED])).toEqual({ kind: "same", seq: 1, next: 'waits for "load#1"' });
  expect(await replay(() => "nothing", [CREATED])).toMatchObject({ kind: "same", next: expect.stringMatching(/^has ended with an output/) });
});

test("another step, kind or input is told with its event and both digests", async () => {
  const log = await logOf(original);
  expect(await replay(async (job) => {
    await job.step("fetch", () => done.push("fetch"));
  }, log)).toEqual({
    kind: "diverged", seq: 2, expected: 'a step as "load#1"', found: 'waits for "fetch#1"',
  });
  expect(await replay(async (job) => {
    await job.sleep("load", "1 s");
  }, log)).toMatchObject({ kind: "diverged", seq: 2, found: "made it a sleep" });
  expect(await replay(async (job) => {
    await job.step("load", () => done.push("load"));
    job.now();
    await job.tools.pay({ cents: 1_300 });
  }, log)).toMatchObject({
    kind: "diverged", seq: 4,
    expectedDigest: digestOfPlain({ cents: 1_200 }), foundDigest: digestOfPlain({ cents: 1_300 }),
  });
  expect(await replay(async (job) => {
    await job.step("load", () => done.push("load"));
  }, log)).toMatchObject({ kind: "diverged", seq: 4, found: "has ended" });
  expect(await replay(async (job) => {
    job.now();
    await job.step("load", () => done.push("load"));
  }, log.filter(({ type }) => type !== "value.recorded"))).toMatchObject({
    kind: "diverged", seq: 2, expected: 'nothing of that name there as "now#1"',
  });
});

test("of a job that has ended the end is compared too", async () => {
  const log = await logOf(unwaited);
  expect(log.at(-1)?.type).toBe("job.completed");
  expect(await replay(unwaited, log)).toMatchObject({ kind: "same", seq: log.length });
  const other: Code = async (job) => {
    await unwaited(job);
    return { paid: 0 };
  };
  expect(await replay(other, log)).toMatchObject({
    kind: "diverged", seq: log.length,
    expectedDigest: digestOfPlain({ paid: 1_200 }), foundDigest: digestOfPlain({ paid: 0 }),
  });
  const longer: Code = async (job) => {
    await unwaited(job);
    await job.waitFor(go);
  };
  expect(await replay(longer, log)).toMatchObject({ kind: "diverged", seq: log.length, found: 'waits for "go#1"' });
});

test("a failure of the code is compared, an end that came from outside is not", async () => {
  const failing: Code = async (job) => {
    await job.step("load", () => 1);
    throw new Error("no paper");
  };
  const log = await logOf(failing);
  expect(log.at(-1)).toEqual({ type: "job.failed", error: { name: "Error", message: "no paper" } });
  expect(await replay(failing, log)).toMatchObject({ kind: "same", next: "has failed: no paper" });
  const mended: Code = async (job) => await job.step("load", () => 1);
  expect(await replay(mended, log)).toMatchObject({ kind: "diverged", expected: "the failure of the job: no paper" });
  const overdue: readonly JobEvent[] = [
    ...log.slice(0, -1), { type: "job.cancel-requested", principal: "p", reason: "deadline" },
    { type: "job.failed", error: { name: "AetherError", message: "too long", code: "E_TIMEOUT" } },
  ];
  expect(await replay(async (job) => {
    await job.step("load", () => 1);
    await job.waitFor(go);
  }, overdue)).toMatchObject({ kind: "same", next: "has ended as cancelled" });
});

test("code that waits for something of its own is told so, after a while", async () => {
  const stuck: Code = async (job) => {
    await job.step("load", () => 1);
    await new Promise(() => undefined);
  };
  const log = await logOf(async (job) => void await job.step("load", () => 1));
  expect(await replay(stuck, log.slice(0, -1))).toEqual({
    kind: "same", seq: 2, next: "waits for something outside of job.…",
  });
  expect(await replay(stuck, log)).toMatchObject({ kind: "diverged", found: "waits for something outside of job.…" });
});

test("code that cannot be run is an error, and no verdict", () => {
  expect(() => divergedVerdict({ name: "AetherError", code: "E_NOT_FOUND", message: "no agent" }))
    .toThrow(expect.objectContaining({ code: "E_NOT_FOUND" }));
  expect(() => divergedVerdict({ name: "Error", code: "EWHATEVER", message: "?" })).toThrow(AetherError);
});
