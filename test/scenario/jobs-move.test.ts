// Jobs that are moved to another version of their code, over the real store: whoever moves falls silent at each of its
// writes, before or after the write, and somebody else says the same again; others act in between.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../src/base/errors.ts";
import { parseDigest, parseJobId, type Digest } from "../../src/base/ids.ts";
import type { JobProblem } from "../../src/jobs/core/explain/job-problems.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { rowKey } from "../../src/jobs/core/life/job-keys.ts";
import type { JobRow } from "../../src/jobs/core/rows.ts";
import type { MovedJob } from "../../src/jobs/ports.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { defineSignal } from "../../src/sdk/signal.ts";
import { defineTool } from "../../src/sdk/tool.ts";
import { atEveryCall, interleavedKv } from "../support/interleaved-kv.ts";
import { verify } from "../support/exported-job.ts";
import { PIN, startJob } from "../support/job-log.ts";
import { haveEnded, type JobNode, type JobNodeOptions } from "../support/job-node.ts";
import { eventTypesOf, resultOf, rowOf } from "../support/job-rows.ts";
import { JobsWorld } from "../support/jobs-world.ts";

const JOB = parseJobId("moving-1");
const FIXED = parseDigest("b".repeat(64));
const OTHER = parseDigest("c".repeat(64));

const go = defineSignal("go", z.object({}));
/** What the first version reads outside of its job. */
let flag: "load" | "fetch" = "load";
let paid = 0;
let mayLoad: Promise<void> = Promise.resolve();
let mayEnd: Promise<void> = Promise.resolve();

const pay = defineTool({
  name: "pay", input: z.object({ cents: z.number() }), output: z.number(), effect: "once",
  execute: async () => {
    await mayEnd;
    return (paid += 1);
  },
});

function version(name: string, { first, cents = 5, last = go }: {
  readonly first: () => string; readonly cents?: number; readonly last?: typeof go;
}): readonly Agent[] {
  return [defineAgent({
    name: "moving", input: z.any(), output: z.string(), tools: { pay }, signals: [go],
    run: async (job) => {
      await job.step(first(), async () => await mayLoad);
      await job.tools.pay({ cents });
      await job.waitFor(last);
      return name;
    },
  })];
}

const broken = version("broken", { first: () => flag });
const VERSIONS = new Map<Digest, readonly Agent[]>([
  [FIXED, version("fixed", { first: () => "load" })],
  [OTHER, version("other", { first: () => "load", cents: 6 })],
]);

/** As on a node that has no room for another replay. */
class FailingVersions extends Map<Digest, readonly Agent[]> {
  isFailing = false;

  override get(pin: Digest): readonly Agent[] | undefined {
    if (this.isFailing) throw new AetherError("E_OVERLOADED", "this node replays four logs already");
    return super.get(pin);
  }
}

const world = new JobsWorld(broken);
beforeEach(open);
afterEach(() => world.close());

async function open(): Promise<void> {
  await world.begin();
  flag = "load";
  paid = 0;
  mayLoad = Promise.resolve();
  mayEnd = Promise.resolve();
  for (const [digest, versionName] of [[PIN, "1.0.0"], [FIXED, "1.1.0"], [OTHER, "1.2.0"]] as const) {
    const value = {
      artifact: `test:moving:${versionName}`, archive: digest, slice: "moving", config: {}, uses: {}, heapBytesMax: 1,
      variables: {}, renewedMs: 0,
    };
    const key = formatKey({ kind: "job-pin", digest });
    await world.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
  }
  await startJob(world.kv, { job: JOB, agent: "moving", input: {} });
}

function nodeOf(name: string, over: Partial<Pick<JobNodeOptions, "dies" | "kv">> = {}): JobNode {
  return world.openNode(name, { versions: VERSIONS, ...over });
}

async function rowNow(): Promise<JobRow> {
  return await rowOf(world.kv, JOB);
}

async function waits(reason: string): Promise<boolean> {
  return (await rowNow()).waiting?.reason === reason;
}

/** What comes of it while time passes; undefined when whoever does it is dead. */
async function passing<T>(node: JobNode, doing: Promise<T>): Promise<T | undefined> {
  let isDone = false;
  const done = doing.finally(() => (isDone = true));
  // ignored: it is awaited below, or its node is dead.
  done.catch(() => undefined);
  for (let round = 0; round < 600 && !isDone && !node.isDead; round++) await world.clock.advance(100);
  return isDone ? await done : undefined;
}

/** The job ends as this version ends it, having paid once, and its log explains it. */
async function expectEnd(name: string): Promise<void> {
  expect(await resultOf(world.kv, JOB)).toEqual({ kind: "completed", output: name });
  expect(paid).toBe(1);
  expect(await problems()).toEqual([]);
}

/** What `verify` says of it. */
async function problems(): Promise<readonly JobProblem[]> {
  return (await verify(world.kv, JOB)).problems;
}

