// What is left of jobs that ended, over the real store: taken away by whoever leads, when its time is over.
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { sha256 } from "../../src/base/digest.ts";
import { AetherError } from "../../src/base/errors.ts";
import { parseJobId } from "../../src/base/ids.ts";
import type { Telemetry } from "../../src/env/telemetry.ts";
import { JobsConfig } from "../../src/jobs/config.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { COLLECTED_PER_TXN } from "../../src/jobs/core/life/collect.ts";
import { decideAppend, decideClaim, decideFinish } from "../../src/jobs/core/life/decide.ts";
import { rowKey, untoldKey } from "../../src/jobs/core/life/job-keys.ts";
import { judgeStart, decideStart } from "../../src/jobs/core/life/decide-start.ts";
import { JobsService } from "../../src/jobs/doors/jobs-service.ts";
import { JobExport } from "../../src/jobs/doors/job-export.ts";
import { parseJobRow } from "../../src/jobs/core/rows.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import type { JobView } from "../../src/jobs/ports.ts";
import type { JobArchive } from "../../src/jobs/retention/job-archive.ts";
import { createJobArchive } from "../../src/jobs/retention/job-archive-adapter.ts";
import { JobCollector } from "../../src/jobs/retention/job-collector.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { formatKey, LEADER_KEY } from "../../src/kvstore/core/key.ts";
import type { Compare, Op } from "../../src/kvstore/core/schema.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { jobStore, life, putPin, startContext, startJob, stepDone, transitionOf, viewOf } from "../support/job-log.ts";
import { verdictOf } from "../support/exported-job.ts";
import { atEveryCall, interleavedKv } from "../support/interleaved-kv.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { passTime } from "../support/passing-time.ts";
import { createTestTelemetry, type LogLine } from "../unit/api/test-telemetry.ts";

const KEEP_MS = 60_000;
const KEEP_OUTCOME_MS = 300_000;

let clock: ManualClock;
let local: LocalKv;
let collectors: JobCollector[];
let counts: unknown[];
let log: LogLine[];

beforeEach(async () => {
  clock = new ManualClock();
  local = await createLocalKv();
  await putPin(local.kv);
  [collectors, counts, log] = [[], [], []];
});

afterEach(async () => {
  for (const collector of collectors) await collector.close();
  await local.close();
});

/** Lets time pass, and what then has to be done be done: the store's time is real. */
function pass(durationMs: number): Promise<void> {
  return passTime({ clock, kv: local.kv }, durationMs);
}

interface Leading {
  /** Undefined while this node does not lead. */
  fence: Compare | undefined;
}

function openCollector(kv: Kv = local.kv, archive?: JobArchive): Leading {
  const leading: Leading = { fence: unchanged(LEADER_KEY, 0) };
  const telemetry: Telemetry = {
    ...createTestTelemetry(log), counter: ({ name }) => ({ add: (_n, labels) => counts.push([name, labels]) }),
  };
  const collector = new JobCollector({ clock, telemetry }, {
    kv,
    leadership: { fence: () => leading.fence, onChange: () => undefined },
    metrics: createJobsMetrics(telemetry),
    ...(archive === undefined ? {} : { archive }),
    onFatal: (error) => expect.unreachable(String(error)),
  }, JobsConfig.parse({ keepMs: KEEP_MS, keepOutcomeMs: KEEP_OUTCOME_MS }));
  collectors.push(collector);
  collector.start();
  return leading;
}

async function startNamed(id: string, steps = 0): Promise<JobView> {
  const context = { job: parseJobId(id), atMs: clock.wallMs(), startKey: sha256(`key ${id}`) };
  const started = await startJob(local.kv, context);
  const store = jobStore(clock, local.kv);
  const at = { atMs: clock.wallMs() };
  let view = viewOf(await store.commit(transitionOf(decideClaim(started, { life: life("a"), ...at }))));
  for (let step = 1; step <= steps; step++) {
    view = viewOf(await store.commit(transitionOf(decideAppend(view, { events: [stepDone(`s${step}`)], ...at }))));
  }
  return view;
}

