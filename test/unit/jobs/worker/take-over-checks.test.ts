// Owns: what the inside of an agent's worker does about calls that are recorded as done, when another owner takes over.
import { expect, test } from "vitest";
import { z } from "zod";
import type { NodeId } from "../../../../src/base/ids.ts";
import type { JobEvent } from "../../../../src/jobs/core/log/event.ts";
import { defineAgent, type Agent } from "../../../../src/sdk/agent.ts";
import { secret } from "../../../../src/sdk/secret.ts";
import { defineTool, type ToolContext, type Verified } from "../../../../src/sdk/tool.ts";
import { AgentHost } from "../../../support/agent-host.ts";

type Check = (input: { order: string }, result: string, context: Pick<ToolContext, "effectId" | "signal" | "secret">) =>
  Promise<Verified> | Verified;

const CLAIMED: JobEvent = { type: "job.claimed", node: "n1" as NodeId, incarnation: 1 };

function agentWith(check: Check, onMismatch: "strict" | "warn" | "human" = "strict"): Agent {
  const pay = defineTool({
    name: "pay", input: z.object({ order: z.string() }), output: z.string(), effect: "once",
    secrets: [secret("bank-key")], execute: ({ order }) => `r-${order}`, verify: { onMismatch, check },
  });
  return defineAgent({
    name: "payer", input: z.void(), output: z.array(z.string()), tools: { pay },
    run: async (job) => {
      const first = await job.tools.pay({ order: "a" });
      await job.sleep("pause", 1_000);
      return [first, await job.step("after", () => "done")];
    },
  });
}

/** The log of an owner that was lost while the job slept. */
async function lostLog(agent: Agent): Promise<readonly JobEvent[]> {
  const host = new AgentHost({ agent, log: [CLAIMED] });
  await host.goOn();
  expect(host.log.map(({ type }) => type)).toEqual(["job.claimed", "tool.granted", "tool.succeeded", "timer.set"]);
  return host.log;
}

async function takenOver(agent: Agent, epoch = 2): Promise<AgentHost> {
  const host = new AgentHost({ agent, log: await lostLog(agent), epoch, secrets: { "bank-key": "k-1" } });
  await host.goOn();
  return host;
}

const verdictsOf = (host: AgentHost): unknown =>
  host.log.flatMap((event) => (event.type === "tool.verified" ? [event.verdict] : []));

test("a call that is so outside is recorded as verified once, and the job goes on", async () => {
  const asked: unknown[] = [];
  const host = await takenOver(agentWith((input, result, { effectId, secret: read }) => {
    asked.push([input, result, effectId.length, read(secret("bank-key"))]);
    return true;
  }));
  expect(asked).toEqual([[{ order: "a" }, "r-a", 64, "k-1"]]);
  expect(verdictsOf(host)).toEqual([{ kind: "agrees" }]);
  expect([...host.waits.keys()]).toEqual(["pause#1"]);
  // Whoever goes on from this log sees no difference.
  const again = new AgentHost({ agent: agentWith(() => true), log: host.log });
  await again.goOn();
  expect(again.diverged).toBeUndefined();
});

test("one that is not so fails the job, if its tool is strict, before anything new is begun", async () => {
  const host = await takenOver(agentWith(() => ({ agrees: false, why: "no such payment" })));
  expect(host.end).toMatchObject({ kind: "failed", error: {
    code: "E_EFFECT_MISMATCH", message: expect.stringMatching(/pay#1 .*no such payment/) as unknown,
    details: { call: "pay#1" },
  } });
  expect(verdictsOf(host)).toEqual([{ kind: "differs", why: "no such payment" }]);
  expect(host.waits.size).toBe(0);
});

test("one that is not so is a person's matter, if its tool says that", async () => {
  const host = await takenOver(agentWith(() => false, "human"));
  expect(host.diverged).toMatchObject({ code: "E_EFFECT_MISMATCH" });
  expect(verdictsOf(host)).toMatchObject([{ kind: "differs" }]);
  expect(host.end).toBeUndefined();
});

test("one that is not so is recorded, and the job goes on, if its tool only warns", async () => {
  const host = await takenOver(agentWith(() => false, "warn"));
  expect(verdictsOf(host)).toMatchObject([{ kind: "differs" }]);
  expect([...host.waits.keys()]).toEqual(["pause#1"]);
});

test.each([
  ["throws", () => Promise.reject(new RangeError("the bank is closed")), /RangeError: the bank is closed/],
  ["answers something else", () => "yes" as unknown as boolean, /neither true nor false/],
] as const)("a verifier that %s says nothing, and the job goes on", async (_what, check, why) => {
  const host = await takenOver(agentWith(check));
  expect(verdictsOf(host)).toEqual([{ kind: "unknown", why: expect.stringMatching(why) as unknown }]);
  expect([...host.waits.keys()]).toEqual(["pause#1"]);
});

test("a verifier that hangs says nothing when its time is over", async () => {
  let stopped: unknown;
  const host = await takenOver(agentWith((_input, _result, { signal }) => {
    signal.addEventListener("abort", () => (stopped = signal.reason));
    return new Promise(() => undefined);
  }));
  expect(verdictsOf(host)).toEqual([]);
  await host.clock.advance(15_000);
  await host.goOn();
  expect(verdictsOf(host)).toMatchObject([{ kind: "unknown", why: expect.stringMatching(/15000 ms/) as unknown }]);
  expect(stopped).toMatchObject({ code: "E_TIMEOUT" });
});

test("a cancel that comes meanwhile is heard afterwards", async () => {
  let answer: (agrees: boolean) => void = () => undefined;
  const host = await takenOver(agentWith(() => new Promise<boolean>((resolve) => (answer = resolve))));
  host.offer({ kind: "cancel" });
  await host.goOn();
  expect(host.end).toBeUndefined();
  answer(true);
  await host.goOn();
  expect(host.end).toMatchObject({ kind: "cancelled" });
});

test("nothing is asked by a first owner, nor in a replay", async () => {
  const agent = agentWith(() => expect.fail("nobody should ask"));
  expect(verdictsOf(await takenOver(agent, 1))).toEqual([]);
  const replay = new AgentHost({ agent, log: await lostLog(agent), epoch: 2, isReplayOnly: true });
  await replay.goOn();
  expect(verdictsOf(replay)).toEqual([]);
});