/** Up to where its own code cannot go on. */
async function getStuck(): Promise<void> {
  const node = nodeOf("a");
  await node.goOn(() => waits("signal"));
  flag = "fetch";
  await node.signal(JOB, "go", {});
  await node.goOn(() => waits("stuck"));
  await node.close(world.kv);
  expect((await rowNow()).waiting?.why).toContain("E_NONDETERMINISM");
}

const ends = (): Promise<boolean> => haveEnded(world.kv, [JOB]);

describe("a job that its own code cannot go on with", () => {
  test("goes on with a version that does what its log says, whenever whoever moves it dies", async () => {
    let writes = Infinity;
    for (let at = 1; at <= writes; at++) {
      for (const fate of ["lost", "applied"] as const) {
        await open();
        await getStuck();
        const dying = nodeOf("d", { dies: { at, fate } });
        const first = await passing(dying, dying.move(JOB, FIXED));
        if (first !== undefined) writes = dying.writes;
        await dying.close(world.kv);
        const last = nodeOf("e");
        const isMoved = (await rowNow()).pin === FIXED;
        expect(await passing(last, last.move(JOB, FIXED))).toEqual({ kind: "moved", isNew: !isMoved });
        await last.goOn(ends);
        await last.close(world.kv);
        expect((await eventTypesOf(world.kv, JOB)).filter((type) => type === "job.moved")).toHaveLength(1);
        await expectEnd("fixed");
      }
    }
    expect(writes).toBe(1);
  });

  test("is not whole any more when its row names other code than its log", async () => {
    await getStuck();
    const node = nodeOf("b");
    await passing(node, node.move(JOB, FIXED));
    await node.goOn(ends);
    await node.close(world.kv);
    const seq = (await eventTypesOf(world.kv, JOB)).indexOf("job.moved") + 1;
    for (const pin of [PIN, OTHER]) {
      const value = { ...await rowNow(), pin };
      await world.kv.transact({ compare: [], then: [{ kind: "put", key: rowKey(refOf(JOB)), value }], else: [] });
      expect(await problems()).toEqual([{ seq, reason: "the job's code is not what its log says" }]);
    }
  });

  test("is left as it is by a version that does something else", async () => {
    await getStuck();
    const before = await world.kv.get(rowKey(refOf(JOB)));
    const node = nodeOf("b");
    expect(await passing(node, node.move(JOB, OTHER))).toMatchObject({
      kind: "diverged", expected: expect.stringContaining("the tool pay"), found: expect.stringContaining("digest"),
    });
    expect((await world.kv.get(rowKey(refOf(JOB)))).entry).toEqual(before.entry);
  });

  test("is tried again by its own version", async () => {
    await getStuck();
    flag = "load";
    const node = nodeOf("b");
    expect(await passing(node, node.move(JOB, PIN))).toEqual({ kind: "moved", isNew: true });
    await node.goOn(ends);
    await node.close(world.kv);
    await expectEnd("broken");
  });
});

