// Doing the same to many jobs, over the real store with the real doors: to those of the filter that were there when it
// began, to each once, whatever fails for others.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../src/base/errors.ts";
import { parseArtifactId, parseDigest, parseJobId, type JobId } from "../../src/base/ids.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { tellMany, type BulkAction, type BulkAnswer, type BulkRequest } from "../../src/jobs/doors/bulk.ts";
import { JobsDrive } from "../../src/jobs/doors/jobs-drive.ts";
import { JobsService } from "../../src/jobs/doors/jobs-service.ts";
import { RepeatJobs } from "../../src/jobs/doors/repeat-jobs.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { JobWatch } from "../../src/jobs/job-watch.ts";
import type { Jobs } from "../../src/jobs/ports.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import { defineAgent, type Agent } from "../../src/sdk/agent.ts";
import { defineTool } from "../../src/sdk/tool.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { haveEnded, JobNode } from "../support/job-node.ts";
import { jobStore, PIN, startJob } from "../support/job-log.ts";
import { payloadsIn } from "../support/kept-payloads.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const ANN = { principal: "ann", tenant: "default" };
const OTHER_PIN = parseDigest("b".repeat(64));
const OLD = parseArtifactId("test:bulk:1.0.0");
const NEW = parseArtifactId("test:bulk:1.1.0");

let mayPass: boolean;
let asked: number;

const pay = defineTool({
  name: "pay", input: z.number(), output: z.number(), effect: "once",
  execute: () => {
    asked += 1;
    throw new RangeError("the line is dead");
  },
});
const failing = defineAgent({
  name: "failing", input: z.any(), output: z.string(),
  run: async (job) => {
    await job.step("try", () => "tried");
    if (!mayPass) throw new RangeError("not yet");
    return "passed";
  },
});
const paying = defineAgent({
  name: "paying", input: z.any(), output: z.number(), tools: { pay }, run: async (job) => await job.tools.pay(1),
});
const napping = defineAgent({
  name: "napping", input: z.any(), output: z.string(),
  run: async (job) => {
    await job.sleep("nap", "1 hour");
    return "slept";
  },
});
const AGENTS: readonly Agent[] = [failing, paying, napping];

let clock: ManualClock;
let local: LocalKv;
let node: JobNode;
let inbox: InboxWriter;
let watch: JobWatch;
let draws: number;
let jobs: Pick<Jobs, "list" | "show" | "cancel" | "release" | "signal" | "repeat" | "move" | "resolve">;

beforeEach(async () => {
  clock = new ManualClock();
  local = await createLocalKv();
  [mayPass, asked, draws] = [false, 0, 0];
  const { kv } = local;
  for (const [digest, artifact] of [[PIN, OLD], [OTHER_PIN, NEW]] as const) {
    const value = {
      artifact, archive: digest, slice: "bulk", config: {}, uses: {}, heapBytesMax: 1, variables: {}, renewedMs: 0,
    };
    await kv.transact({
      compare: [], then: [{ kind: "put", key: formatKey({ kind: "job-pin", digest }), value }], else: [],
    });
  }
  const onFatal = (error: unknown): void => expect.unreachable(String(error));
  inbox = new InboxWriter({ clock }, { kv, onFatal });
  watch = new JobWatch({ clock, telemetry: SILENT_TELEMETRY }, kv);
  node = new JobNode({ name: "a", clock, kv, agents: AGENTS, versions: new Map([[OTHER_PIN, [napping]]]) });
  const payloads = payloadsIn(kv);
  const definitionOf = async (): Promise<undefined> => undefined;
  const service = new JobsService({ clock }, { kv, watch, pending: { why: () => undefined } });
  const drive = new JobsDrive({ clock, kv, inbox, payloads, pins: { definitionOf } });
  jobs = {
    list: (...args) => service.list(...args),
    show: (...args) => service.show(...args),
    cancel: (...args) => drive.cancel(...args),
    release: (...args) => drive.release(...args),
    signal: (...args) => drive.signal(...args),
    resolve: (...args) => drive.resolve(...args),
    move: (job) => node.move(job, OTHER_PIN),
    repeat: (...args) => new RepeatJobs({ clock, random: new SeededRandom(draws += 1) }, {
      kv, payloads, log: jobStore(clock, kv), checkRoom: () => undefined,
      pins: { resolve: async () => PIN, renew: async () => undefined, definitionOf },
    }).repeat(...args),
  };
});

afterEach(async () => {
  await node.close(local.kv);
  await inbox.close();
  await local.close();
});

