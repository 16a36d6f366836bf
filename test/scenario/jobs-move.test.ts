// Jobs that are moved to another version of their code, over the real store: whoever moves falls silent at each of its
// writes, before or after the write, and somebody else says the same again; others act in between.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../src/base/errors.ts";
import { parseDigest, parseJobId, type Digest } from "../../src/base/ids.ts";
import { JobCheck } from "../../src/jobs/core/explain/job-check.ts";
import type { JobProblem } from "../../src/jobs/core/explain/job-problems.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { resultKey, rowKey } from "../../src/jobs/core/life/job-keys.ts";
import type { JobEventType } from "../../src/jobs/core/log/event.ts";
import { readEvent } from "../../src/jobs/core/log/upcast.ts";
import { parseJobResult, parseJobRow, type JobRow } from "../../src/jobs/core/rows.ts";
import { JobExport } from "../../src/jobs/doors/job-export.ts";
import type { MovedJob } from "../../src/jobs/ports.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { defineSignal } from "../../src/sdk/signal.ts";
import { defineTool } from "../../src/sdk/tool.ts";
import { atEveryCall, interleavedKv } from "../support/interleaved-kv.ts";
import { haveEnded, JobNode, type JobNodeOptions } from "../support/job-node.ts";
import { jobStore, PIN, startJob } from "../support/job-log.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

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

let clock: ManualClock;
let local: LocalKv;

beforeEach(async () => await open());
afterEach(async () => await local.close());

async function open(): Promise<void> {
  clock = new ManualClock();
  local = await createLocalKv();
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
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
  }
  await startJob(local.kv, { job: JOB, agent: "moving", input: {} });
}

function nodeOf(name: string, dies?: JobNodeOptions["dies"], kv: Kv = local.kv): JobNode {
  return new JobNode({ name, clock, kv, agents: broken, versions: VERSIONS, ...(dies !== undefined && { dies }) });
}

async function rowOf(): Promise<JobRow> {
  const { entry } = await local.kv.get(rowKey(refOf(JOB)));
  return parseJobRow(entry?.value);
}

async function waits(reason: string): Promise<boolean> {
  return (await rowOf()).waiting?.reason === reason;
}

/** What comes of it while time passes; undefined when whoever does it is dead. */
async function passing<T>(node: JobNode, doing: Promise<T>): Promise<T | undefined> {
  let isDone = false;
  const done = doing.finally(() => (isDone = true));
  // ignored: it is awaited below, or its node is dead.
  done.catch(() => undefined);
  for (let round = 0; round < 600 && !isDone && !node.isDead; round++) await clock.advance(100);
  return isDone ? await done : undefined;
}

async function typesOf(): Promise<readonly JobEventType[]> {
  return (await jobStore(clock, local.kv).load(refOf(JOB))).log.map((bytes) => readEvent(bytes).event.type);
}

/** The job ends as this version ends it, having paid once, and its log explains it. */
async function expectEnd(name: string): Promise<void> {
  const result = (await local.kv.get(resultKey(refOf(JOB)))).entry?.value;
  expect(parseJobResult(result)).toEqual({ kind: "completed", output: name });
  expect(paid).toBe(1);
  expect(await problems()).toEqual([]);
}

/** What `verify` says of it. */
async function problems(): Promise<readonly JobProblem[]> {
  const check = new JobCheck();
  for await (const line of await new JobExport(local.kv).open(JOB)) check.add(line.slice(0, -1));
  return check.finish().problems;
}

/** Up to where its own code cannot go on. */
async function getStuck(): Promise<void> {
  const node = nodeOf("a");
  await node.goOn(() => waits("signal"));
  flag = "fetch";
  await node.signal(JOB, "go", {});
  await node.goOn(() => waits("stuck"));
  await node.close(local.kv);
  expect((await rowOf()).waiting?.why).toContain("E_NONDETERMINISM");
}

const ends = (): Promise<boolean> => haveEnded(local.kv, [JOB]);

