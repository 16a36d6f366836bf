// Nodes that claim jobs from one queue, over one real store and on a manual clock.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseJobId, parseNodeId, type JobId } from "../../src/base/ids.ts";
import { decideFinish, decideRelease } from "../../src/jobs/core/life/decide.ts";
import { handBackParts, handBackTxn } from "../../src/jobs/core/life/hand-back.ts";
import type { StartContext } from "../../src/jobs/core/life/decide-start.ts";
import { CLASS_WEIGHTS } from "../../src/jobs/core/flow/fair-queue.ts";
import type { PermitLimits } from "../../src/jobs/core/flow/permits.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { rowKey } from "../../src/jobs/core/life/job-keys.ts";
import { parseJobRow, QUEUE_CLASSES, type JobRow, type QueueClass } from "../../src/jobs/core/rows.ts";
import type { PermitScope } from "../../src/kvstore/core/job-key.ts";
import { parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import type { Kv, KvWatch } from "../../src/kvstore/kv.ts";
import { atEveryCall } from "../support/interleaved-kv.ts";
import { ClaimNode } from "../support/claim-node.ts";
import { putPin, startJob, transitionOf } from "../support/job-log.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const TURNS = 102;
const END = { result: { kind: "completed", output: null } } as const;
let clock: ManualClock;
let store: LocalKv;
let nodes: ClaimNode[];
const failures: unknown[] = [];
const watches: KvWatch[] = [];

beforeEach(() => openStore());

afterEach(async () => {
  await closeStore();
  expect(failures).toEqual([]);
});

async function openStore(): Promise<void> {
  clock = new ManualClock();
  store = await createLocalKv({ clock });
  nodes = [];
  await passing(putPin(store.kv));
}

async function closeStore(): Promise<void> {
  for (const watch of watches.splice(0)) watch.cancel();
  for (const node of nodes) await passing(node.close());
  await passing(store.close());
}

/** Lets time pass until what goes on has ended. */
async function passing<T>(work: Promise<T>): Promise<T> {
  return await clock.settled(work, 5_000);
}

function start(name: string, over: Partial<StartContext> = {}): Promise<unknown> {
  return passing(startJob(store.kv, { ...over, job: parseJobId(name) }));
}

interface Setting {
  readonly labels?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly limits?: Partial<PermitLimits>;
}

function open(
  places: number, names: readonly string[], { labels = {}, limits = {} }: Setting = {},
): readonly ClaimNode[] {
  const members = Object.fromEntries(names.map((name) => [name, labels[name] ?? {}]));
  const opened = names.map((name) => new ClaimNode(clock, store.kv, {
    name, places, members, limits, onFatal: (error) => failures.push(error),
  }));
  for (const node of opened) node.start();
  nodes = [...nodes, ...opened];
  return opened;
}

function allClaimed(): readonly JobId[] {
  return nodes.flatMap(({ claimed }) => claimed);
}

/** Ends jobs of the node as they come, until so many have ended. */
function endAll(node: ClaimNode, count: number): { readonly ended: () => number } {
  let ended = 0;
  void (async () => {
    while (ended < count) {
      await clock.sleep(10);
      for (const [job, { view }] of node.running) {
        const decision = transitionOf(decideFinish(view, { events: [], atMs: clock.wallMs() }, END));
        const { kind } = await node.log.commit(decision);
        if (kind === "applied") ended += 1;
        node.letGo(job);
      }
    }
  })();
  return { ended: () => ended };
}

/** A store that answers nothing from the n-th call on, and does not do it either. */
function dyingKv(kv: Kv, n: number): { readonly kv: Kv; readonly calls: () => number; readonly isDead: () => boolean } {
  let calls = 0;
  const step = async <T>(call: () => Promise<T>): Promise<T> =>
    ++calls < n ? await call() : await new Promise<T>(() => undefined);
  return {
    calls: () => calls,
    isDead: () => calls >= n,
    kv: {
      get: (key, options) => step(() => kv.get(key, options)),
      list: (query, options) => kv.list(query, options),
      transact: (txn, options) => step(() => kv.transact(txn, options)),
      watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
      get revision() {
        return kv.revision;
      },
      get oldestRevision() {
        return kv.oldestRevision;
      },
    },
  };
}

/** As the nodes do it that take the owner for dead. */
async function handBackAll(name: string): Promise<void> {
  const node = parseNodeId(name);
  const { entries } = await passing(store.kv.list({ prefix: prefixOf({ kind: "job-owned", node }) }));
  const jobs = await Promise.all(entries.map(async ({ key: text }) => {
    const key = parseKey(text);
    if (key.kind !== "job-owned") throw new RangeError(text);
    const ref = { partition: key.partition, job: key.job };
    const { entry } = await passing(store.kv.get(rowKey(ref)));
    return { ref, row: parseJobRow(entry?.value), rowRevision: entry?.modRevision ?? 0 };
  }));
  for (const part of handBackParts(jobs)) {
    await passing(store.kv.transact(handBackTxn(node, part, undefined, clock.wallMs())));
  }
}

async function permits(): Promise<readonly string[]> {
  return (await passing(store.kv.list({ prefix: prefixOf({ kind: "job-permits" }) }))).entries.map(({ key }) => key);
}

async function rowOf(name: string): Promise<JobRow> {
  return parseJobRow((await passing(store.kv.get(rowKey(refOf(parseJobId(name)))))).entry?.value);
}

async function statuses(): Promise<readonly string[]> {
  const { entries } = await passing(store.kv.list({ prefix: prefixOf({ kind: "jobs" }) }));
  return entries.map(({ value }) => parseJobRow(value).status);
}

/** How many jobs of an agent, tenant or cluster ran at once at most, at any revision of the store. */
function watchRunning(): (scope: PermitScope, name: string) => number {
  const running = new Map<string, JobRow>();
  const most = new Map<string, number>();
  watches.push(store.kv.watch(prefixOf({ kind: "jobs" }), {
    onChanges: ({ changes }) => {
      for (const change of changes) {
        if (change.kind === "put") running.set(change.entry.key, parseJobRow(change.entry.value));
      }
      const counts = new Map<string, number>();
      for (const { status, agent, tenant } of running.values()) {
        if (status !== "running") continue;
        for (const name of [`agent/${agent}`, `tenant/${tenant}`, "cluster/all"]) {
          counts.set(name, (counts.get(name) ?? 0) + 1);
        }
      }
      for (const [name, count] of counts) most.set(name, Math.max(most.get(name) ?? 0, count));
    },
    onEnd: (reason) => failures.push(reason),
  }));
  return (scope, name) => most.get(`${scope}/${name}`) ?? 0;
}

async function end(node: ClaimNode, job: JobId): Promise<void> {
  const loaded = node.running.get(job);
  if (loaded === undefined) throw new RangeError(`${job} does not run there`);
  const decision = transitionOf(decideFinish(loaded.view, { events: [], atMs: clock.wallMs() }, END));
  expect((await passing(node.log.commit(decision))).kind).toBe("applied");
  node.letGo(job);
}

test("jobs of four classes begin in the shares of their classes, on three nodes", async () => {
  for (const queueClass of QUEUE_CLASSES) {
    const count = queueClass === "realtime" ? 100 : 30;
    for (let at = 0; at < count; at++) await start(`${queueClass}-${at}`, { queueClass });
  }
  open(1, ["n1", "n2", "n3"]);
  const classes = new Map<QueueClass, number>();
  for (let turn = 0; turn < TURNS; turn++) {
    await clock.advanceUntil(() => nodes.every(({ running }) => running.size === 1), 5_000);
    const node = nodes[turn % 3];
    const [job] = [...node?.running.keys() ?? []];
    if (node === undefined || job === undefined) throw new RangeError("every node has a job");
    const queueClass = job.split("-")[0] as QueueClass;
    classes.set(queueClass, (classes.get(queueClass) ?? 0) + 1);
    await end(node, job);
  }
  for (const name of QUEUE_CLASSES) {
    const share = (100 * (classes.get(name) ?? 0)) / TURNS;
    expect(Math.abs(share - CLASS_WEIGHTS[name])).toBeLessThanOrEqual(10);
  }
});

test("a job of a node that lets it go is claimed once by another one, or by the same again", async () => {
  const [n1] = open(4, ["n1"]);
  await start("a");
  await clock.advanceUntil(() => allClaimed().length === 1, 5_000);
  const loaded = n1?.running.get(parseJobId("a"));
  if (n1 === undefined || loaded === undefined) throw new RangeError("it runs");
  const released = transitionOf(decideRelease(loaded.view, { events: [], atMs: clock.wallMs() }));
  await passing(n1.log.commit(released));
  // It is in the queue while this node still holds it: the place counts, and it is not claimed over it.
  await clock.advance(200);
  expect(n1.claimed).toEqual(["a"]);
  n1.letGo(parseJobId("a"));
  await clock.advanceUntil(() => n1.claimed.length === 2, 5_000);
  expect(n1.running.get(parseJobId("a"))?.view.row.epoch).toBe(2);
});

test("nodes with room take what a full one is to take, and none is claimed twice", async () => {
  const full = open(0, ["n1"]);
  const others = open(60, ["n2", "n3"]);
  for (let at = 0; at < 60; at++) await start(`j${at}`);
  await clock.advanceUntil(() => allClaimed().length === 60, 10_000);
  expect(new Set(allClaimed()).size).toBe(60);
  expect(full[0]?.claimed).toEqual([]);
  for (const { claimed } of others) expect(claimed.length).toBeGreaterThan(10);
});

describe("limits of jobs that run at once", () => {
  test("are kept by nodes that claim as fast as they can, and each end lets the next job begin", async () => {
    const most = watchRunning();
    for (let at = 0; at < 30; at++) {
      await start(`j${at}`, { needs: { agentMax: 4 }, tenant: at % 2 === 0 ? "even" : "odd" });
    }
    for (let at = 0; at < 8; at++) await start(`free-${at}`, { agent: "other", tenant: "even" });
    open(20, ["n1", "n2", "n3"], { limits: { runningMax: 7, tenantRunningMax: 5 } });
    for (let ended = 0; ended < 38;) {
      await clock.advanceUntil(() => nodes.some(({ running }) => running.size > 0), 5_000);
      await clock.advance(100);
      for (const node of nodes) {
        for (const job of [...node.running.keys()].slice(0, 1 + (ended % 2))) {
          await end(node, job);
          ended += 1;
        }
      }
    }
    expect(new Set(allClaimed()).size).toBe(38);
    expect(most("agent", "refunds")).toBe(4);
    expect(most("tenant", "even")).toBeLessThanOrEqual(5);
    expect(most("cluster", "all")).toBe(7);
    expect(await permits()).toEqual([]);
  });

  test("say why a job is pending, and cost a job without limit nothing", async () => {
    const [n1] = open(5, ["n1"]);
    for (const name of ["a", "b"]) await start(name, { needs: { agentMax: 1 } });
    await start("free", { agent: "other" });
    await clock.advance(500);
    expect(allClaimed()).toEqual(["a", "free"]);
    expect(await permits()).toEqual(["job-permits/agent/refunds/000000"]);
    const waits = await rowOf("b");
    const runs = await rowOf("free");
    if (n1 === undefined) throw new RangeError("there is a node");
    expect(n1.reasons.why(waits)).toBe("1 jobs of agent refunds run, 1 may");
    expect(n1.reasons.why(runs)).toBeUndefined();
    expect(runs).not.toHaveProperty("permits");
    expect(n1.claimer.mustQueue({ agent: "other", tenant: "default" })).toBe(false);
    expect(n1.claimer.mustQueue({ agent: "refunds", tenant: "default", agentMax: 9 })).toBe(true);
  });

  test("hold whenever the owner of a job dies, and whatever it was about to do", async () => {
    const moments = await atEveryCall(async (n) => {
      await closeStore();
      await openStore();
      const most = watchRunning();
      for (const name of ["a", "b", "c"]) await start(name, { needs: { agentMax: 1 } });
      // It does nothing more from its n-th call on; what it did before counts.
      const dying = dyingKv(store.kv, n);
      const n1 = new ClaimNode(clock, dying.kv, {
        name: "n1", places: 3, members: { n1: {} }, onFatal: (error) => failures.push(error),
      });
      n1.start();
      const work = endAll(n1, 3);
      await clock.advanceUntil(() => dying.isDead() || work.ended() === 3, 20_000);
      await clock.advance(100);
      n1.claimer.stop();
      await handBackAll("n1");
      const others = open(3, ["n2", "n3"]);
      for (const node of others) endAll(node, 3);
      await clock.advanceUntil(() => work.ended() + others.flatMap(({ claimed }) => claimed).length >= 3, 20_000);
      await clock.advance(2_000);
      expect(await statuses()).toEqual(["completed", "completed", "completed"]);
      expect(most("agent", "refunds")).toBe(1);
      expect(await permits()).toEqual([]);
      return { calls: dying.calls() };
    });
    expect(moments).toBeGreaterThanOrEqual(9);
  });
});

test("a job that asks for labels waits for a node that has them, and says so", async () => {
  const [n1] = open(5, ["n1", "n2"], { labels: { n2: { gpu: "yes" } } });
  await start("plain");
  await start("gpu", { needs: { labels: { gpu: "yes" } } });
  await start("tpu", { needs: { labels: { tpu: "yes", zone: "a" } } });
  await clock.advance(2_000);
  expect(nodes[1]?.claimed).toContain("gpu");
  expect(allClaimed()).toHaveLength(2);
  const waits = await rowOf("tpu");
  expect(n1?.reasons.why(waits)).toBe("no node on duty has the labels tpu=yes, zone=a");
  // It keeps no place from others.
  expect(n1?.claimer.mustQueue({ agent: "refunds", tenant: "default" })).toBe(false);
  open(5, ["n3"], { labels: { n3: { tpu: "yes", zone: "a" } } });
  await clock.advanceUntil(() => nodes[2]?.claimed.length === 1, 5_000);
  expect(nodes[2]?.claimed).toEqual(["tpu"]);
});