async function start(
  agent: string, count: number, over: Parameters<typeof startJob>[1] = {},
): Promise<readonly JobId[]> {
  const ids = Array.from({ length: count }, (_, index) => parseJobId(`${agent}-${index}`));
  for (const job of ids) await startJob(local.kv, { job, agent, ...over });
  return ids;
}

function tell(
  action: BulkAction, filter: BulkRequest["filter"], more: Partial<BulkRequest> = {}, on = jobs,
): Promise<BulkAnswer> {
  return tellMany(on, { action, filter, isDryRun: false, ...more }, ANN);
}

async function statuses(ids: readonly JobId[]): Promise<readonly string[]> {
  return await Promise.all(ids.map(async (job) => (await jobs.show(job)).row.status));
}

const RETRY: BulkAction = { kind: "retry" };
const FAILED = { agent: "failing", status: "failed" } as const;

describe("a retry of many jobs", () => {
  test("does each of them again once, in pages, and says the same before it does it", async () => {
    const ids = await start("failing", 5);
    await node.goOn(() => haveEnded(local.kv, ids));
    expect(await tell(RETRY, FAILED, { isDryRun: true })).toMatchObject({ told: 5, jobs: ids, skipped: 0 });
    const first = await tell(RETRY, FAILED, { limit: 2 });
    expect(first).toMatchObject({ told: 2, jobs: ids.slice(0, 2), more: true, next: ids[1] });
    expect(first.made?.map(({ of }) => of)).toEqual(ids.slice(0, 2));
    const rest = await tell(RETRY, FAILED, { after: first.next ?? JOB_NONE, upTo: first.revision });
    expect(rest).toMatchObject({ told: 3, jobs: ids.slice(2), more: false, revision: first.revision });
    // Again, and as a question: nothing is left to be done.
    for (const isDryRun of [true, false]) {
      expect(await tell(RETRY, FAILED, { isDryRun })).toMatchObject({ told: 0, skipped: 5, failed: [] });
    }
    expect((await jobs.list({ agent: "failing" })).jobs).toHaveLength(10);
  });

  test("is none of jobs that came after it began, also when they fail before its next page", async () => {
    const ids = await start("failing", 3);
    await node.goOn(() => haveEnded(local.kv, ids));
    const first = await tell(RETRY, FAILED, { limit: 1 });
    await start("failing-later", 1, { agent: "failing" });
    const all = async (): Promise<readonly JobId[]> => (await jobs.list(FAILED)).jobs.map(({ job }) => job);
    await node.goOn(async () => (await all()).length === 5);
    const told: JobId[] = [...first.jobs];
    for (let page = first; page.more && page.next !== undefined;) {
      page = await tell(RETRY, FAILED, { limit: 1, after: page.next, upTo: first.revision });
      told.push(...page.jobs);
    }
    expect(told).toEqual(ids);
    // Whoever begins anew means them too.
    const again = await tell(RETRY, FAILED);
    expect(again.skipped).toBe(3);
    expect(again.told).toBe((await all()).length - 3);
  });

  test("goes on past those for which it fails, and says why for each", async () => {
    const ids = await start("failing", 40);
    await node.goOn(() => haveEnded(local.kv, ids));
    const broken = new Set([ids[17], ids[3]]);
    const flaky: typeof jobs = {
      ...jobs,
      repeat: async (job, ...rest) => {
        if (broken.has(job)) throw new AetherError("E_QUOTA", "the store is full");
        return await jobs.repeat(job, ...rest);
      },
    };
    const answer = await tell(RETRY, FAILED, {}, flaky);
    expect(answer).toMatchObject({ told: 38, skipped: 0 });
    const message = "the store is full";
    expect(answer.failed).toEqual([...broken].map((job) => ({ job, code: "E_QUOTA", message })));
    expect((await tell(RETRY, FAILED)).jobs).toEqual([...broken]);
  });

  test("leaves jobs alone that live or have completed", async () => {
    mayPass = true;
    const done = await start("failing", 1);
    const [doubtful] = await start("paying", 1);
    if (doubtful === undefined) return expect.unreachable();
    const isInDoubt = async (): Promise<boolean> => (await jobs.show(doubtful)).row.waiting !== undefined;
    await node.goOn(async () => await haveEnded(local.kv, done) && await isInDoubt());
    expect(await tell(RETRY, {})).toMatchObject({ told: 0, skipped: 2, failed: [] });
  });
});