describe("a job that its own code cannot go on with", () => {
  test("goes on with a version that does what its log says, whenever whoever moves it dies", async () => {
    let writes = Infinity;
    for (let at = 1; at <= writes; at++) {
      for (const fate of ["lost", "applied"] as const) {
        await local.close();
        await open();
        await getStuck();
        const dying = nodeOf("d", { at, fate });
        const first = await passing(dying, dying.move(JOB, FIXED));
        if (first !== undefined) writes = dying.writes;
        await dying.close(local.kv);
        const last = nodeOf("e");
        const isMoved = (await rowOf()).pin === FIXED;
        expect(await passing(last, last.move(JOB, FIXED))).toEqual({ kind: "moved", isNew: !isMoved });
        await last.goOn(ends);
        await last.close(local.kv);
        expect((await typesOf()).filter((type) => type === "job.moved")).toHaveLength(1);
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
    await node.close(local.kv);
    const seq = (await typesOf()).indexOf("job.moved") + 1;
    for (const pin of [PIN, OTHER]) {
      const value = { ...await rowOf(), pin };
      await local.kv.transact({ compare: [], then: [{ kind: "put", key: rowKey(refOf(JOB)), value }], else: [] });
      expect(await problems()).toEqual([{ seq, reason: "the job's code is not what its log says" }]);
    }
  });

  test("is left as it is by a version that does something else", async () => {
    await getStuck();
    const before = await local.kv.get(rowKey(refOf(JOB)));
    const node = nodeOf("b");
    expect(await passing(node, node.move(JOB, OTHER))).toMatchObject({
      kind: "diverged", expected: expect.stringContaining("the tool pay"), found: expect.stringContaining("digest"),
    });
    expect((await local.kv.get(rowKey(refOf(JOB)))).entry).toEqual(before.entry);
    await node.close(local.kv);
  });

  test("is tried again by its own version", async () => {
    await getStuck();
    flag = "load";
    const node = nodeOf("b");
    expect(await passing(node, node.move(JOB, PIN))).toEqual({ kind: "moved", isNew: true });
    await node.goOn(ends);
    await node.close(local.kv);
    await expectEnd("broken");
  });
});

describe("a job that runs", () => {
  /** Its call is under way until the answer is called. */
  async function runUp(node: JobNode): Promise<() => void> {
    let end = (): void => undefined;
    mayEnd = new Promise((resolve) => (end = resolve));
    await node.goOn(async () => (await typesOf()).includes("tool.granted"));
    return () => end();
  }

  test("holds still when its call has ended, and goes on moved, whenever whoever moves it dies", async () => {
    let writes = Infinity;
    for (let at = 1; at <= writes; at++) {
      for (const fate of ["lost", "applied"] as const) {
        await local.close();
        await open();
        const owner = nodeOf("a");
        const endCall = await runUp(owner);
        const dying = nodeOf("d", { at, fate });
        const moving = passing(dying, dying.move(JOB, FIXED));
        await clock.advance(500);
        expect((await rowOf()).status, "it waits for the call").toBe("running");
        endCall();
        if (await moving !== undefined) writes = dying.writes;
        await dying.close(local.kv);
        // Where nothing was said to it, it runs on.
        const last = nodeOf("e");
        expect(await passing(last, last.move(JOB, FIXED))).toMatchObject({ kind: "moved" });
        await last.signal(JOB, "go", {});
        await last.goOn(ends);
        await owner.close(local.kv);
        await last.close(local.kv);
        expect((await typesOf()).filter((type) => type === "job.moved")).toHaveLength(1);
        await expectEnd("fixed");
      }
    }
    expect(writes).toBe(2);
  });

  test("goes on as it was when the version differs in what it did until it held still", async () => {
    let isHeld = false;
    await atEveryCall(async (n) => {
      await local.close();
      await open();
      let load = (): void => undefined;
      mayLoad = new Promise((resolve) => (load = resolve));
      const owner = nodeOf("a");
      await owner.goOn(async () => (await rowOf()).status === "running");
      const seen = interleavedKv(local.kv, n, async () => {
        mayEnd = clock.sleep(300);
        load();
        const isRunning = async (): Promise<boolean> => (await rowOf()).status === "running";
        await owner.goOn(async () => (await typesOf()).includes("tool.granted") || !await isRunning());
      });
      const node = nodeOf("b", undefined, seen.kv);
      const moved = await passing(node, node.move(JOB, OTHER));
      const calls = seen.calls();
      isHeld ||= (await typesOf()).includes("job.waiting");
      // Before it did anything it was the same, and goes on with the version from there.
      if (moved?.kind === "moved") load();
      else expect(moved).toMatchObject({ kind: "diverged", expected: expect.stringContaining("the tool pay") });
      await owner.goOn(() => waits("signal"));
      await owner.signal(JOB, "go", {});
      await owner.goOn(ends);
      for (const one of [owner, node]) await one.close(local.kv);
      await expectEnd(moved?.kind === "moved" ? "other" : "broken");
      return { calls };
    });
    expect(isHeld, "it differs after it held still, too").toBe(true);
  });

  test("goes on as it was when it cannot be replayed once more", async () => {
    const owner = nodeOf("a");
    const endCall = await runUp(owner);
    const versions = new FailingVersions(VERSIONS);
    const node = new JobNode({ name: "b", clock, kv: local.kv, agents: broken, versions });
    const moving = passing(node, node.move(JOB, FIXED));
    await clock.advance(500);
    versions.isFailing = true;
    endCall();
    await expect(moving).rejects.toMatchObject({ code: "E_OVERLOADED" });
    expect(await typesOf(), "it held still").toContain("job.waiting");
    await owner.goOn(() => waits("signal"));
    await owner.signal(JOB, "go", {});
    await owner.goOn(ends);
    for (const one of [owner, node]) await one.close(local.kv);
    await expectEnd("broken");
  });

  test.each(["before", "after"] as const)("ends when it is cancelled %s it is asked to hold still", async (when) => {
    const owner = nodeOf("a");
    const endCall = await runUp(owner);
    if (when === "before") await owner.cancel(JOB);
    // If it has to be told to go on, nobody does.
    const node = nodeOf("b", { at: 2, fate: "lost" });
    const refused = expect(passing(node, node.move(JOB, FIXED))).rejects.toMatchObject({ code: "E_CONFLICT" });
    await clock.advance(500);
    if (when === "after") await owner.cancel(JOB);
    endCall();
    await owner.goOn(ends);
    await refused;
    for (const one of [owner, node]) await one.close(local.kv);
    expect((await rowOf()).status).toBe("cancelled");
    expect(await problems()).toEqual([]);
  });

  test("does not heed what an earlier owner was asked", async () => {
    const owner = nodeOf("a");
    const endCall = await runUp(owner);
    const node = nodeOf("b", { at: 2, fate: "lost" });
    const moving = passing(node, node.move(JOB, FIXED));
    await clock.advance(500);
    // Its node dies before the call has ended, and the next owner finds the entry.
    await owner.close(local.kv);
    await moving;
    endCall();
    await node.close(local.kv);
    const next = nodeOf("c");
    await next.goOn(async () => (await rowOf()).status === "waiting");
    expect((await rowOf()).waiting?.reason).not.toBe("stuck");
    await next.close(local.kv);
  });
});

test("whatever is done to the job in between, a move is whole or does not happen", async () => {
  for (const act of ["signal", "move", "cancel"] as const) {
    const calls = await atEveryCall(async (n) => {
      await local.close();
      await open();
      const owner = nodeOf("a");
      await owner.goOn(() => waits("signal"));
      const other = nodeOf("b");
      const meddle = async (): Promise<void> => {
        if (act === "signal") await other.signal(JOB, "go", {});
        else if (act === "cancel") await other.cancel(JOB);
        else await passing(other, other.move(JOB, FIXED));
      };
      const seen = interleavedKv(local.kv, n, meddle);
      const node = nodeOf("d", undefined, seen.kv);
      const own: MovedJob | undefined = await passing(node, node.move(JOB, FIXED));
      const calls = seen.calls();
      if (calls < n) await meddle();
      expect(own?.kind).toBe("moved");
      if (act !== "cancel") await owner.signal(JOB, "go", {});
      await owner.goOn(ends);
      for (const one of [owner, other, node]) await one.close(local.kv);
      expect((await typesOf()).filter((type) => type === "job.moved")).toHaveLength(1);
      if (act !== "cancel") await expectEnd("fixed");
      return { calls };
    });
    expect(calls).toBeGreaterThan(3);
  }
});
