// Calls of which only so many may be under way at once in the whole cluster: nodes that take places for them, over one
// real store and on a manual clock.
import { afterEach, beforeEach, expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { AetherError } from "../../src/base/errors.ts";
import { parseNodeId, parseNodeUid } from "../../src/base/ids.ts";
import type { NodeLife } from "../../src/cluster/core/rows.ts";
import { CallPlaces, type CallHolder } from "../../src/jobs/admission/call-places.ts";
import { PermitView } from "../../src/jobs/admission/permit-view.ts";
import { UNLIMITED_JOBS, type PermitLimit } from "../../src/jobs/core/flow/permits.ts";
import type { EffectId } from "../../src/jobs/core/ids.ts";
import { decideClaim, decideRelease } from "../../src/jobs/core/life/decide.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import { proposeTransition } from "../../src/jobs/job-store.ts";
import type { Decision, JobView } from "../../src/jobs/ports.ts";
import { prefixOf } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { endedJob, runningJob } from "../support/job-rows.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const LIMIT: PermitLimit = { scope: "call", name: "shop/search", max: 4 };
const UNLIMITED = { runningMax: UNLIMITED_JOBS, tenantRunningMax: UNLIMITED_JOBS };

let clock: ManualClock;
let store: LocalKv;
let nodes: Node[];
/** Calls under way, and the most there were. */
let underWay: number;
let most: number;
const failures: unknown[] = [];

interface Node {
  readonly life: NodeLife;
  readonly places: CallPlaces;
  readonly permits: PermitView;
  readonly stop: AbortController;
  calls: number;
}

beforeEach(async () => {
  clock = new ManualClock();
  store = await createLocalKv({ clock });
  nodes = [];
  underWay = 0;
  most = 0;
});

afterEach(async () => {
  for (const { places, permits, stop } of nodes) {
    stop.abort();
    await passing(Promise.all([places.close(), permits.close()]));
  }
  await passing(store.close());
  expect(failures).toEqual([]);
});

async function passing<T>(work: Promise<T>): Promise<T> {
  return await clock.settled(work, 5_000);
}

function openNode(kv: Kv = store.kv): Node {
  const life = {
    node: parseNodeId(`n${nodes.length + 1}`), uid: parseNodeUid(String(nodes.length).repeat(16)), incarnation: 1,
  };
  const permits = new PermitView({ clock, log: SILENT_TELEMETRY.log }, kv, UNLIMITED);
  const env = { clock, random: new SeededRandom(nodes.length), telemetry: SILENT_TELEMETRY };
  const metrics = createJobsMetrics(SILENT_TELEMETRY);
  const onFatal = (error: unknown): void => void failures.push(error);
  const places = new CallPlaces(env, { kv, permits, metrics, onFatal }, life);
  permits.open();
  const node: Node = { life, places, permits, stop: new AbortController(), calls: 0 };
  nodes.push(node);
  return node;
}

async function jobOf({ life }: Node, id: string): Promise<JobView> {
  return await passing(runningJob(store.kv, id, life));
}

function holderOf({ ref, row: { epoch } }: JobView, call = 0): CallHolder {
  return { ref, epoch, effectId: `${ref.job}/${call}` as EffectId };
}

/** So many callers of a job, each of which calls again as soon as its call is over. */
function callers(node: Node, job: JobView, count: number, limit = LIMIT): void {
  for (let caller = 0; caller < count; caller++) {
    void (async () => {
      for (;;) {
        const place = await node.places.take(limit, holderOf(job, caller), node.stop.signal);
        node.calls += 1;
        underWay += 1;
        most = Math.max(most, underWay);
        await clock.sleep(30);
        underWay -= 1;
        place.free();
      }
    })();
  }
}

async function commit(decision: Decision): Promise<JobView> {
  if (decision.kind === "refused") throw new RangeError(decision.reason);
  const verdict = await passing(proposeTransition(store.kv, decision));
  if (verdict.kind !== "applied") throw new RangeError(verdict.kind);
  return verdict.view;
}

async function placesTaken(): Promise<number> {
  return (await passing(store.kv.list({ prefix: prefixOf({ kind: "job-permits" }) }))).entries.length;
}

test.each([1, 3])("no more are under way than may be, and every one of %i nodes gets its turn", async (count) => {
  for (let at = 0; at < count; at++) {
    const node = openNode();
    callers(node, await jobOf(node, `job-${at}`), 20);
  }
  await clock.advance(10_000);
  expect([most, await placesTaken()]).toEqual([4, 4]);
  // Some ten milliseconds between two calls at the same place, at most.
  for (const { calls } of nodes) expect(calls).toBeGreaterThan(4 * 10_000 / 40 / count / 2);
});

test("a call that gave up takes no place, and places that nobody needs are rows no more", async () => {
  const node = openNode();
  const job = await jobOf(node, "job");
  const held = await Promise.all([0, 1, 2, 3].map((call) =>
    passing(node.places.take(LIMIT, holderOf(job, call), node.stop.signal))));
  const gone = new AbortController();
  let isLet = false;
  void node.places.take(LIMIT, holderOf(job, 4), gone.signal).then(() => (isLet = true));
  await clock.advance(100);
  gone.abort();
  for (const place of held) place.free();
  await clock.advance(100);
  expect([isLet, await placesTaken()]).toEqual([false, 0]);
});

test("limits of other names have places of their own, and a lower limit holds as soon as calls are over", async () => {
  const node = openNode();
  const job = await jobOf(node, "job");
  callers(node, job, 10);
  await clock.advance(200);
  node.stop.abort();
  const other = openNode();
  const theirs = await jobOf(other, "their-job");
  const before = underWay;
  callers(other, theirs, 3, { ...LIMIT, name: "mail/search" });
  await clock.advance(10);
  expect(underWay).toBe(before + 3);
  await clock.advance(100);
  other.stop.abort();
  await clock.advance(100);
  expect(underWay).toBe(0);
  most = 0;
  const last = openNode();
  callers(last, await jobOf(last, "last-job"), 10, { ...LIMIT, max: 2 });
  await clock.advance(1_000);
  expect(most).toBe(2);
});

test("places of an owner that is not one any more are taken by others, without anybody seeing a node die", async () => {
  const dead = openNode();
  const job = await jobOf(dead, "job");
  for (const call of [0, 1, 2, 3]) await passing(dead.places.take(LIMIT, holderOf(job, call), dead.stop.signal));
  const living = openNode();
  const theirs = await jobOf(living, "their-job");
  callers(living, theirs, 1);
  await clock.advance(5_000);
  expect(living.calls).toBe(0);
  const released = await commit(decideRelease(job, { events: [], atMs: clock.wallMs() }));
  await clock.advance(2_000);
  expect(living.calls).toBeGreaterThan(10);
  // Another owner's calls have places of their own.
  const claimed = await commit(decideClaim(released, { life: living.life, atMs: clock.wallMs() }));
  expect(claimed.row.epoch).toBe(job.row.epoch + 1);
  callers(living, claimed, 10);
  await clock.advance(1_000);
  expect([most, await placesTaken()]).toEqual([4, 4]);
});

test("places of a job that has ended, or is not there any more, are taken", async () => {
  const living = openNode();
  const ended = await passing(endedJob(store.kv, "ended"));
  const dead = openNode();
  for (const call of [0, 1]) await passing(dead.places.take(LIMIT, holderOf(ended, call), dead.stop.signal));
  const never = { ...holderOf(ended), ref: { partition: 0, job: "never" as JobView["ref"]["job"] } };
  for (const _ of [0, 1]) await passing(dead.places.take(LIMIT, never, dead.stop.signal));
  callers(living, await jobOf(living, "job"), 4);
  await clock.advance(1_000);
  expect(living.calls).toBeGreaterThan(40);
});

test("a place that was given without an answer is found by the node that it was given to", async () => {
  let isLost = true;
  const losing: Kv = Object.assign(Object.create(store.kv) as Kv, {
    transact: async (...args: Parameters<Kv["transact"]>) => {
      const result = await store.kv.transact(...args);
      if (!isLost) return result;
      isLost = false;
      throw new AetherError("E_TIMEOUT", "no answer", { outcome: "unknown" });
    },
  });
  const node = openNode(losing);
  callers(node, await jobOf(node, "job"), 4);
  await clock.advance(5_000);
  expect([most, await placesTaken()]).toEqual([4, 4]);
});
