import { describe, expect, test } from "vitest";
import type { MachineFacts } from "../../../src/api/services.ts";
import type { ClusterStatus } from "../../../src/cli/cluster-view.ts";
import {
  clockFindings, clusterFindings, type Finding, machineFindings, needsPerson, nodeFindings, type SeenNode,
} from "../../../src/cli/doctor/findings.ts";

const WELL: MachineFacts = {
  nodeVersion: "20.20.0",
  sync: { value: { medianMs: 1, maxMs: 300 } },
  space: { value: { freeBytes: 50e9, totalBytes: 100e9 } },
  descriptors: { value: { open: 100, limit: 65_536 } },
};
const NODE = { role: "voter", isLost: false, status: "on-duty", instances: 0, jobs: 0, address: "http://127.0.0.1:1",
  labels: {}, directory: null, lastSeenMs: 0, slotsBehind: 0, catchUp: null, supportedVersion: 3 };
const VIEW: ClusterStatus = {
  cluster: "test", node: "n1", version: 3, nodes: ["n1", "n2", "n3"].map((id) => ({ ...NODE, id })), differences: [],
  voters: ["n1", "n2", "n3"], pending: null, leader: { node: "n1", epoch: 1 },
  quorum: { need: 2, have: 3, canLose: 1 }, slots: { decided: 1, applied: 1 }, revision: 1,
};

function levelOf(findings: readonly Finding[], check: string): string | undefined {
  return findings.find((finding) => finding.check === check && finding.level !== "ok")?.level;
}

describe("a machine", () => {
  test.each<[string, string, Partial<MachineFacts>]>([
    ["node-version", "problem", { nodeVersion: "20.19.9" }],
    ["node-version", "problem", { nodeVersion: "18.20.0" }],
    ["disk-time", "warning", { sync: { value: { medianMs: 20, maxMs: 20 } } }],
    ["disk-time", "problem", { sync: { value: { medianMs: 200, maxMs: 200 } } }],
    ["disk-time", "unknown", { sync: { couldNot: "EROFS" } }],
    ["disk-space", "warning", { space: { value: { freeBytes: 1.9e9, totalBytes: 4e9 } } }],
    ["disk-space", "warning", { space: { value: { freeBytes: 9e9, totalBytes: 100e9 } } }],
    ["disk-space", "problem", { space: { value: { freeBytes: 4e8, totalBytes: 4e9 } } }],
    ["descriptors", "warning", { descriptors: { value: { open: 10, limit: 1_024 } } }],
    ["descriptors", "problem", { descriptors: { value: { open: 900, limit: 1_024 } } }],
    ["descriptors", "warning", { descriptors: { couldNot: "no /proc" } }],
  ])("%s is a %s", (check, level, facts) => {
    const findings = machineFindings("n1", { ...WELL, ...facts });
    expect(levelOf(findings, check)).toBe(level);
    expect(findings.filter((finding) => finding.level !== "ok")).toHaveLength(1);
  });

  test.each<[string, boolean, Partial<MachineFacts>]>([
    ["that is well", false, {}],
    ["whose disk takes no file", true, { sync: { couldNot: "EROFS" } }],
    ["that does not say what room it has", true, { space: { couldNot: "ENOENT" } }],
    ["that never says what files are open", false, { descriptors: { couldNot: "no /proc" } }],
    ["with a slow disk", false, { sync: { value: { medianMs: 20, maxMs: 20 } } }],
    ["with a very slow disk", true, { sync: { value: { medianMs: 200, maxMs: 200 } } }],
  ])("%s: needs a person: %s", (_what, expected, facts) => {
    expect(needsPerson(machineFindings("n1", { ...WELL, ...facts }))).toBe(expected);
  });

  test("that is well has nothing to say, one slow write included", () => {
    expect(machineFindings("n1", WELL).every(({ level }) => level === "ok")).toBe(true);
    expect(machineFindings("n1", { ...WELL, nodeVersion: "22.1.0" })[0]?.level).toBe("ok");
  });
});

describe("a cluster", () => {
  test.each<[string, string, Partial<ClusterStatus>]>([
    ["quorum", "problem", { quorum: { need: 2, have: 1, canLose: 0 } }],
    ["quorum", "problem", { quorum: { need: 2, have: 2, canLose: 0 } }],
    ["quorum", "warning", { voters: ["n1", "n2"], quorum: { need: 2, have: 2, canLose: 0 } }],
    ["leader", "warning", { leader: null }],
    ["versions", "warning", {
      version: 2, nodes: [{ ...NODE, id: "n1" }, { ...NODE, id: "n2", supportedVersion: 2 }],
    }],
    ["settings", "problem", { differences: [{ setting: "deployment.x", values: [{ node: "n1", value: 1 }] }] }],
    ["members", "problem", { nodes: [{ ...NODE, id: "n2", isLost: true }] }],
    ["lag", "warning", { nodes: [{ ...NODE, id: "n2", slotsBehind: 6_000 }] }],
    ["lag", "warning", {
      nodes: [{ ...NODE, id: "n2", catchUp: { kind: "log", slotsBehind: 6_000, bytesReceived: 0 } }],
    }],
  ])("%s is a %s", (check, level, change) => {
    const findings = clusterFindings({ ...VIEW, ...change });
    expect(levelOf(findings, check)).toBe(level);
    expect(findings.filter((finding) => finding.level !== "ok")).toHaveLength(1);
  });

  test("that is well has nothing to say, and one whose version is about to rise either", () => {
    expect(clusterFindings(VIEW).every(({ level }) => level === "ok")).toBe(true);
    expect(clusterFindings({ ...VIEW, version: 2 }).every(({ level }) => level === "ok")).toBe(true);
  });
});

describe("a node", () => {
  const seen = (id: string, change: Partial<SeenNode> = {}): SeenNode => ({
    id, isReady: true, machine: WELL, clockMs: 0, clockErrorMs: 1, store: { liveBytes: 1, quotaBytes: 100 }, ...change,
  });

  test("whose clock is off is told from those that agree, and not where the question took too long to tell", () => {
    const wrong = (nodes: readonly SeenNode[]): readonly (string | undefined)[] =>
      clockFindings(nodes).filter(({ level }) => level === "problem").map(({ of }) => of);
    expect(wrong([seen("n1"), seen("n2", { clockMs: -1_500 }), seen("n3", { clockMs: 20 })])).toEqual(["n2"]);
    expect(wrong([seen("n1"), seen("n2", { clockMs: 1_500, clockErrorMs: 700 }), seen("n3")])).toEqual([]);
    expect(wrong([])).toEqual([]);
  });

  test("that does not serve says why, and a store that is nearly full or full is told", () => {
    const notReady = nodeFindings(seen("n1", { isReady: false, reason: "it catches up" }));
    expect(notReady[0]).toMatchObject({ check: "ready", level: "problem", what: "it does not serve: it catches up" });
    const quota = (liveBytes: number): string | undefined =>
      levelOf(nodeFindings(seen("n1", { store: { liveBytes, quotaBytes: 100 } })), "quota");
    expect([79, 80, 100].map(quota)).toEqual([undefined, "warning", "problem"]);
  });
});