async function end(view: JobView): Promise<void> {
  const result = { kind: "completed", output: view.ref.job } as const;
  const decision = transitionOf(decideFinish(view, { events: [], atMs: clock.wallMs() }, { result }));
  viewOf(await jobStore(clock, local.kv).commit(decision));
}

function service(): JobsService {
  const watch = { listen: () => () => undefined };
  const pending = { why: () => undefined };
  return new JobsService({ clock }, { kv: local.kv, watch, pending });
}

/** Everything in the store that is of jobs, by key. */
async function keysLeft(): Promise<readonly string[]> {
  const { entries } = await local.kv.list({ prefix: "job", limit: 1_000 });
  return entries.map(({ key }) => key).filter((key) => !key.startsWith("job-pins/"));
}

async function startAgain(id: string): Promise<ReturnType<typeof judgeStart>> {
  const decision = decideStart(startContext({ job: parseJobId(id), startKey: sha256(`key ${id}`) }));
  if (decision.kind === "refused") throw new RangeError(decision.reason);
  return judgeStart(decision, await local.kv.transact(decision.txn));
}

describe("a job that has ended", () => {
  test("loses its log when that was kept long enough, and keeps its outcome, its id and its key", async () => {
    await end(await startNamed("a", 3));
    openCollector();
    await pass(KEEP_MS - 1);
    expect((await service().events(parseJobId("a"), {})).events).toHaveLength(6);
    await pass(KEEP_MS);
    await expect(service().events(parseJobId("a"), {})).rejects.toMatchObject({
      code: "E_NOT_FOUND", message: expect.stringContaining("only its outcome is kept"),
    });
    const shown = await service().show(parseJobId("a"));
    expect(shown).toMatchObject({
      row: { status: "completed", collectedMs: expect.any(Number) }, head: { seq: 6 }, spec: { input: null }, tools: [],
      result: { kind: "completed", output: "a" },
    });
    expect(counts).toEqual([["aether_jobs_collected_total", { what: "log" }]]);
    const left = (await keysLeft()).map((key) => key.split("/")[0]);
    expect(left).toEqual([
      "job-agents", "job-data", "job-data", "job-data", "job-starts", "jobs-collected", "jobs",
    ].sort((a, b) => left.indexOf(a) - left.indexOf(b)));
    expect(await service().result(parseJobId("a"), 0)).toEqual({ kind: "completed", output: "a" });
    const again = startContext({ job: parseJobId("b"), startKey: sha256("key a"), uid: "9".repeat(32) as never });
    const decision = decideStart(again);
    if (decision.kind === "refused") throw new RangeError(decision.reason);
    expect(judgeStart(decision, await local.kv.transact(decision.txn)))
      .toEqual({ kind: "taken", by: "key", job: "a", isSame: true });
  });

  test("is forgotten when its outcome was kept long enough: its id and key are new again", async () => {
    await end(await startNamed("a", 1));
    openCollector();
    await pass(KEEP_MS);
    await pass(KEEP_OUTCOME_MS);
    await pass(KEEP_MS);
    expect(await keysLeft()).toEqual([]);
    expect(counts).toEqual([
      ["aether_jobs_collected_total", { what: "log" }], ["aether_jobs_collected_total", { what: "outcome" }],
    ]);
    expect(await startAgain("a")).toMatchObject({ kind: "started" });
  });

  test("is forgotten with what its webhooks could not be told of it when its log had gone", async () => {
    const view = await startNamed("a", 1);
    await end(view);
    openCollector();
    await pass(KEEP_MS);
    await collected("a");
    const last = [{ hook: "desk", event: "ended", seq: 4, atMs: 1, reason: "it answered 500" }];
    const put = { kind: "put", key: untoldKey(view.ref), value: { count: 1, last } } as const;
    await local.kv.transact({ compare: [], then: [put], else: [] });
    await pass(KEEP_OUTCOME_MS);
    await pass(KEEP_MS);
    expect(await keysLeft()).toEqual([]);
  });

  test("of many rows goes in several transactions", async () => {
    await end(await startNamed("a", COLLECTED_PER_TXN + 20));
    openCollector();
    await pass(2 * KEEP_MS);
    expect((await keysLeft()).filter((key) => key.includes("/log/"))).toEqual([]);
    expect((await service().show(parseJobId("a"))).result).toEqual({ kind: "completed", output: "a" });
  });
});

