// What each rule reads of what it is shown: faults reach its threshold, a healthy cluster stays below it.
import { expect, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { AlertsConfig, limitsOf } from "../../../src/alerts/alerts-config.ts";
import {
  ALERT_NAMES, alertRule, FAILURES_WITHIN_MS, type AlertName, type Reading,
} from "../../../src/alerts/core/alert-rules.ts";
import { viewAlert } from "../../../src/alerts/core/alert-view.ts";
import { InstanceFailures } from "../../../src/alerts/instance-failures.ts";
import type { ClusterSight, NodeSight, OwnSight } from "../../../src/alerts/core/sight.ts";
import { EventHub } from "../../../src/metrics/events/event-hub.ts";

const NODE: NodeSight = {
  node: "n1", isHere: true, slotsBehind: 3, supportedVersion: 2,
  facts: { diskFreeBytes: 60, diskTotalBytes: 100, clockOffMs: 100 },
};
const HEALTHY: ClusterSight = {
  nodes: [NODE, { ...NODE, node: "n2" }],
  slices: [{ slice: "orders", active: 2, needed: 2, failures: 1 }],
  methods: [{ slice: "orders", method: "place" }],
  facts: { storeLiveBytes: 10, storeQuotaBytes: 100, oldestRunnableMs: 500, oldestUnknownMs: 0, jobsWaitingStuck: 0 },
  over: (series) => (series.endsWith("/callsPerSecond") ? 100 : series.endsWith("/errorsPerSecond") ? 1 : 0),
};
const ill = (node: Partial<NodeSight>): ClusterSight => ({ ...HEALTHY, nodes: [{ ...NODE, ...node }, NODE] });

/** Alerts of which something has reached the threshold. */
function high(sight: ClusterSight): readonly AlertName[] {
  return ALERT_NAMES.filter((name) => {
    const rule = alertRule(name);
    const readings = rule.by === "leader" ? rule.read(sight) ?? [] : [];
    return readings.some(({ value = 0 }) => value >= rule.threshold);
  });
}

test("a healthy cluster reaches no threshold", () => {
  expect(high(HEALTHY)).toEqual([]);
  // Nine calls of a minute are too few to say anything.
  expect(high({ ...HEALTHY, over: (series) => (series.startsWith("method/") ? 9 : 0) })).toEqual([]);
});

test.each<readonly [AlertName, ClusterSight]>([
  ["node-silent", ill({ facts: undefined })],
  ["version-differs", ill({ supportedVersion: 1 })],
  ["node-behind", ill({ slotsBehind: 9_000 })],
  ["calls-fail", { ...HEALTHY, over: (series) => (series.startsWith("method/") ? 10 : 0) }],
  ["slice-below-min", { ...HEALTHY, slices: [{ slice: "orders", active: 1, needed: 2, failures: 0 }] }],
])("%s reaches its threshold, and nothing else does", (name, sight) => {
  expect(high(sight)).toEqual([name]);
});

test("failures of instances grow old whatever becomes of the wall clock", () => {
  const clock = { now: 0, wall: 7_200_000, nowMs: () => clock.now, wallMs: () => clock.wall };
  const hub = new EventHub({ node: parseNodeId("n1"), incarnation: 1 });
  const failures = new InstanceFailures(clock, hub);
  failures.start();
  const fields = {
    slice: "shop", blueprint: "shop", node: "n1", artifact: "demo:shop:1.0.0", instance: 0, attempt: 1,
    code: "E_HANDLER", message: "no", isFatal: false, wasServing: true,
  } as const;
  hub.say({ kind: "instance.failed", fields }, clock.wall);
  for (const wall of [3_600_000, 10_800_000]) {
    clock.wall = wall;
    expect(failures.lately()).toEqual(new Map([["shop", 1]]));
  }
  clock.wall = 3_600_000;
  clock.now = FAILURES_WITHIN_MS + 1;
  expect(failures.lately()).toEqual(new Map());
});

const OWN: OwnSight = {
  node: "n1", quorum: { need: 2, have: 3 }, knowsLeader: true, facts: { applyStalledMs: 200 },
};

test.each<readonly [readonly AlertName[], Partial<OwnSight>]>([
  [[], {}],
  [[], { facts: undefined }],
  [["apply-stalled"], { facts: { applyStalledMs: 12_000 } }],
  [["no-leader"], { knowsLeader: false }],
  [["no-quorum"], { quorum: { need: 2, have: 1 }, knowsLeader: false }],
])("a node finds %j of itself", (names, sight) => {
  expect(ALERT_NAMES.filter((name) => {
    const rule = alertRule(name);
    const readings = rule.by === "node" ? rule.read({ ...OWN, ...sight }) ?? [] : [];
    return readings.some(({ value = 0 }) => value >= rule.threshold);
  })).toEqual(names);
});

test("what a node does not say is not known, and what nobody knows is no number", () => {
  const rules = (["disk-full", "disk-slow", "node-behind", "version-differs"] as const).map(alertRule);
  const silent = ill({ facts: undefined, slotsBehind: undefined, supportedVersion: undefined });
  for (const rule of rules) {
    const [first]: readonly Reading[] = rule.by === "leader" ? rule.read(silent) ?? [] : [];
    expect(first).toEqual({ subject: "node/n1", value: undefined });
  }
});

test("settings change thresholds and times, switch off, and name only what there is", () => {
  const config = AlertsConfig.parse({
    rules: { "disk-slow": { threshold: 500, forMs: 0 }, "clock-off": { enabled: false } },
  });
  expect(limitsOf("disk-slow", config)).toMatchObject({ threshold: 500, clearBelow: 250, forMs: 0 });
  expect(limitsOf("clock-off", config)).toBeUndefined();
  expect(limitsOf("disk-full", config)?.threshold).toBe(0.9);
  expect(AlertsConfig.safeParse({ rules: { "disk-slwo": {} } }).success).toBe(false);
  expect(AlertsConfig.safeParse({ rules: { "disk-slow": { threshold: 0 } } }).success).toBe(false);
});

test("every alert says in words of whom it is, and what to do", () => {
  for (const rule of ALERT_NAMES) {
    const stood = { phase: "firing", heldMs: 0, unknownMs: 0, sinceMs: 5, value: 0.5 } as const;
    const { text, action, id } = viewAlert({ rule, subject: "node/n1", ...stood });
    expect(text).not.toMatch(/[{}]/);
    expect(action).toMatch(/[.?]$/);
    expect(id).toBe(`${rule}/node/n1/5`);
  }
});
