// Jobs whose values are stored apart from their logs, over the real store: the node that runs them falls silent at each
// of its writes, before or after the write, and another node goes on.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { encode } from "../../src/base/codec.ts";
import { sha256 } from "../../src/base/digest.ts";
import { parseJobId, type JobId } from "../../src/base/ids.ts";
import { KiB, MiB } from "../../src/base/units.ts";
import { refOf, type CallName } from "../../src/jobs/core/ids.ts";
import { blobOf } from "../../src/jobs/core/log/event.ts";
import { blobKey, chunkKey, type BlobRef } from "../../src/jobs/core/payloads/blob.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { PayloadStore } from "../../src/jobs/payloads/payload-store.ts";
import { parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import type { StoreUsage } from "../../src/kvstore/kv.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { defineTool } from "../../src/sdk/tool.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { startJob } from "../support/job-log.ts";
import { childrenOf, haveEnded } from "../support/job-node.ts";
import { eventsOf, eventTypesOf, resultOf, rowOf } from "../support/job-rows.ts";
import { JobsWorld } from "../support/jobs-world.ts";

const JOB = parseJobId("large-1");
/** In one transaction; in several of them. */
const SMALL = 80 * KiB;
const LARGE = 800 * KiB;
const text = (letter: string, length: number): string => letter.repeat(length);

let calls: string[] = [];
const drawing = defineTool({
  name: "draw", effect: "once", input: z.string(), output: z.string(),
  execute: (input) => {
    calls.push(input.slice(0, 1));
    return text("d", SMALL);
  },
});
const child = defineAgent({
  name: "child", input: z.string(), output: z.string(),
  run: async (_job, input) => text(input.slice(0, 1), SMALL),
});
const large = defineAgent({
  name: "large", input: z.number(), output: z.string(), tools: { drawing },
  run: async (job) => {
    const first = await job.step("first", () => text("a", LARGE));
    const drawn = await job.tools.drawing(text("i", SMALL));
    const told = await job.child(child, text("c", SMALL));
    return first.slice(0, 1) + drawn + told.slice(0, 1);
  },
});
const resting = defineAgent({
  name: "resting", input: z.number(), output: z.number(),
  run: async (job) => {
    const first = await job.step("first", () => text("a", SMALL));
    await job.sleep("nap", "1 hour");
    return first.length;
  },
});
const unplain = defineAgent({
  name: "unplain", input: z.number(), output: z.unknown(),
  run: async (job) => {
    try {
      return await job.step("odd", () => ({ list: [() => 1] }));
    } catch (error) {
      return String(error);
    }
  },
});
const costly = defineTool({
  name: "costly", effect: "read", cost: { usd: 1 }, input: z.string(), output: z.number(),
  execute: (input) => input.length,
});
/** Its call waits for more budget while something else keeps its owner. */
const poor = defineAgent({
  name: "poor", input: z.number(), output: z.number(), tools: { costly },
  run: async (job) => {
    const done = await job.all({
      call: (scope) => scope.tools.costly(text("p", SMALL)),
      rest: async (scope) => {
        for (let round = 0; round < 4; round++) await scope.sleep("nap", "4 seconds");
      },
    });
    return done.call;
  },
});
const AGENTS: readonly Agent[] = [large, child, resting, unplain, poor];

const world = new JobsWorld(AGENTS);
beforeEach(freshWorld);
afterEach(() => world.close());

async function freshWorld(): Promise<void> {
  await world.begin();
  calls = [];
}

function payloads(): PayloadStore {
  return new PayloadStore({ clock: createRealClock(), telemetry: SILENT_TELEMETRY }, world.kv);
}

async function blobsOf(job: JobId): Promise<readonly BlobRef[]> {
  return (await eventsOf(world.kv, job)).flatMap(({ event }) => blobOf(event) ?? []);
}

function refOfText(value: string): BlobRef {
  const bytes = encode(value);
  return { digest: sha256(bytes), bytes: bytes.byteLength };
}

async function outputOf(job: JobId): Promise<unknown> {
  const result = await resultOf(world.kv, job);
  return result.kind === "completed" ? (result.blob ?? result.output) : result;
}

const isOver = (): Promise<boolean> => haveEnded(world.kv, [JOB]);

/** Each payload that an event of the job names is there, and refers to the job. */
async function expectWhole(job: JobId): Promise<void> {
  for (const blob of await blobsOf(job)) {
    expect((await payloads().read(blob)).byteLength).toBe(blob.bytes);
    const { entries } = await world.kv.list({ prefix: prefixOf({ kind: "job-blob-refs", digest: blob.digest }) });
    expect(entries.map(({ key }) => parseKey(key))).toContainEqual(expect.objectContaining({ job }));
  }
}

describe("a job with large values", () => {
  test("has their digests in its log, and gets them whole", async () => {
    await startJob(world.kv, { job: JOB, agent: "large", input: 1 });
    const node = world.openNode("a");
    await node.goOn(isOver);
    const output = `a${text("d", SMALL)}c`;
    expect(await outputOf(JOB)).toEqual(refOfText(output));
    expect(await blobsOf(JOB)).toEqual([
      text("a", LARGE), text("i", SMALL), text("d", SMALL), text("c", SMALL), output,
    ].map(refOfText));
    await expectWhole(JOB);
    for (const id of await childrenOf(world.kv, JOB)) await expectWhole(id);
    // Nothing but names of payloads is in the log.
    expect((await eventsOf(world.kv, JOB)).every(({ event }) => JSON.stringify(event).length < KiB)).toBe(true);
  });

  test.each(["lost", "applied"] as const)("goes on when its node dies at any write, which is %s", async (fate) => {
    const output = refOfText(`a${text("d", SMALL)}c`);
    let at = 1;
    for (; ; at++) {
      await freshWorld();
      await startJob(world.kv, { job: JOB, agent: "large", input: 1 });
      const first = world.openNode("a", { dies: { at, fate } });
      await first.goOn(isOver);
      const isLast = !first.isDead;
      await first.close(world.kv);
      // A call that may have been made waits for a person, who says what it came to.
      await world.openNode("b").goOn(async () => await isOver() || (await statusOf(JOB)) === "waiting");
      if (await isOver()) {
        expect(await outputOf(JOB), `write ${at}`).toEqual(output);
        await expectWhole(JOB);
      }
      expect(calls.length).toBeLessThanOrEqual(1);
      if (isLast) break;
    }
    expect(at).toBeGreaterThan(12);
  }, 60_000);

  test("is stuck, and says why, when a part of one is not what was written", async () => {
    for (const damage of ["missing", "other bytes"] as const) {
      await freshWorld();
      await startJob(world.kv, { job: JOB, agent: "resting", input: 1 });
      const first = world.openNode("a");
      await first.goOn(async () => (await statusOf(JOB)) === "waiting");
      const [blob] = await blobsOf(JOB);
      if (blob === undefined) expect.unreachable("the step has a payload");
      const key = chunkKey(blob, 0);
      const old = (await world.kv.get(key)).entry?.value;
      const value = Buffer.from(old as Uint8Array).fill(7, 0, 1);
      await world.kv.transact({
        compare: [], then: [damage === "missing" ? { kind: "delete", key } : { kind: "put", key, value }], else: [],
      });
      const inbox = new InboxWriter(world, { kv: world.kv, onFatal: (error) => expect.unreachable(String(error)) });
      await inbox.put(refOf(JOB), { entry: { kind: "timer", call: "nap#1" as CallName } });
      await first.goOn(async () => (await rowOf(world.kv, JOB)).waiting?.reason === "stuck" || await isOver());
      const { status, waiting } = await rowOf(world.kv, JOB);
      expect([status, waiting?.reason]).toEqual(["waiting", "stuck"]);
      expect(waiting?.why).toContain(`E_DATA_CORRUPT: the payload ${blob.digest}`);
      await inbox.close();
    }
  });

  test("goes on when one that waited for budget was taken away before an event named it", async () => {
    const needs = { budget: { usdMicros: 1 } };
    await startJob(world.kv, { job: JOB, agent: "poor", input: 1, needs });
    const first = world.openNode("a");
    await first.goOn(async () => (await eventsOf(world.kv, JOB)).some(({ event }) => event.type === "timer.fired"));
    await world.kv.transact({
      compare: [], then: [{ kind: "delete", key: blobKey(refOfText(text("p", SMALL))) }], else: [],
    });
    await first.tell(JOB, { kind: "raise", add: { usdMicros: 1_000_000 }, principal: "ann" });
    await first.goOn(async () => first.isIdle);
    await first.close(world.kv);
    await world.openNode("b").goOn(isOver);
    expect(await outputOf(JOB)).toBe(SMALL);
    await expectWhole(JOB);
  });

  test("holds no room once its values are stored", async () => {
    await startJob(world.kv, { job: JOB, agent: "large", input: 1 });
    const node = world.openNode("a");
    await node.goOn(isOver);
    const release = await node.room.take(128 * MiB, AbortSignal.timeout(1_000));
    release();
  });

  test("notes that a tool went through when the store has no room for its answer", async () => {
    await startJob(world.kv, { job: JOB, agent: "large", input: 1 });
    const usage = (): StoreUsage => ({ liveBytes: 0, quotaBytes: calls.length === 0 ? 100 * MiB : 0 });
    const node = world.openNode("a", { usage });
    await node.goOn(isOver);
    const types = await eventTypesOf(world.kv, JOB);
    expect(types.filter((type) => type === "tool.succeeded")).toHaveLength(1);
    const done = (await eventsOf(world.kv, JOB)).find(({ event }) => event.type === "tool.succeeded")?.event;
    expect(done).toMatchObject({ problem: expect.stringContaining("no room") });
    expect(await outputOf(JOB)).toMatchObject({ kind: "failed" });
  });
});

test("what cannot be stored at all is refused at its step, by name and place", async () => {
  await startJob(world.kv, { job: JOB, agent: "unplain", input: 1 });
  await world.openNode("a").goOn(isOver);
  expect(await outputOf(JOB)).toMatch(/what the step "odd#1" answered is a function at list\[0\]/);
});

async function statusOf(job: JobId): Promise<string> {
  return (await rowOf(world.kv, job)).status;
}