/** Files take their own time. */
async function collected(id: string): Promise<void> {
  await vi.waitFor(async () => {
    await clock.settle();
    expect((await service().show(parseJobId(id))).row.collectedMs).toBeDefined();
  });
}

describe("with an archive", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "aether-archive-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test("a log is there, whole and verified, before it goes", async () => {
    await end(await startNamed("a", 3));
    openCollector(local.kv, createJobArchive(join(directory, "deep", "down")));
    await pass(2 * KEEP_MS);
    await collected("a");
    const [file = "", ...more] = await readdir(directory, { recursive: true, withFileTypes: true })
      .then((found) => found.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name)));
    expect([more, basename(file)]).toEqual([[], expect.stringMatching(/^a\.[0-9a-f]{8}\.jsonl$/)]);
    const lines = (await readFile(file, "utf8")).trim().split("\n");
    expect(verdictOf(lines)).toMatchObject({ job: "a", events: 6, problems: [] });
    await expect(new JobExport(local.kv).open(parseJobId("a"))).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test("a job that another leader takes away meanwhile stops nobody", async () => {
    const calls = await atEveryCall(async (n) => {
      const view = await startNamed(`j${n}`, 1);
      await end(view);
      const seen = interleavedKv(local.kv, n, async () => {
        const { entry } = await local.kv.get(rowKey(view.ref));
        const value = { ...parseJobRow(entry?.value), collectedMs: clock.wallMs() };
        await local.kv.transact({ compare: [], then: [{ kind: "put", key: rowKey(view.ref), value }], else: [] });
      });
      openCollector(seen.kv, createJobArchive(directory));
      await pass(2 * KEEP_MS);
      await collected(`j${n}`);
      await collectors.pop()?.close();
      return { calls: seen.calls() };
    });
    expect(calls).toBeGreaterThan(5);
  });

  test("a job that cannot be archived for a reason of its own stays, and those behind it go", async () => {
    for (const id of ["a", "b"]) await end(await startNamed(id, 1));
    const kv: Kv = Object.assign(Object.create(local.kv) as Kv, {
      list: async (...args: Parameters<Kv["list"]>) => {
        const [{ prefix, revision }] = args;
        if (revision === undefined || !prefix.includes("/a/")) return await local.kv.list(...args);
        throw new AetherError("E_COMPACTED", "it is not held any more", { outcome: "none" });
      },
    });
    openCollector(kv, createJobArchive(directory));
    await pass(2 * KEEP_MS);
    await collected("b");
    expect(log).toContainEqual(expect.objectContaining({ event: "jobs.not-archived", job: "a" }));
    expect((await service().events(parseJobId("a"), {})).events).toHaveLength(4);
  });

  test("nothing goes that could not be archived, and it goes as soon as it can be", async () => {
    await end(await startNamed("a", 1));
    const blocked = join(directory, "archive");
    await writeFile(blocked, "no directory");
    openCollector(local.kv, createJobArchive(blocked));
    await pass(2 * KEEP_MS);
    const refusal = expect.objectContaining({ event: "jobs.not-archived", job: "a" });
    await vi.waitFor(() => expect(log).toContainEqual(refusal));
    expect((await service().events(parseJobId("a"), {})).events).toHaveLength(4);
    await rm(blocked);
    await pass(2 * KEEP_MS);
    await collected("a");
    expect(await readdir(blocked)).toHaveLength(1);
  });
});

