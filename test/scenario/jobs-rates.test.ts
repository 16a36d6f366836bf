// Calls that keep a rate of the whole cluster: nodes that take tokens and leaders that add them, over one real store
// and on a manual clock.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { RowView } from "../../src/cluster/row-view.ts";
import { unchanged } from "../../src/kvstore/core/guards.ts";
import { formatKey, LEADER_KEY, prefixOf } from "../../src/kvstore/core/key.ts";
import type { Compare } from "../../src/kvstore/core/schema.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import type { RateRow, ToolRate } from "../../src/jobs/core/flow/rate-bucket.ts";
import { parseRateRow } from "../../src/jobs/core/rows.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import { RateLimits } from "../../src/jobs/admission/rate-limits.ts";
import { RateRefill } from "../../src/jobs/admission/rate-refill.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const TEN: ToolRate = { name: "search", perSecond: 10, burst: 3 };
let clock: ManualClock;
let store: LocalKv;
let nodes: Node[];
/** Which node leads, and at which revision of the leader's row. */
let leader: { readonly node: Node; readonly fence: Compare } | undefined;
const failures: unknown[] = [];

interface Node {
  readonly limits: RateLimits;
  readonly refill: RateRefill;
  readonly rows: RowView<RateRow>;
  readonly tellLeadership: () => void;
  /** Times at which its calls were let go. */
  readonly calls: number[];
  readonly stop: AbortController;
}

beforeEach(async () => {
  clock = new ManualClock();
  store = await createLocalKv({ clock });
  nodes = [];
  leader = undefined;
});

afterEach(async () => {
  for (const { limits, refill, rows, stop } of nodes) {
    stop.abort();
    await passing(Promise.all([limits.close(), refill.close(), rows.close()]));
  }
  await passing(store.close());
  expect(failures).toEqual([]);
});

async function passing<T>(work: Promise<T>): Promise<T> {
  return await clock.settled(work, 5_000);
}

function openNode(kv: Kv = store.kv): Node {
  const env = { clock, random: new SeededRandom(nodes.length), telemetry: SILENT_TELEMETRY };
  const onFatal = (error: unknown): void => void failures.push(error);
  const rows = new RowView({ clock, log: SILENT_TELEMETRY.log }, kv, prefixOf({ kind: "job-rates" }), (key, value) =>
    key.kind === "job-rate" ? parseRateRow(value) : undefined);
  const listeners: (() => void)[] = [];
  const leadership = {
    fence: () => (leader?.node === node ? leader.fence : undefined),
    onChange: (listener: () => void) => void listeners.push(listener),
  };
  const node: Node = {
    limits: new RateLimits(env, { kv, rates: rows, metrics: createJobsMetrics(SILENT_TELEMETRY), onFatal }),
    refill: new RateRefill(env, { kv, rates: rows, leadership, onFatal }),
    rows,
    tellLeadership: () => listeners.forEach((tell) => tell()),
    calls: [],
    stop: new AbortController(),
  };
  rows.open();
  node.refill.start();
  nodes.push(node);
  return node;
}

/** From now on what another leader proposes is refused. */
async function lead(node: Node): Promise<void> {
  const then = [{ kind: "put", key: LEADER_KEY, value: { term: nodes.indexOf(node) } }] as const;
  const { revision } = await passing(store.kv.transact({ compare: [], then, else: [] }));
  leader = { node, fence: unchanged(LEADER_KEY, revision) };
  for (const { tellLeadership } of nodes) tellLeadership();
}

/** So many callers, each of which calls again as soon as it has called. */
function callers(node: Node, count: number, rate = TEN): void {
  for (let caller = 0; caller < count; caller++) {
    void (async () => {
      for (;;) {
        await node.limits.take(rate, node.stop.signal);
        node.calls.push(clock.nowMs());
      }
    })();
  }
}

/** Calls of all nodes in each second after `fromMs`. */
function perSecond(fromMs: number, seconds: number): readonly number[] {
  const all = nodes.flatMap(({ calls }) => calls);
  return Array.from({ length: seconds }, (_, second) =>
    all.filter((atMs) => atMs > fromMs + second * 1_000 && atMs <= fromMs + (second + 1) * 1_000).length);
}

/** Most calls in any second that begins with one. */
function mostInASecond(): number {
  const all = nodes.flatMap(({ calls }) => calls).sort((a, b) => a - b);
  return Math.max(0, ...all.map((fromMs) => all.filter((atMs) => atMs >= fromMs && atMs < fromMs + 1_000).length));
}

