import { beforeEach, describe, expect, test } from "vitest";
import { encodeExpire, encodeGrant, encodeRenew, encodeRevoke } from "../../../../src/kvstore/core/command.ts";
import { parseKeyText, type KeyText } from "../../../../src/kvstore/core/key.ts";
import { LEASE_KEYS_MAX, LEASES_MAX } from "../../../../src/kvstore/core/lease-table.ts";
import type { LeaseId, Op } from "../../../../src/kvstore/core/schema.ts";
import { toKvEntry } from "../../../../src/kvstore/core/stored-entry.ts";
import { MemoryMachine } from "../../../support/memory-machine.ts";

const a = parseKeyText("data/a");
const b = parseKeyText("data/b");
const put = (key: KeyText, lease?: LeaseId): Op =>
  lease === undefined ? { kind: "put", key, value: 1 } : { kind: "put", key, value: 1, lease };

let state: MemoryMachine;

function grant(ttlMs = 10_000, requests = false): LeaseId {
  const result = state.apply(encodeGrant(ttlMs, requests));
  if (result.kind !== "granted") expect.fail(result.kind);
  return result.lease;
}

beforeEach(() => {
  state = new MemoryMachine();
});

describe("a lease", () => {
  test("has a number that is never given twice", () => {
    expect([grant(), grant()]).toEqual([1, 2]);
    state.apply(encodeRevoke(2));
    expect(grant()).toBe(3);
    expect(state.machine.lease(2)).toBeUndefined();
    expect(state.machine.lease(3)).toMatchObject({ ttlMs: 10_000, renewals: 0, requests: false, keys: 0 });
  });

  test("counts its renewals; one that has ended is named", () => {
    const lease = grant();
    expect(state.apply(encodeRenew([lease, 7]))).toEqual({
      kind: "renewed", leases: [{ lease, renewals: 1 }], gone: [7],
    });
    expect(state.machine.lease(lease)).toMatchObject({ renewals: 1 });
  });

  test("expires only if nobody has renewed it since it was seen", () => {
    const [first, second] = [grant(), grant()];
    state.apply(encodeRenew([first]));
    const seen = [{ lease: first, renewals: 0 }, { lease: second, renewals: 0 }, { lease: second, renewals: 0 }];
    expect(state.apply(encodeExpire(seen))).toMatchObject({ kind: "ended", leases: [second] });
    expect(state.machine.lease(first)).toBeDefined();
  });

  test("takes its keys with it, all in one revision", () => {
    const lease = grant();
    state.run([put(a, lease), put(b, lease), put(parseKeyText("data/c"))]);
    expect(toKvEntry(a, state.rows.get(a)!)).toMatchObject({ lease });
    expect(state.apply(encodeRevoke(lease))).toMatchObject({
      kind: "ended",
      leases: [lease],
      revision: 2,
      changes: [{ kind: "delete", key: a, modRevision: 2 }, { kind: "delete", key: b, modRevision: 2 }],
    });
    expect([state.value(a), state.value(b), state.value(parseKeyText("data/c"))]).toEqual([undefined, undefined, 1]);
    expect(state.ownRows("lease/")).toBe(0);
    expect(state.ownRows("lease-key/")).toBe(0);
  });

  test("that ends without keys makes no revision", () => {
    state.run([put(a)]);
    expect(state.apply(encodeRevoke(grant()))).toMatchObject({ revision: 1, changes: [] });
    expect(state.apply(encodeRevoke(1))).toMatchObject({ kind: "refused", code: "E_NOT_FOUND" });
  });
});

describe("a key", () => {
  test("belongs to the lease of its latest put, and to none without one", () => {
    const [first, second] = [grant(), grant()];
    state.run([put(a, first), put(b, first)]);
    state.run([put(a, second), put(b)]);
    expect(state.apply(encodeRevoke(first))).toMatchObject({ changes: [] });
    expect(state.machine.lease(second)).toMatchObject({ keys: 1 });
    state.apply(encodeRevoke(second));
    expect([state.value(a), state.value(b)]).toEqual([undefined, 1]);
  });

  test("that is deleted and comes again is another one", () => {
    const lease = grant();
    state.run([put(a, lease)]);
    state.run([{ kind: "delete", key: a }]);
    state.run([put(a)]);
    state.apply(encodeRevoke(lease));
    expect(state.value(a)).toBe(1);
  });

  test("uses a row of the lease that another key has left", () => {
    const lease = grant();
    for (let round = 0; round < 50; round++) {
      state.run([put(a, lease), put(b, lease)]);
      state.run([{ kind: "delete", key: a }, put(b)]);
    }
    expect(state.ownRows("lease-key/")).toBe(2);
    expect(state.machine.lease(lease)).toMatchObject({ keys: 0, slots: 2 });
  });

  test("cannot be attached to a lease that is not there: nothing of the transaction is done", () => {
    const refusal = { kind: "refused", code: "E_NOT_FOUND", details: { lease: 4 } };
    expect(state.run([put(a), put(b, 4)])).toMatchObject(refusal);
    expect(state.value(a)).toBeUndefined();
    expect(state.machine.revision).toBe(0);
  });

  test("of the leader cannot have a lease", () => {
    expect(() => state.run([put(parseKeyText("leader"), 1)])).toThrow(/cannot have a lease/);
  });
});

describe("limits", () => {
  test(`are ${LEASE_KEYS_MAX} keys of one lease`, () => {
    const lease = grant();
    const key = (index: number): KeyText => parseKeyText(`data/k${index}`);
    for (let index = 0; index < LEASE_KEYS_MAX; index++) state.run([put(key(index), lease)]);
    const refusal = { kind: "refused", code: "E_TOO_LARGE", details: { actual: 1_001 } };
    expect(state.run([put(a, lease)])).toMatchObject(refusal);
    expect(state.run([put(key(3), lease)])).toMatchObject({ kind: "done" });
    expect(state.apply(encodeRevoke(lease))).toMatchObject({ revision: 1_002 });
    expect(state.ownRows("")).toBe(1);
  });

  test(`are ${LEASES_MAX} leases`, () => {
    for (let count = 0; count < LEASES_MAX; count++) grant();
    expect(state.apply(encodeGrant(1_000, false))).toMatchObject({ kind: "refused", code: "E_OVERLOADED" });
    state.apply(encodeRevoke(17));
    expect(grant()).toBe(LEASES_MAX + 1);
  });
});