test("a resolution of many jobs is said of each call in doubt once, or of those of one tool", async () => {
  const ids = await start("paying", 3);
  await start("napping", 1);
  await node.goOn(async () => (await jobs.list({ waiting: "unknown" })).jobs.length === 3);
  const resolve = { kind: "resolve", resolution: { kind: "done", result: 7 } } as const;
  expect(await tell({ ...resolve, tool: "ship" }, { agent: "paying" })).toMatchObject({ told: 0, skipped: 3 });
  expect(await tell({ ...resolve, tool: "pay" }, {}, { isDryRun: true })).toMatchObject({ told: 3, skipped: 1 });
  expect(await tell(resolve, { waiting: "unknown" })).toMatchObject({ told: 3, jobs: ids });
  // They have heard it, whether or not they have gone on.
  expect(await tell(resolve, { agent: "paying" })).toMatchObject({ told: 0 });
  await node.goOn(() => haveEnded(local.kv, ids));
  expect(await statuses(ids)).toEqual(["completed", "completed", "completed"]);
  expect(asked).toBe(3);
});

test("a move of many jobs is of those that run another version, and one that differs is named", async () => {
  const ids = await start("napping", 3);
  const [other] = await start("paying", 1);
  await node.goOn(async () => (await jobs.list({ status: "waiting" })).jobs.length === 4);
  const move = { kind: "move", artifact: NEW } as const;
  const passing = async (doing: Promise<BulkAnswer>): Promise<BulkAnswer> => {
    let isDone = false;
    const done = doing.finally(() => (isDone = true));
    while (!isDone) await clock.advance(100);
    return await done;
  };
  expect(await tell(move, { artifact: OLD }, { isDryRun: true })).toMatchObject({ told: 4 });
  const moved = await passing(tell(move, { artifact: OLD }));
  expect(moved.jobs).toEqual(ids);
  expect(moved.failed).toMatchObject([{ job: other }]);
  expect((await jobs.list({ artifact: NEW })).jobs.map(({ job }) => job)).toEqual(ids);
  expect(await passing(tell(move, { agent: "napping" }))).toMatchObject({ told: 0, skipped: 3 });
});

test("a cancel of many jobs is of those that have not ended", async () => {
  mayPass = true;
  const ended = await start("failing", 2);
  await start("napping", 2);
  await node.goOn(() => haveEnded(local.kv, ended));
  expect(await tell({ kind: "cancel" }, { artifact: OLD })).toMatchObject({ told: 2, skipped: 2, failed: [] });
});

describe("a listing", () => {
  test("has jobs by what they wait for, the version that they run, and when they began", async () => {
    const early = await start("napping", 2, { atMs: 1_000 });
    const late = await start("paying", 2, { atMs: 2_000 });
    await node.goOn(async () => (await jobs.list({ status: "waiting" })).jobs.length === 4);
    const ids = async (query: Parameters<Jobs["list"]>[0]): Promise<readonly JobId[]> =>
      (await jobs.list(query)).jobs.map(({ job }) => job);
    expect(await ids({ waiting: "timer" })).toEqual(early);
    expect(await ids({ waiting: "unknown" })).toEqual(late);
    expect(await ids({ artifact: OLD })).toHaveLength(4);
    expect(await ids({ artifact: NEW })).toEqual([]);
    expect(await ids({ createdFromMs: 2_000 })).toEqual(late);
    expect(await ids({ createdBeforeMs: 2_000 })).toEqual(early);
    const range = { createdFromMs: 1_000, createdBeforeMs: 2_000 };
    expect(await ids({ ...range, agent: "napping", limit: 1 })).toEqual(["napping-0"]);
    for (const agent of [undefined, "napping"]) {
      const query = agent === undefined ? {} : { agent };
      expect(await ids({ ...query, order: "newest" })).toEqual((await ids(query)).toReversed());
    }
    const { revision } = await jobs.list({});
    await start("failing", 1);
    expect(await ids({ upTo: revision })).toHaveLength(4);
    expect(await ids({})).toHaveLength(5);
  });

  test("of the newest is not disturbed by jobs that begin meanwhile", async () => {
    const before = await start("napping", 3);
    const first = await jobs.list({ order: "newest", limit: 1 });
    await start("paying", 2);
    const next = await jobs.list({ order: "newest", limit: 5, ...(first.next && { after: first.next }) });
    const listed = [...first.jobs, ...next.jobs].map(({ job }) => job);
    expect([listed, next.more]).toEqual([before.toReversed(), false]);
  });
});

const JOB_NONE = parseJobId("none");
