import { describe, expect, test } from "vitest";
import { sha256 } from "../../../src/base/digest.ts";
import { parseArtifactId, parseJobId, parseNodeId, parseNodeUid } from "../../../src/base/ids.ts";
import type { NodeStateRow } from "../../../src/cluster/core/rows.ts";
import { JOB_EVENTS } from "../../../src/jobs/core/flow/job-events.ts";
import { formatKey, type AetherKey } from "../../../src/kvstore/core/key.ts";
import type { KvChange, KvValue } from "../../../src/kvstore/core/schema.ts";
import { makeEvent } from "../../../src/metrics/events/core/event.ts";
import { EVENT_KINDS } from "../../../src/metrics/events/core/event-kinds.ts";
import type { AnyEventRule } from "../../../src/metrics/events/core/event-rule.ts";
import { CLUSTER_EVENT_RULES } from "../../../src/metrics/events/open-events.ts";
import type { InstanceRow } from "../../../src/slices/core/instance-row.ts";
import type { RolloutRow } from "../../../src/slices/core/rollout-row.ts";
import type { ScaleRow } from "../../../src/slices/core/scale-row.ts";
import { blueprintOf, sliceOf } from "../../support/cluster-rows.ts";

const N1 = parseNodeId("n1");
const ORDERS = parseArtifactId("shop:orders:1.0.0");
const ORDERS_2 = parseArtifactId("shop:orders:2.0.0");
const RULES: readonly AnyEventRule[] = [...CLUSTER_EVENT_RULES, JOB_EVENTS];

type Written = readonly [key: AetherKey, value: unknown];
const GONE = undefined;

/** What the last of these revisions says; each is what one transaction writes. */
function told(...revisions: readonly (readonly Written[])[]): readonly string[] {
  const versions = new Map<string, { readonly created: number; readonly version: number }>();
  const rules = RULES.map((rule) => ({ ...rule, rows: rule.open() }));
  let lines: readonly string[] = [];
  revisions.forEach((written, at) => {
    const revision = at + 1;
    const changes = written.map(([key, value]): KvChange => {
      const text = formatKey(key);
      if (value === GONE) return { kind: "delete", key: text, modRevision: revision };
      const { created, version } = versions.get(text) ?? { created: revision, version: 0 };
      versions.set(text, { created, version: version + 1 });
      const entry = { key: text, value: value as KvValue, modRevision: revision, createRevision: created };
      return { kind: "put", entry: { ...entry, version: version + 1 } };
    });
    const drafts = rules.flatMap(({ prefix, rows }) => {
      return rows.take(changes.filter((change) => {
        return (change.kind === "put" ? change.entry.key : change.key).startsWith(prefix);
      }));
    });
    lines = drafts.map((draft, index) => {
      const event = makeEvent(draft, { kind: "store", revision, index }, 0);
      seen.add(event.kind);
      return `${event.subject} ${event.kind}: ${event.text}`;
    });
  });
  return lines;
}

const seen = new Set<string>();

const state: AetherKey = { kind: "node-state", node: N1 };
const intent: AetherKey = { kind: "node-intent", node: N1 };
function nodeRow(change: Partial<NodeStateRow>): NodeStateRow {
  return {
    state: "on-duty", uid: parseNodeUid("n".padEnd(16, "0")), incarnation: 1, peerAddress: "ws://n1",
    apiAddress: "http://n1", labels: {}, capacity: { cpus: 1, memoryBytes: 1 }, sinceMs: 5, ...change,
  };
}

const instance: AetherKey = { kind: "slice", node: N1, artifact: ORDERS, instance: 0 };
function instanceRow(change: Partial<InstanceRow>): InstanceRow {
  return {
    state: "LOAD", slice: "orders", blueprint: "shop", revision: 1, generation: 1, sinceMs: 5, attempt: 1, ...change,
  };
}

const scale: AetherKey = { kind: "scale", slice: "orders" };
function scaleRow(instances: number, base: number): ScaleRow {
  const direction = instances > base ? "up" : "down";
  return { blueprint: "shop", base, instances, direction, source: "rule busy", reason: "81 of 50", changedAtMs: 5 };
}

const rollout: AetherKey = { kind: "rollout", blueprint: "shop", slice: "orders" };
function rolloutRow(change: Partial<RolloutRow>): RolloutRow {
  return {
    strategy: "canary", stage: "shifting", sinceMs: 5,
    target: { artifact: ORDERS_2, specDigest: sha256("2"), revision: 2 },
    previous: { artifact: ORDERS, specDigest: sha256("1"), revision: 1 },
    ...change,
  };
}

const job: AetherKey = { kind: "job", partition: 0, job: parseJobId("j1") };
function jobRow(status: string, change: object = {}): object {
  return { agent: "refunds", status, sinceMs: 5, epoch: 0, ...change };
}

function blueprint(revision: number, orders: number, current = revision): readonly Written[] {
  const value = { ...blueprintOf({ orders: sliceOf("orders", orders) }), name: "shop", revision };
  return [
    [{ kind: "blueprint", name: "shop", revision }, value],
    [{ kind: "blueprint-current", name: "shop" }, { revision: current }],
  ];
}

