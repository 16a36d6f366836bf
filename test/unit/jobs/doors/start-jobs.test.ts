import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SeededRandom } from "../../../../src/base/random.ts";
import { AetherError } from "../../../../src/base/errors.ts";
import { parseJobId, type Digest, type JobId } from "../../../../src/base/ids.ts";
import { formatKey, prefixOf } from "../../../../src/kvstore/core/key.ts";
import type { KvStore } from "../../../../src/kvstore/kv-store.ts";
import { clusterUid } from "../../../../src/jobs/ownership/cluster-uid.ts";
import { JOB_TOLD_BYTES_MAX } from "../../../../src/jobs/limits.ts";
import { createJobsMetrics } from "../../../../src/jobs/metrics.ts";
import { parseQueueRow } from "../../../../src/jobs/core/rows.ts";
import type { LoadedJob, StartJob } from "../../../../src/jobs/ports.ts";
import { StartJobs, type StartJobsPorts } from "../../../../src/jobs/doors/start-jobs.ts";
import type { ManifestAgent } from "../../../../src/slices/core/manifest.ts";
import { createRealClock } from "../../../../src/node/env-clock-adapter.ts";
import { SILENT_TELEMETRY } from "../../../support/cluster-world.ts";
import { jobStore, life, PIN, putPin } from "../../../support/job-log.ts";
import { payloadsIn } from "../../../support/kept-payloads.ts";
import { createLocalKv, type LocalKv } from "../../../support/local-kv.ts";

const CALLER = { principal: "anonymous", tenant: "default" };
const START: StartJob = { agent: "refunds", input: { order: 7 } };
const TAKES_NUMBERS: ManifestAgent = {
  input: { type: "object", properties: { order: { type: "number" } }, required: ["order"] },
  output: {}, tools: {}, signals: {},
};
const clock = createRealClock();
let local: LocalKv;

beforeEach(async () => {
  local = await createLocalKv();
  await putPin(local.kv);
});
afterEach(() => local.close());

/** Of an agent, or of one whose manifest is not there. */
function pinsOf(definition?: ManifestAgent): StartJobsPorts["pins"] {
  return {
    resolve: () => Promise.resolve(PIN),
    needsOf: () => Promise.resolve({}),
    definitionOf: () => Promise.resolve(definition),
  };
}

function starts(over: Partial<StartJobsPorts> = {}, seed = 1): StartJobs {
  const pins = pinsOf();
  const metrics = createJobsMetrics(SILENT_TELEMETRY);
  const ports = { kv: local.kv, pins, payloads: payloadsIn(local.kv), queued: () => 0, metrics, ...over };
  return new StartJobs({ clock, random: new SeededRandom(seed) }, ports, { pendingMax: 10 });
}

async function jobs(): Promise<number> {
  return (await local.kv.list({ prefix: prefixOf({ kind: "jobs" }) })).entries.length;
}

