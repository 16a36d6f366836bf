// Owns: the leader's loop of control over the real store, where somebody writes at the moment that matters.
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { ClusterViews } from "../../../src/cluster/cluster-views.ts";
import { ControlLoop } from "../../../src/control/control-loop.ts";
import { ControlView } from "../../../src/control/control-view.ts";
import { ModelAdvisor } from "../../../src/control/model-advisor.ts";
import { openAdvisorModel } from "../../../src/control/advisor-model.ts";
import { unchanged } from "../../../src/kvstore/core/guards.ts";
import { formatKey, LEADER_KEY, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { Kv } from "../../../src/kvstore/kv.ts";
import { MetricsStore } from "../../../src/metrics/metrics-store.ts";
import { blueprintOf, sliceOf } from "../../support/cluster-rows.ts";
import { SILENT_TELEMETRY } from "../../support/cluster-world.ts";
import { interleavedKv } from "../../support/interleaved-kv.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** Two slices with more instances than they may have, so that both are to shrink in the first round. */
const RULES = "bounds: { \"*\": { min: 1, max: 3 } }";
const SCALES = ["a", "b"].map((slice) => formatKey({ kind: "scale", slice }));

/** Its wall clock may be set anew. */
class SetClock extends ManualClock {
  offMs = 0;

  override wallMs(): number {
    return super.wallMs() + this.offMs;
  }
}

let clock: SetClock;
let local: LocalKv;
let stop: (() => Promise<void>) | undefined;
const fatal: unknown[] = [];

beforeEach(async () => {
  clock = new SetClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  local = await opening;
  await put(formatKey({ kind: "blueprint", name: "shop", revision: 1 }),
    blueprintOf({ a: sliceOf("a", 5), b: sliceOf("b", 5) }));
  await put(formatKey({ kind: "blueprint-current", name: "shop" }), { revision: 1 });
  await put(formatKey({ kind: "control-rules" }), { text: RULES, by: "ann", atMs: 0 });
});

afterEach(async () => {
  await clock.settled(stop?.() ?? Promise.resolve(), 10_000);
  await clock.settled(local.close(), 10_000);
  expect(fatal.splice(0)).toEqual([]);
});

async function put(key: KeyText, value: unknown): Promise<void> {
  await clock.settled(local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] }), 10_000);
}

async function instancesOf(key: KeyText): Promise<unknown> {
  const { entry } = await clock.settled(local.kv.get(key), 10_000);
  return entry?.value;
}

/** A loop that leads, with its own way to the store. */
async function lead(kv: Kv): Promise<void> {
  const env = { clock, telemetry: SILENT_TELEMETRY, log: SILENT_TELEMETRY.log };
  const onFatal = (error: unknown): void => void fatal.push(error);
  const views = new ClusterViews(env, local.kv);
  const control = new ControlView(env, local.kv);
  const loop = new ControlLoop(env, {
    kv, views, control, onFatal,
    models: new ModelAdvisor(env, { open: openAdvisorModel, secrets: {}, onFatal }),
    leadership: { fence: () => unchanged(LEADER_KEY, 0), current: () => ({ node: parseNodeId("n1"), epoch: 1 }) },
    membership: { nodes: [] },
    ofLeader: { say: () => undefined },
    group: local.group,
    metrics: new MetricsStore(clock),
    time: clock,
  });
  views.open();
  control.open();
  await clock.settle();
  loop.start();
  stop = async () => {
    await loop.close();
    await control.close();
    await views.close();
  };
}

test("what is to shrink shrinks", async () => {
  await lead(local.kv);
  await clock.advance(1_500);
  for (const key of SCALES) expect(await instancesOf(key)).toMatchObject({ instances: 4 });
});

test.each([
  ["a pause", formatKey({ kind: "control-pause" }), { by: "ann", atMs: 0 }],
  ["a pin", formatKey({ kind: "control-pin", slice: "b" }), { by: "ann", atMs: 0 }],
  ["other rules", formatKey({ kind: "control-rules" }), { text: "rules: []", by: "ann", atMs: 0 }],
])("%s that comes while another slice is written is not overrun", async (_what, key, value) => {
  const { kv } = interleavedKv(local.kv, 1, async () => {
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
    // The loop's own copy has it, too, before the next slice is written.
    await clock.sleep(100);
  });
  await lead(kv);
  await clock.advance(1_500);
  expect(await instancesOf(formatKey({ kind: "scale", slice: "b" }))).toBeUndefined();
});

test.each([
  ["back", -3_600_000],
  ["forth", 3_600_000],
])("for how long a rule has held does not change when the wall clock is set %s by an hour", async (_where, offMs) => {
  await put(formatKey({ kind: "control-rules" }), { by: "ann", atMs: 0, text: JSON.stringify({
    bounds: { "*": { min: 1, max: 10 } },
    rules: [{ name: "fewer", slice: "a", when: "instances > 4", for: "10s", do: { remove: 1 } }],
  }) });
  const [scale = LEADER_KEY] = SCALES;
  await lead(local.kv);
  await clock.advance(5_500);
  clock.offMs = offMs;
  await clock.advance(4_000);
  expect(await instancesOf(scale)).toBeUndefined();
  await clock.advance(3_000);
  expect(await instancesOf(scale)).toMatchObject({ instances: 4 });
});
