import { beforeEach, describe, expect, test } from "vitest";
import { parseNodeId, type NodeId } from "../../../../src/base/ids.ts";
import type { LeaseResult } from "../../../../src/kvstore/kv-state.ts";
import { LeaseChecker } from "../../../sim/checkers/lease-checker.ts";
import { Violations } from "../../../sim/checkers/violations.ts";

const NODES = ["n1", "n2", "n3"].map(parseNodeId);
const [N1, N2] = NODES as [NodeId, NodeId];
const TTL_MS = 1_000;
const GRANTED: LeaseResult = { kind: "granted", lease: 1, ttlMs: TTL_MS };
const ENDED: LeaseResult = { kind: "ended", leases: [1], revision: 4, changes: [] };
const renewed = (renewals: number): LeaseResult => ({ kind: "renewed", leases: [{ lease: 1, renewals }], gone: [] });

let clocks: Map<NodeId, number>;
let violations: Violations;
let checker: LeaseChecker;

beforeEach(() => {
  clocks = new Map(NODES.map((node) => [node, 50]));
  violations = new Violations();
  const clockMs = (node: NodeId): number => clocks.get(node) ?? 0;
  checker = new LeaseChecker({ nodes: NODES, clockMs, isQuorum: (nodes) => nodes.size >= 2 }, violations);
  checker.applied(N1, GRANTED);
});

function pass(ms: number, nodes: readonly NodeId[] = NODES): void {
  for (const node of nodes) clocks.set(node, (clocks.get(node) ?? 0) + ms);
}

function propose(renewals: number): void {
  checker.proposed(N1, [{ lease: 1, renewals }]);
}

describe("the lease checker accepts", () => {
  test("the end of a lease that a quorum of clocks has seen idle", () => {
    pass(TTL_MS, [N1, N2]);
    propose(0);
    checker.applied(N1, ENDED);
    checker.applied(N2, ENDED);
    expect(violations.first).toBeUndefined();
    expect(checker.held).toEqual([]);
    expect(checker.stats).toEqual({ leasesGranted: 1, leasesExpired: 1 });
  });

  test("a proposal that came too late for a renewal", () => {
    pass(TTL_MS);
    propose(0);
    checker.applied(N1, renewed(1));
    expect(violations.first).toBeUndefined();
    expect(checker.held).toEqual([1]);
  });

  test("the end of a lease that somebody revoked", () => {
    checker.revoking(1);
    checker.applied(N1, ENDED);
    expect(violations.first).toBeUndefined();
    expect(checker.stats.leasesExpired).toBe(0);
  });

  test("a replica that applies again what others have applied before", () => {
    checker.applied(N1, renewed(1));
    checker.applied(N2, GRANTED);
    checker.applied(N2, renewed(1));
    expect(violations.first).toBeUndefined();
  });
});

describe("the lease checker refuses", () => {
  const refused = (): string | undefined => violations.first?.message;

  test("a proposal by one clock that ran ahead", () => {
    pass(TTL_MS, [N1]);
    propose(0);
    expect(refused()).toMatch(/idle for so long by n1/);
  });

  test("a proposal at a renewal that was later than its time ago", () => {
    pass(TTL_MS);
    checker.applied(N2, renewed(1));
    propose(1);
    expect(refused()).toMatch(/by nobody/);
  });

  test("the end of a lease that was renewed after it was proposed", () => {
    pass(TTL_MS);
    propose(0);
    checker.applied(N1, renewed(1));
    checker.applied(N1, ENDED);
    expect(refused()).toMatch(/nobody has asked for it since/);
  });

  test("replicas that end a lease at different revisions", () => {
    checker.revoking(1);
    checker.applied(N1, ENDED);
    checker.applied(N2, { ...ENDED, revision: 5 });
    expect(refused()).toMatch(/at revision 5, others at 4/);
  });

  test("an answer that a lease has ended which has not", () => {
    checker.refused(N1, 1);
    expect(refused()).toMatch(/n1 says lease 1 has ended/);
  });
});