describe("a job that runs", () => {
  /** Its call is under way until the answer is called. */
  async function runUp(node: JobNode): Promise<() => void> {
    let end = (): void => undefined;
    mayEnd = new Promise((resolve) => (end = resolve));
    await node.goOn(async () => (await eventTypesOf(world.kv, JOB)).includes("tool.granted"));
    return () => end();
  }

  test("holds still when its call has ended, and goes on moved, whenever whoever moves it dies", async () => {
    let writes = Infinity;
    for (let at = 1; at <= writes; at++) {
      for (const fate of ["lost", "applied"] as const) {
        await open();
        const owner = nodeOf("a");
        const endCall = await runUp(owner);
        const dying = nodeOf("d", { dies: { at, fate } });
        const moving = passing(dying, dying.move(JOB, FIXED));
        await world.clock.advance(500);
        expect((await rowNow()).status, "it waits for the call").toBe("running");
        endCall();
        if (await moving !== undefined) writes = dying.writes;
        await dying.close(world.kv);
        // Where nothing was said to it, it runs on.
        const last = nodeOf("e");
        expect(await passing(last, last.move(JOB, FIXED))).toMatchObject({ kind: "moved" });
        await last.signal(JOB, "go", {});
        await last.goOn(ends);
        await owner.close(world.kv);
        await last.close(world.kv);
        expect((await eventTypesOf(world.kv, JOB)).filter((type) => type === "job.moved")).toHaveLength(1);
        await expectEnd("fixed");
      }
    }
    expect(writes).toBe(2);
  });

  test("goes on as it was when the version differs in what it did until it held still", async () => {
    let isHeld = false;
    await atEveryCall(async (n) => {
      await open();
      let load = (): void => undefined;
      mayLoad = new Promise((resolve) => (load = resolve));
      const owner = nodeOf("a");
      await owner.goOn(async () => (await rowNow()).status === "running");
      const seen = interleavedKv(world.kv, n, async () => {
        mayEnd = world.clock.sleep(300);
        load();
        const isRunning = async (): Promise<boolean> => (await rowNow()).status === "running";
        const isGranted = async (): Promise<boolean> =>
          (await eventTypesOf(world.kv, JOB)).includes("tool.granted");
        await owner.goOn(async () => await isGranted() || !await isRunning());
      });
      const node = nodeOf("b", { kv: seen.kv });
      const moved = await passing(node, node.move(JOB, OTHER));
      const calls = seen.calls();
      isHeld ||= (await eventTypesOf(world.kv, JOB)).includes("job.waiting");
      // Before it did anything it was the same, and goes on with the version from there.
      if (moved?.kind === "moved") load();
      else expect(moved).toMatchObject({ kind: "diverged", expected: expect.stringContaining("the tool pay") });
      await owner.goOn(() => waits("signal"));
      await owner.signal(JOB, "go", {});
      await owner.goOn(ends);
      for (const one of [owner, node]) await one.close(world.kv);
      await expectEnd(moved?.kind === "moved" ? "other" : "broken");
      return { calls };
    });
    expect(isHeld, "it differs after it held still, too").toBe(true);
  });

  test("goes on as it was when it cannot be replayed once more", async () => {
    const owner = nodeOf("a");
    const endCall = await runUp(owner);
    const versions = new FailingVersions(VERSIONS);
    const node = world.openNode("b", { versions });
    const moving = passing(node, node.move(JOB, FIXED));
    await world.clock.advance(500);
    versions.isFailing = true;
    endCall();
    await expect(moving).rejects.toMatchObject({ code: "E_OVERLOADED" });
    expect(await eventTypesOf(world.kv, JOB), "it held still").toContain("job.waiting");
    await owner.goOn(() => waits("signal"));
    await owner.signal(JOB, "go", {});
    await owner.goOn(ends);
    for (const one of [owner, node]) await one.close(world.kv);
    await expectEnd("broken");
  });

  test.each(["before", "after"] as const)("ends when it is cancelled %s it is asked to hold still", async (when) => {
    const owner = nodeOf("a");
    const endCall = await runUp(owner);
    if (when === "before") await owner.cancel(JOB);
    // If it has to be told to go on, nobody does.
    const node = nodeOf("b", { dies: { at: 2, fate: "lost" } });
    const refused = expect(passing(node, node.move(JOB, FIXED))).rejects.toMatchObject({ code: "E_CONFLICT" });
    await world.clock.advance(500);
    if (when === "after") await owner.cancel(JOB);
    endCall();
    await owner.goOn(ends);
    await refused;
    for (const one of [owner, node]) await one.close(world.kv);
    expect((await rowNow()).status).toBe("cancelled");
    expect(await problems()).toEqual([]);
  });

  test("does not heed what an earlier owner was asked", async () => {
    const owner = nodeOf("a");
    const endCall = await runUp(owner);
    const node = nodeOf("b", { dies: { at: 2, fate: "lost" } });
    const moving = passing(node, node.move(JOB, FIXED));
    await world.clock.advance(500);
    // Its node dies before the call has ended, and the next owner finds the entry.
    await owner.close(world.kv);
    await moving;
    endCall();
    await node.close(world.kv);
    const next = nodeOf("c");
    await next.goOn(async () => (await rowNow()).status === "waiting");
    expect((await rowNow()).waiting?.reason).not.toBe("stuck");
  });
});

test("whatever is done to the job in between, a move is whole or does not happen", async () => {
  for (const act of ["signal", "move", "cancel"] as const) {
    const calls = await atEveryCall(async (n) => {
      await open();
      const owner = nodeOf("a");
      await owner.goOn(() => waits("signal"));
      const other = nodeOf("b");
      const meddle = async (): Promise<void> => {
        if (act === "signal") await other.signal(JOB, "go", {});
        else if (act === "cancel") await other.cancel(JOB);
        else await passing(other, other.move(JOB, FIXED));
      };
      const seen = interleavedKv(world.kv, n, meddle);
      const node = nodeOf("d", { kv: seen.kv });
      const own: MovedJob | undefined = await passing(node, node.move(JOB, FIXED));
      const calls = seen.calls();
      if (calls < n) await meddle();
      expect(own?.kind).toBe("moved");
      if (act !== "cancel") await owner.signal(JOB, "go", {});
      await owner.goOn(ends);
      for (const one of [owner, other, node]) await one.close(world.kv);
      expect((await eventTypesOf(world.kv, JOB)).filter((type) => type === "job.moved")).toHaveLength(1);
      if (act !== "cancel") await expectEnd("fixed");
      return { calls };
    });
    expect(calls).toBeGreaterThan(3);
  }
});