describe("what is not taken away", () => {
  test("a job that runs, waits or stands in the queue, however old", async () => {
    const pending = await startJob(local.kv, { job: parseJobId("p") });
    await startNamed("r", 2);
    const before = await keysLeft();
    openCollector();
    await pass(1_000 * KEEP_OUTCOME_MS);
    expect(await keysLeft()).toEqual(before);
    expect(pending.row.status).toBe("pending");
  });

  test("a job that was begun anew after an end: only that end is forgotten", async () => {
    const view = await startNamed("a", 1);
    const stale = formatKey({ kind: "job-end", ...view.ref, endedMs: 5 });
    await local.kv.transact({ compare: [], then: [{ kind: "put", key: stale, value: null }], else: [] });
    openCollector();
    await pass(2 * KEEP_MS);
    expect((await local.kv.get(stale)).entry).toBeUndefined();
    expect((await service().events(parseJobId("a"), {})).events).toHaveLength(3);
  });

  test("a job whose row is damaged: it is told, and those behind it go", async () => {
    for (const id of ["a", "b"]) await end(await startNamed(id, 1));
    const damaged: Op = { kind: "put", key: rowKey(refOf(parseJobId("a"))), value: { damaged: true } };
    await local.kv.transact({ compare: [], then: [damaged], else: [] });
    openCollector();
    await pass(2 * KEEP_MS);
    expect((await keysLeft()).filter((key) => key.includes("/log/")).every((key) => key.includes("/a/"))).toBe(true);
    expect(log).toContainEqual(expect.objectContaining({ event: "jobs.not-collected", job: "a" }));
    expect((await service().show(parseJobId("b"))).row.collectedMs).toBeDefined();
  });

  test("a job whose end its parent was not told yet; it goes as soon as that is done", async () => {
    const view = await startNamed("a", 1);
    await end(view);
    const untold = formatKey({ kind: "job-outbox", ...view.ref, n: 4 });
    await local.kv.transact({ compare: [], then: [{ kind: "put", key: untold, value: {} }], else: [] });
    openCollector();
    await pass(2 * KEEP_MS);
    expect((await service().events(view.ref.job, {})).events).toHaveLength(4);
    await local.kv.transact({ compare: [], then: [{ kind: "delete", key: untold }], else: [] });
    await pass(2 * KEEP_MS);
    expect((await service().show(view.ref.job)).row.collectedMs).toBeDefined();
  });

  test("anything by a node that does not lead", async () => {
    await end(await startNamed("a", 1));
    const before = await keysLeft();
    openCollector().fence = undefined;
    await pass(2 * KEEP_MS);
    expect(await keysLeft()).toEqual(before);
  });
});

/** Fails at the n-th transaction, which is applied or not. */
function failingKv(kv: Kv, at: number, isApplied: boolean): { readonly kv: Kv; readonly calls: () => number } {
  let calls = 0;
  return {
    calls: () => calls,
    kv: {
      get: (key, options) => kv.get(key, options),
      list: (query, options) => kv.list(query, options),
      watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
      transact: async (txn, options) => {
        if (++calls !== at) return await kv.transact(txn, options);
        if (isApplied) await kv.transact(txn, options);
        throw new AetherError("E_TIMEOUT", "no answer");
      },
      get revision() {
        return kv.revision;
      },
      get oldestRevision() {
        return kv.oldestRevision;
      },
    },
  };
}

test.each([true, false])("a write without answer (applied: %s) is met again, wherever it is", async (isApplied) => {
  const moments = await atEveryCall(async (n) => {
    const failing = failingKv(local.kv, n, isApplied);
    await end(await startNamed(`j${n}`, COLLECTED_PER_TXN + 5));
    openCollector(failing.kv);
    await pass(2 * KEEP_MS);
    await pass(2 * KEEP_OUTCOME_MS);
    expect(await keysLeft()).toEqual([]);
    await collectors.pop()?.close();
    return { calls: failing.calls() };
  });
  // Two parts of the log, and the outcome.
  expect(moments).toBeGreaterThanOrEqual(3);
}, 60_000);