describe("ten per second, with a hundred callers", () => {
  test.each([1, 3])("are ten in each second on %i nodes", async (count) => {
    for (let at = 0; at < count; at++) openNode();
    const [first] = nodes;
    if (first === undefined) throw new RangeError("there is a node");
    await lead(first);
    const fromMs = clock.nowMs();
    for (const node of nodes) callers(node, Math.ceil(100 / count));
    await clock.advance(8_000);
    for (const calls of perSecond(fromMs, 8)) expect(Math.abs(calls - 10)).toBeLessThanOrEqual(1);
    // Every node gets some.
    for (const { calls } of nodes) expect(calls.length).toBeGreaterThan(5);
  });

  test("are never more than ten and the burst in a second, whenever the leader changes", async () => {
    for (let at = 0; at < 3; at++) openNode();
    const [first, second, third] = nodes;
    if (first === undefined || second === undefined || third === undefined) throw new RangeError("there are three");
    await lead(first);
    for (const node of nodes) callers(node, 30);
    await clock.advance(2_030);
    for (const [waitMs, node] of [[170, second], [430, third], [90, second], [20, first], [710, third]] as const) {
      await lead(node);
      await clock.advance(waitMs);
    }
    await clock.advance(3_000);
    expect(mostInASecond()).toBeLessThanOrEqual(13);
    const fromMs = clock.nowMs() - 2_000;
    for (const calls of perSecond(fromMs, 2)) expect(Math.abs(calls - 10)).toBeLessThanOrEqual(1);
  });

  test("go on at once up to the burst after a time without calls, and cost the store nothing meanwhile", async () => {
    const node = openNode();
    await lead(node);
    callers(node, 5);
    await clock.advance(2_000);
    node.stop.abort();
    await clock.advance(2_000);
    const { revision } = store.kv;
    await clock.advance(60_000);
    expect(store.kv.revision).toBe(revision);
    const fromMs = clock.nowMs();
    const again = openNode();
    await clock.advance(10);
    callers(again, 50);
    await clock.advance(1_010);
    expect(again.calls.filter((atMs) => atMs <= fromMs + 50).length).toBe(3);
    expect(mostInASecond()).toBeLessThanOrEqual(13);
  });

  test("are none without a leader, and callers that gave up take no turn", async () => {
    const node = openNode();
    const gone = new AbortController();
    const late: number[] = [];
    void node.limits.take(TEN, gone.signal).then(() => late.push(1));
    callers(node, 1);
    await clock.advance(5_000);
    expect(node.calls).toEqual([]);
    gone.abort();
    await lead(node);
    await clock.advance(1_000);
    expect([late, node.calls.length]).toEqual([[], 10]);
  });
});

test("what is taken too late is lost: a node that stood still makes no calls with it", async () => {
  let delayMs = 0;
  const slow: Kv = Object.assign(Object.create(store.kv) as Kv, {
    transact: async (...args: Parameters<Kv["transact"]>) => {
      const result = await store.kv.transact(...args);
      if (delayMs > 0) await clock.sleep(delayMs);
      return result;
    },
  });
  const node = openNode(slow);
  const leading = openNode();
  await lead(leading);
  callers(node, 3);
  await clock.advance(1_000);
  const before = node.calls.length;
  delayMs = 1_500;
  await clock.advance(2_900);
  // One was under way when it became slow.
  expect(node.calls.length - before).toBeLessThanOrEqual(1);
  delayMs = 0;
  await clock.advance(3_000);
  expect(node.calls.length - before).toBeGreaterThan(15);
});

test("a tool that says another rate by now changes it", async () => {
  const node = openNode();
  await lead(node);
  callers(node, 3);
  await clock.advance(1_000);
  node.stop.abort();
  const newer = openNode();
  callers(newer, 200, { ...TEN, perSecond: 100, burst: 25 });
  const fromMs = clock.nowMs() + 1_000;
  await clock.advance(3_000);
  for (const calls of perSecond(fromMs, 2)) expect(Math.abs(calls - 100)).toBeLessThanOrEqual(6);
  const key = formatKey({ kind: "job-rate", name: TEN.name });
  expect((await passing(store.kv.get(key))).entry?.value).toMatchObject({ perSecond: 100, burst: 25 });
});

describe("tokens of a model in a minute", () => {
  const TOKENS: ToolRate = { name: "model/judge/tokens", perSecond: 1_000, burst: 60_000 };

  /** Calls that reserve so many tokens, and have used some of them after a moment. */
  function askers(node: Node, count: number, { reserved, used }: { readonly reserved: number; readonly used: number }):
    void {
    for (let asker = 0; asker < count; asker++) {
      void (async () => {
        for (;;) {
          await node.limits.take(TOKENS, node.stop.signal, reserved);
          node.calls.push(clock.nowMs());
          await clock.sleep(20);
          node.limits.giveBack(TOKENS, reserved - used);
        }
      })();
    }
  }

  test.each([
    { reserved: 500, used: 500 }, { reserved: 500, used: 100 }, { reserved: 200, used: 500 },
  ])("are as many as are used: %o", async (tokens) => {
    for (let at = 0; at < 3; at++) openNode();
    const [first] = nodes;
    if (first === undefined) throw new RangeError("there is a node");
    await lead(first);
    for (const node of nodes) askers(node, 4, tokens);
    await clock.advance(4_000);
    const fromMs = clock.nowMs();
    await clock.advance(20_000);
    const calls = perSecond(fromMs, 20).reduce((sum, count) => sum + count, 0);
    // A thousand in a second, give or take what is under way.
    expect(Math.abs(calls * tokens.used - 20_000)).toBeLessThanOrEqual(2 * nodes.length * 4 * tokens.used);
    expect(calls * tokens.used).toBeGreaterThan(12_000);
  });

  test("a call that takes more than a minute has is made, and made up for", async () => {
    const node = openNode();
    await lead(node);
    askers(node, 1, { reserved: 90_000, used: 90_000 });
    await clock.advance(2_000);
    expect(node.calls.length).toBe(1);
    await clock.advance(85_000);
    expect(node.calls.length).toBe(1);
    await clock.advance(10_000);
    expect(node.calls.length).toBe(2);
  });
});