describe("rows of nodes", () => {
  test.each<[string, readonly (readonly Written[])[], readonly string[]]>([
    ["a node that comes on duty for the first time", [[[state, nodeRow({})]]], [
      "node/n1 node.started: n1 has started (life 1)", "node/n1 node.on-duty: n1 is on duty",
    ]],
    ["a node that joins", [[[state, nodeRow({ state: "joining" })]]], [
      "node/n1 node.started: n1 has started (life 1)",
    ]],
    ["the same state once more", [[[state, nodeRow({})]], [[state, nodeRow({ labels: { a: "b" } })]]], []],
    ["a node that stops", [[[state, nodeRow({})]], [[state, nodeRow({ state: "draining", isStopping: true })]]], [
      "node/n1 node.draining: n1 is draining",
    ]],
    ["a node that is drained", [[[state, nodeRow({})]], [[state, nodeRow({ state: "drained" })]]], [
      "node/n1 node.drained: n1 is drained",
    ]],
    ["a node that is gone", [[[state, nodeRow({})]], [[state, nodeRow({ state: "gone" })]]], [
      "node/n1 node.gone: n1 is gone: others take its work",
    ]],
    ["another life", [[[state, nodeRow({})]], [[state, nodeRow({ incarnation: 2 })]]], [
      "node/n1 node.started: n1 has started (life 2)", "node/n1 node.on-duty: n1 is on duty",
    ]],
    ["a row that goes", [[[state, nodeRow({})]], [[state, GONE]]], ["node/n1 node.forgotten: n1 is forgotten"]],
    ["a drain", [[[intent, { want: "drained" }]]], ["node/n1 node.drain-asked: n1 is to be drained"]],
    ["a drain that is called off", [[[intent, { want: "drained" }]], [[intent, GONE]]], [
      "node/n1 node.drain-called-off: n1 is to be on duty again",
    ]],
    ["a damaged row", [[[state, { state: "odd" }]]], []],
    ["a leader", [[[{ kind: "leader" }, { epoch: 3, holder: { node: N1, uid: nodeRow({}).uid, incarnation: 1 } }]]], [
      "node/n1 leader.changed: n1 leads (epoch 3)",
    ]],
    ["the leader's beat", [[[{ kind: "leader-beat" }, { epoch: 3, count: 9 }]]], []],
  ])("%s", (_what, revisions, lines) => expect(told(...revisions)).toEqual(lines));
});

describe("rows of blueprints and instances", () => {
  test.each<[string, readonly (readonly Written[])[], readonly string[]]>([
    ["a new blueprint", [blueprint(1, 2)], ["blueprint/shop blueprint.applied: shop has revision 1; slices: 1"]],
    ["more instances", [blueprint(1, 2), blueprint(2, 3)], [
      "blueprint/shop blueprint.applied: shop has revision 2; slices: 1",
      "slice/orders slice.scaled: instances of orders: 3 instead of 2",
    ]],
    ["what was wanted before", [blueprint(1, 2), blueprint(2, 3), blueprint(3, 2)], [
      "blueprint/shop blueprint.went-back: shop has revision 3: the slices of revision 1",
      "slice/orders slice.scaled: instances of orders: 2 instead of 3",
    ]],
    ["the same as now", [blueprint(1, 2), blueprint(2, 2)], [
      "blueprint/shop blueprint.applied: shop has revision 2; slices: 1",
    ]],
    ["a blueprint that goes", [blueprint(1, 2), [
      [{ kind: "blueprint", name: "shop", revision: 1 }, GONE], [{ kind: "blueprint-current", name: "shop" }, GONE],
    ]], ["blueprint/shop blueprint.deleted: shop is deleted"]],
    ["a count that grows by load", [[[scale, scaleRow(3, 2)]]], [
      "slice/orders slice.scaled-by-load: instances of orders: 3 instead of 2 (rule busy): 81 of 50",
    ]],
    ["a count that shrinks again", [[[scale, scaleRow(3, 2)]], [[scale, scaleRow(2, 2)]]], [
      "slice/orders slice.scaled-by-load: instances of orders: 2 instead of 3 (rule busy): 81 of 50",
    ]],
    ["a count that is written once more", [[[scale, scaleRow(3, 2)]], [[scale, scaleRow(3, 2)]]], []],
    ["a count that goes with its blueprint", [[[scale, scaleRow(3, 2)]], [[scale, GONE]]], []],
    ["an instance that is placed", [[[instance, instanceRow({})]]], [
      "slice/orders instance.placed: orders/0 comes up on n1",
    ]],
    ["steps on its way", [[[instance, instanceRow({})]], [[instance, instanceRow({ state: "LOADING" })]]], []],
    ["an instance that serves", [[[instance, instanceRow({ state: "ACTIVATING" })]], [
      [instance, instanceRow({ state: "ACTIVE" })],
    ]], ["slice/orders instance.active: orders/0 serves on n1"]],
    ["an instance that fails", [[[instance, instanceRow({ state: "ACTIVE" })]], [[instance, instanceRow({
      state: "FAILED", error: { code: "E_WORKER_EXIT", message: "it left", fatal: false },
    })]]], ["slice/orders instance.failed: orders/0 failed on n1, E_WORKER_EXIT: it left"]],
    ["when it is tried again is noted", [
      [[instance, instanceRow({ state: "FAILED", error: { code: "E_X", message: "m", fatal: false } })]],
      [[instance, instanceRow({ state: "FAILED", error: { code: "E_X", message: "m", fatal: false, retryAtMs: 9 } })]],
    ], []],
    ["an instance that ends", [[[instance, instanceRow({ state: "UNLOADING" })]], [[instance, GONE]]], [
      "slice/orders instance.ended: orders/0 has ended on n1",
    ]],
  ])("%s", (_what, revisions, lines) => expect(told(...revisions)).toEqual(lines));
});

