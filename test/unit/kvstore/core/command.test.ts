import { describe, expect, test } from "vitest";
import { decode } from "../../../../src/base/codec.ts";
import {
  encodeExpire,
  encodeGrant,
  encodeQuota,
  encodeRenew,
  encodeRevoke,
  LEASE_TTL_MS_MAX,
  LEASE_TTL_MS_MIN,
  LEASES_PER_COMMAND_MAX,
  parseCommand,
  QUOTA_BYTES_MAX,
} from "../../../../src/kvstore/core/command.ts";
import { parseKeyText } from "../../../../src/kvstore/core/key.ts";
import type { Op } from "../../../../src/kvstore/core/schema.ts";
import { encodeTxn } from "../../../../src/kvstore/core/txn.ts";

const key = parseKeyText("data/a");
const read = (bytes: Uint8Array): unknown => parseCommand(decode(bytes, bytes.byteLength));

describe("a command", () => {
  test("reads back as it was written", () => {
    expect(read(encodeGrant(5_000, true))).toEqual({ kind: "grant", ttlMs: 5_000, requests: true });
    expect(read(encodeRenew([1, 2 ** 40]))).toEqual({ kind: "renew", leases: [1, 2 ** 40] });
    expect(read(encodeRevoke(7))).toEqual({ kind: "revoke", lease: 7 });
    expect(read(encodeExpire([{ lease: 7, renewals: 0 }]))).toEqual({
      kind: "expire", leases: [{ lease: 7, renewals: 0 }],
    });
    expect(read(encodeQuota(QUOTA_BYTES_MAX))).toEqual({ kind: "quota", bytes: QUOTA_BYTES_MAX });
  });

  test("that is a transaction may name a request and leases", () => {
    const put: Op = { kind: "put", key, value: 1, lease: 9 };
    const leased = encodeTxn({ compare: [], then: [put, { kind: "delete", key }], else: [] });
    expect(read(leased)).toMatchObject({ kind: "txn", request: undefined, then: [{ lease: 9 }, { kind: "delete" }] });
    const named = encodeTxn({ compare: [], then: [], else: [] }, { session: 3, id: 4 });
    expect(read(named)).toMatchObject({ kind: "txn", request: { session: 3, id: 4 } });
  });

  test.each([
    [LEASE_TTL_MS_MIN - 1],
    [LEASE_TTL_MS_MAX + 1],
    [1_500.5],
    [Number.NaN],
  ])("grants no lease of %d ms", (ttlMs) => {
    expect(() => encodeGrant(ttlMs, false)).toThrow(expect.objectContaining({ code: "E_INVALID" }));
  });

  test("names no more leases than its limit", () => {
    const leases = Array.from({ length: LEASES_PER_COMMAND_MAX + 1 }, (_, index) => index + 1);
    expect(() => encodeRenew(leases)).toThrow(expect.objectContaining({ code: "E_TOO_LARGE" }));
    expect(parseCommand([2, 2, leases])).toMatchObject({ kind: "malformed" });
  });

  test.each([
    [{ session: 0, id: 1 }],
    [{ session: 1, id: 0 }],
    [{ session: 1, id: 1.5 }],
  ])("cannot name the request %j", (request) => {
    expect(() => encodeTxn({ compare: [], then: [], else: [] }, request)).toThrow(/use 1 or more/);
  });
});

describe("a malformed command", () => {
  const bytes = Uint8Array.from([0xc0]);
  test.each([
    [[2]],
    [[2, 6]],
    [[2, -1, 5]],
    [[2, { toString: 1 }]],
    [[{ toString: 1, valueOf: 1 }, 1]],
    [[2, 0, 1, 1, [], []]],
    [[2, 0, 0, 1, [], [], []]],
    [[2, 0, 1, 0, [], [], []]],
    [[2, 0, "1", 1, [], [], []]],
    [[2, 0, 0, 0, [], [[0, "data/a", bytes, 0]], []]],
    [[2, 0, 0, 0, [], [[0, "leader", bytes, 1]], []]],
    [[1, [], [[0, "data/a", bytes, 1]], []]],
    [[2, 1, 5_000]],
    [[2, 1, 5_000, 1]],
    [[2, 1, 5, true]],
    [[2, 1, 5_000, true, 1]],
    [[2, 2, []]],
    [[2, 2, [0]]],
    [[2, 2, ["1"]]],
    [[2, 3, 0]],
    [[2, 3, 1, 1]],
    [[2, 4, [1]]],
    [[2, 4, [[1]]]],
    [[2, 4, [[1, -1]]]],
    [[2, 4, [[1, 1, 1]]]],
    [[2, 5, 1]],
    [[2, 5, 2 ** 60]],
  ])("is named so and never thrown: %j", (decoded) => {
    expect(parseCommand(decoded)).toMatchObject({ kind: "malformed" });
  });
});
