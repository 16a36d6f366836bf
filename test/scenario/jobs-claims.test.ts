// Nodes that claim jobs from one queue, over one real store and on a manual clock.
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseJobId, type JobId } from "../../src/base/ids.ts";
import { decideFinish, decideRelease } from "../../src/jobs/core/life/decide.ts";
import type { StartContext } from "../../src/jobs/core/life/decide-start.ts";
import { CLASS_WEIGHTS } from "../../src/jobs/core/flow/fair-queue.ts";
import { QUEUE_CLASSES, type QueueClass } from "../../src/jobs/core/rows.ts";
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

beforeEach(async () => {
  clock = new ManualClock();
  store = await createLocalKv({ clock });
  nodes = [];
  await passing(putPin(store.kv));
});

afterEach(async () => {
  for (const node of nodes) await passing(node.claimer.close());
  await passing(store.close());
  expect(failures).toEqual([]);
});

/** Lets time pass until what goes on has ended. */
async function passing<T>(work: Promise<T>): Promise<T> {
  let isOver = false;
  void work.then(() => (isOver = true), () => (isOver = true));
  await clock.advanceUntil(() => isOver, 5_000);
  return work;
}

function start(name: string, over: Partial<StartContext> = {}): Promise<unknown> {
  return passing(startJob(store.kv, { ...over, job: parseJobId(name) }));
}

function open(places: number, ...names: readonly string[]): readonly ClaimNode[] {
  nodes = names.map((name) => new ClaimNode(clock, store.kv, {
    name, places, members: names, onFatal: (error) => failures.push(error),
  }));
  for (const node of nodes) node.claimer.start();
  return nodes;
}

function allClaimed(): readonly JobId[] {
  return nodes.flatMap(({ claimed }) => claimed);
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
  open(1, "n1", "n2", "n3");
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
  const [n1] = open(4, "n1");
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
  open(0, "n1");
  const full = nodes;
  const others = open(60, "n2", "n3");
  nodes = [...full, ...others];
  for (let at = 0; at < 60; at++) await start(`j${at}`);
  await clock.advanceUntil(() => allClaimed().length === 60, 10_000);
  expect(new Set(allClaimed()).size).toBe(60);
  expect(full[0]?.claimed).toEqual([]);
  for (const { claimed } of others) expect(claimed.length).toBeGreaterThan(10);
});