describe("rows of rollouts", () => {
  const VERSIONS = "shop:orders:1.0.0 to shop:orders:2.0.0";
  test.each<[string, readonly (readonly Written[])[], readonly string[]]>([
    ["one begins", [[[rollout, rolloutRow({})]]], [
      `slice/orders rollout.started: orders goes from ${VERSIONS}, canary`,
    ]],
    ["calls go over", [[[rollout, rolloutRow({})]], [[rollout, rolloutRow({ targetShare: 500 })]]], [
      "slice/orders rollout.share: orders: 5 % of the calls go to shop:orders:2.0.0",
    ]],
    ["it settles", [[[rollout, rolloutRow({})]], [[rollout, rolloutRow({ stage: "finishing" })]]], [
      "slice/orders rollout.settled: orders: shop:orders:2.0.0 has all calls",
    ]],
    ["it is done", [[[rollout, rolloutRow({})]], [[rollout, rolloutRow({ stage: "done" })]]], [
      "slice/orders rollout.done: orders runs shop:orders:2.0.0",
    ]],
    ["it turns back", [[[rollout, rolloutRow({})]], [
      [rollout, rolloutRow({ stage: "rolling-back", reason: "bad" })],
    ]], [
      "slice/orders rollout.turned-back: orders goes back to shop:orders:1.0.0: bad",
    ]],
    ["it is back", [[[rollout, rolloutRow({ stage: "rolling-back" })]], [
      [rollout, rolloutRow({ stage: "rolled-back" })],
    ]], ["slice/orders rollout.rolled-back: orders runs shop:orders:1.0.0 again"]],
    ["the same again after its end", [[[rollout, rolloutRow({ stage: "rolled-back" })]], [[rollout, rolloutRow({})]]], [
      `slice/orders rollout.started: orders goes from ${VERSIONS}, canary`,
    ]],
  ])("%s", (_what, revisions, lines) => expect(told(...revisions)).toEqual(lines));
});

describe("rows of jobs", () => {
  const waits = (reason: string): object => jobRow("waiting", { waiting: { reason, on: [], why: "look" } });
  test.each<[string, readonly (readonly Written[])[], readonly string[]]>([
    ["one begins", [[[job, jobRow("pending")]]], ["job/j1 job.started: j1 of refunds has begun"]],
    ["it runs", [[[job, jobRow("pending")]], [[job, jobRow("running")]]], []],
    ["it waits for its timer", [[[job, jobRow("running")]], [[job, waits("timer")]]], []],
    ["it waits for an approval", [[[job, jobRow("running")]], [[job, waits("approval")]]], [
      "job/j1 job.waits-for-person: j1 of refunds waits for a person: approval",
    ]],
    ["it is completed", [[[job, jobRow("running")]], [[job, jobRow("completed")]]], [
      "job/j1 job.completed: j1 of refunds is completed",
    ]],
    ["it fails", [[[job, jobRow("running")]], [[job, jobRow("failed")]]], ["job/j1 job.failed: j1 of refunds failed"]],
    ["it is cancelled", [[[job, jobRow("running")]], [[job, jobRow("cancelled")]]], [
      "job/j1 job.cancelled: j1 of refunds is cancelled",
    ]],
    ["its log is collected", [[[job, jobRow("failed")]], [[job, jobRow("failed", { collectedMs: 9 })]]], []],
    ["its row goes", [[[job, jobRow("failed")]], [[job, GONE]]], []],
    ["a damaged row", [[[job, { status: "odd" }]]], []],
  ])("%s", (_what, revisions, lines) => expect(told(...revisions)).toEqual(lines));
});

test("what a row says is the same whatever else its revision changes (E3)", () => {
  const alone = told([[state, nodeRow({})]], [[state, nodeRow({ state: "gone" })]]);
  const others: Written = [instance, instanceRow({ state: "LOADING" })];
  expect(told([[state, nodeRow({})], others], [others, [state, nodeRow({ state: "gone" })]])).toEqual(alone);
});

test("every kind that is read from the store is in these tables", () => {
  const ofStore = Object.entries(EVENT_KINDS).flatMap(([kind, { source }]) => (source === "store" ? [kind] : []));
  expect([...seen].sort()).toEqual(ofStore.sort());
});