describe("a start", () => {
  test("a hundred times at once under one key makes one job", async () => {
    const keyed = { ...START, idempotencyKey: "order-7" };
    const answers = await Promise.all(Array.from({ length: 100 }, (_, seed) => starts({}, seed).start(keyed, CALLER)));
    expect(new Set(answers.map(({ job }) => job)).size).toBe(1);
    expect(answers.filter(({ isNew }) => isNew)).toHaveLength(1);
    expect(await jobs()).toBe(1);
  });

  test("under a key or an id that another input was started under is refused", async () => {
    const service = starts();
    const id = parseJobId("my-job");
    await service.start({ ...START, id, idempotencyKey: "k" }, CALLER);
    const other = { ...START, input: { order: 8 } };
    for (const start of [{ ...other, idempotencyKey: "k" }, { ...other, id }, { ...START, id, agent: "claims" }]) {
      await expect(service.start(start, CALLER)).rejects.toMatchObject({ code: "E_CONFLICT" });
    }
    expect(await service.start({ ...START, id }, CALLER)).toEqual({ job: id, status: "pending", isNew: false });
    // Another tenant's key is another key.
    const theirs = await service.start({ ...START, idempotencyKey: "k" }, { ...CALLER, tenant: "other" });
    expect(theirs.isNew).toBe(true);
  });

  test.each(["lost", "applied"] as const)("whose answer is lost, and that was %s, starts one job", async (fate) => {
    let isFirst = true;
    const kv: StartJobsPorts["kv"] = {
      get: (key, options) => local.kv.get(key, options),
      usage: () => local.kv.usage(),
      transact: async (...args: Parameters<KvStore["transact"]>) => {
        if (!isFirst) return local.kv.transact(...args);
        isFirst = false;
        if (fate === "applied") await local.kv.transact(...args);
        throw new AetherError("E_TIMEOUT", "no answer");
      },
    };
    expect(await starts({ kv }).start(START, CALLER)).toMatchObject({ isNew: true, status: "pending" });
    expect(await jobs()).toBe(1);
  });

  test("with a pin that was collected just now takes the next one", async () => {
    const gone = "b".repeat(64) as Digest;
    const asked: (Digest | undefined)[] = [];
    const pins: StartJobsPorts["pins"] = {
      ...pinsOf(),
      resolve: (_, options) => {
        asked.push(options?.isGone);
        return Promise.resolve(options?.isGone === undefined ? gone : PIN);
      },
    };
    expect((await starts({ pins }).start(START, CALLER)).isNew).toBe(true);
    expect(asked).toEqual([undefined, gone]);
  });

  test("is refused before anything is there of it: too large, too many, too full, no plain data", async () => {
    const large = { ...START, input: "x".repeat(JOB_TOLD_BYTES_MAX + 1) };
    await expect(starts().start(large, CALLER)).rejects.toMatchObject({ code: "E_TOO_LARGE" });
    await expect(starts({ queued: () => 10 }).start(START, CALLER)).rejects.toMatchObject({ code: "E_OVERLOADED" });
    const full = Object.assign(Object.create(local.kv) as KvStore, { usage: () => ({ liveBytes: 9, quotaBytes: 9 }) });
    await expect(starts({ kv: full }).start(START, CALLER)).rejects.toMatchObject({ code: "E_QUOTA" });
    await expect(starts().start({ ...START, input: () => 1 }, CALLER)).rejects.toMatchObject({ code: "E_INVALID" });
    const attributes = Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`a${index}`, "x"]));
    await expect(starts().start({ ...START, attributes }, CALLER)).rejects.toMatchObject({ code: "E_TOO_LARGE" });
    expect(await jobs()).toBe(0);
  });

  test("whose input is certainly wrong is refused with its place, and nothing is there of it", async () => {
    const pins = pinsOf(TAKES_NUMBERS);
    const wrong = { ...START, input: { order: "7" }, id: parseJobId("job-7"), idempotencyKey: "order-7" };
    const issues = [{ path: ["order"], message: "expected number, found string" }];
    const reserved: JobId[] = [];
    const here = { reserve: (job: JobId) => void reserved.push(job), run: () => 0, giveUp: () => 0 };
    for (const start of [wrong, { ...START, input: wrong.input }]) {
      await expect(starts({ pins, here }).start(start, CALLER)).rejects.toMatchObject({
        code: "E_INVALID", outcome: "not-applied", details: { issues },
      });
    }
    expect((await local.kv.list({ prefix: prefixOf({ kind: "jobs" }) })).entries).toEqual([]);
    expect(reserved).toEqual([]);
    const right = await starts({ pins }).start({ ...wrong, input: { order: 7 } }, CALLER);
    expect(right).toMatchObject({ isNew: true });
  });

  test.each(["id", "idempotencyKey"] as const)(
    "that is repeated with its %s is the same job, whatever its agent takes by now", async (by) => {
      const start = { ...START, input: { order: "7" }, [by]: parseJobId("job-7") };
      const { job } = await starts().start(start, CALLER);
      const now = starts({ pins: pinsOf(TAKES_NUMBERS) }, 2);
      expect(await now.start(start, CALLER)).toEqual({ job, status: "pending", isNew: false });
      await expect(now.start({ ...start, input: { order: "8" } }, CALLER)).rejects.toMatchObject({ code: "E_INVALID" });
      expect(await jobs()).toBe(1);
    },
  );

  test("has the needs of its agent and its own, and is refused when no node can have both", async () => {
    const needs = { labels: { zone: "a" }, agentMax: 2 };
    const pins = { ...pinsOf(), needsOf: () => Promise.resolve(needs) };
    const asked: unknown[] = [];
    const here = { reserve: (_: JobId, queued: unknown) => void asked.push(queued), run: () => 0, giveUp: () => 0 };
    const { job } = await starts({ pins, here }).start({ ...START, labels: { gpu: "yes", zone: "a" } }, CALLER);
    const both = { labels: { zone: "a", gpu: "yes" }, agentMax: 2 };
    expect(asked).toEqual([{ agent: "refunds", tenant: "default", ...both }]);
    const { view } = await jobStore(clock, local.kv).load({ partition: 0, job });
    expect(view.row).toMatchObject(both);
    const queued = await local.kv.list({ prefix: prefixOf({ kind: "job-queue" }) });
    expect(queued.entries.map(({ value }) => parseQueueRow(value))).toMatchObject([both]);
    const other = starts({ pins }).start({ ...START, labels: { zone: "b" } }, CALLER);
    await expect(other).rejects.toMatchObject({ code: "E_INVALID", details: { labels: { zone: "a" } } });
    const many = Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`l${at}`, "x"]));
    await expect(starts().start({ ...START, labels: many }, CALLER)).rejects.toMatchObject({ code: "E_TOO_LARGE" });
    await expect(starts().start({ ...START, labels: { "A B": "" } }, CALLER)).rejects.toMatchObject({
      code: "E_INVALID",
    });
  });

  test("may take as long as its agent says, or less", async () => {
    const pins = { ...pinsOf(), needsOf: () => Promise.resolve({ maxDurationMs: 7_200_000 }) };
    const service = starts({ pins });
    const longestOf = async (start: Partial<StartJob>, from = service): Promise<number | undefined> => {
      const { job } = await from.start({ ...START, ...start }, CALLER);
      return (await jobStore(clock, local.kv).load({ partition: 0, job })).view.spec.maxDurationMs;
    };
    expect(await longestOf({})).toBe(7_200_000);
    expect(await longestOf({ maxDurationMs: 5 })).toBe(5);
    expect(await longestOf({ maxDurationMs: 5 }, starts({}, 2))).toBe(5);
    expect(await longestOf({}, starts({}, 3))).toBeUndefined();
    await expect(service.start({ ...START, maxDurationMs: 7_200_001 }, CALLER)).rejects.toMatchObject({
      code: "E_INVALID", message: expect.stringContaining("its agent says 2 hours at most") as string,
    });
    expect((await local.kv.list({ prefix: prefixOf({ kind: "job-timers" }) })).entries).toHaveLength(3);
  });

  test("on a node with room is created and claimed at once, and run with its log", async () => {
    const ran: LoadedJob[] = [];
    const givenUp: JobId[] = [];
    const here = {
      reserve: () => life("a"),
      run: (job: LoadedJob) => ran.push(job),
      giveUp: (job: JobId) => givenUp.push(job),
    };
    const { job, status } = await starts({ here }).start({ ...START, idempotencyKey: "k" }, CALLER);
    expect(status).toBe("running");
    const [run] = ran;
    expect(run?.view).toMatchObject({ row: { owner: life("a"), epoch: 1 }, head: { seq: 2 } });
    const loaded = await jobStore(clock, local.kv).load({ partition: 0, job });
    expect(loaded.log.map((bytes) => Buffer.from(bytes))).toEqual(run?.log.map((bytes) => Buffer.from(bytes)));
    expect((await local.kv.list({ prefix: prefixOf({ kind: "job-queue" }) })).entries).toEqual([]);
    // The same start again is not run again.
    await starts({ here }, 2).start({ ...START, idempotencyKey: "k" }, CALLER);
    expect(ran).toHaveLength(1);
    expect(givenUp).toHaveLength(1);
  });
});

describe("the cluster's uid", () => {
  test("is drawn once, whoever asks", async () => {
    const asked = [1, 2, 3].map((seed) => clusterUid(new SeededRandom(seed), local.kv));
    const [first, ...others] = await Promise.all(asked);
    expect(others).toEqual([first, first]);
    expect(await clusterUid(new SeededRandom(4), local.kv)).toBe(first);
    expect((await local.kv.get(formatKey({ kind: "cluster-uid" }))).entry?.value).toBe(first);
  });
});
