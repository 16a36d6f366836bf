// How many idempotency keys are kept: of one node, and of the cluster, whose leases others need too.
import { afterEach, beforeEach, expect, test } from "vitest";
import { HOUR_MS, MINUTE_MS } from "../../../src/base/units.ts";
import { ResultLeases } from "../../../src/invocation/idempotency/result-leases.ts";
import { LEASE_KEYS_MAX, LEASES_MAX } from "../../../src/kvstore/core/lease-table.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const NODE_LEASES = 1_000;
const FOR_OTHERS = 2_000;

let clock: ManualClock;
let local: LocalKv;

beforeEach(async () => {
  clock = new ManualClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  local = await opening;
});

afterEach(() => settled(local.close()));

async function settled<T>(work: Promise<T>): Promise<T> {
  return await clock.settled(work, MINUTE_MS);
}

/** A process that has just begun. */
const startNode = (): ResultLeases => new ResultLeases({ clock }, { kv: local.kv });

async function take(leases: ResultLeases, count: number): Promise<void> {
  for (let taken = 0; taken < count; taken += 1) await leases.take({});
}

test("a node has leases for a million keys a day; the next key is refused until a day is over", async () => {
  const node = startNode();
  await settled(take(node, NODE_LEASES * LEASE_KEYS_MAX));
  expect(local.kv.leaseCount()).toBe(NODE_LEASES);
  await expect(settled(node.take({}))).rejects.toMatchObject({
    code: "E_OVERLOADED", outcome: "not-applied", details: { limit: NODE_LEASES },
  });
  await clock.advance(24 * HOUR_MS);
  expect(await settled(node.take({}))).toBe(NODE_LEASES + 1);
});

test("a lease takes keys for ten minutes, however few", async () => {
  const node = startNode();
  expect(await settled(node.take({}))).toBe(1);
  await clock.advance(9 * MINUTE_MS);
  expect(await settled(node.take({}))).toBe(1);
  await clock.advance(2 * MINUTE_MS);
  expect(await settled(node.take({}))).toBe(2);
});

test("however many nodes there are, and however often they start, sessions and slices have leases left", async () => {
  const others = LEASES_MAX - FOR_OTHERS;
  await settled((async () => {
    for (let lease = 0; lease < others; lease += 1) await local.kv.grantLease({ ttlMs: HOUR_MS });
  })());
  await expect(settled(startNode().take({}))).rejects.toMatchObject({
    code: "E_OVERLOADED", outcome: "not-applied", details: { limit: others },
  });
  await settled(local.kv.revokeLease(1));
  expect(await settled(startNode().take({}))).toBe(others + 1);
  await expect(settled(startNode().take({}))).rejects.toMatchObject({ code: "E_OVERLOADED" });
  await settled(local.kv.grantLease({ ttlMs: HOUR_MS }));
});
