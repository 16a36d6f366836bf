import { beforeEach, describe, expect, test } from "vitest";
import { encodeGrant, encodeQuota, QUOTA_BYTES_MIN } from "../../../../src/kvstore/core/command.ts";
import { parseKeyText, type KeyText } from "../../../../src/kvstore/core/key.ts";
import { QUOTA_BYTES_DEFAULT } from "../../../../src/kvstore/core/limits.ts";
import type { Op } from "../../../../src/kvstore/core/schema.ts";
import { MemoryMachine } from "../../../support/memory-machine.ts";

const text = "x".repeat(50_000);
const key = (index: number): KeyText => parseKeyText(`data/k${index}`);
const put = (index: number, value: unknown = text): Op => ({ kind: "put", key: key(index), value });
const own = (size: number): Op => ({ kind: "put", key: parseKeyText("nodes/n1/state"), value: "x".repeat(size) });

let state: MemoryMachine;

/** Puts until one is refused. */
function fill(): number {
  for (let index = 0; ; index++) if (state.run([put(index)]).kind === "refused") return index;
}

beforeEach(() => {
  state = new MemoryMachine();
});

test("a store has 8 GiB unless somebody says otherwise", () => {
  expect(state.machine.quotaBytes).toBe(QUOTA_BYTES_DEFAULT);
  expect(state.apply(encodeQuota(QUOTA_BYTES_MIN))).toEqual({ kind: "configured" });
  expect(state.machine.quotaBytes).toBe(QUOTA_BYTES_MIN);
  expect(() => encodeQuota(QUOTA_BYTES_MIN - 1)).toThrow(expect.objectContaining({ code: "E_INVALID" }));
});

describe("a full store", () => {
  let count: number;

  beforeEach(() => {
    state.apply(encodeQuota(QUOTA_BYTES_MIN));
    count = fill();
  });

  test("refuses growth and changes nothing", () => {
    expect(count).toBeGreaterThan(15);
    const { revision, stateHash, liveBytes } = state.machine;
    expect(state.run([put(count), { kind: "delete", key: key(count) }, put(count)])).toMatchObject({
      kind: "refused", code: "E_QUOTA", outcome: "not-applied", details: { limit: QUOTA_BYTES_MIN },
    });
    expect(state.machine).toMatchObject({ revision, stateHash, liveBytes });
    expect(liveBytes).toBeLessThanOrEqual(QUOTA_BYTES_MIN);
  });

  test("takes deletes, and writes after which it weighs no more", () => {
    expect(state.run([put(0, text.toUpperCase())])).toMatchObject({ kind: "done" });
    expect(state.run([{ kind: "delete", key: key(1) }, put(count)])).toMatchObject({ kind: "done" });
    expect(state.run([put(count + 1)])).toMatchObject({ kind: "refused" });
    expect(state.run([{ kind: "delete", key: key(2) }])).toMatchObject({ kind: "done" });
    expect(state.run([put(count + 1)])).toMatchObject({ kind: "done" });
  });

  test("has a reserve for the system's own keys", () => {
    // Nearer to the quota than one of those writes.
    while (state.run([put(count++, text.slice(0, 2_000))]).kind === "done");
    expect(state.run([own(30_000)])).toMatchObject({ kind: "done" });
    expect(state.run([put(count, "x".repeat(3_000))])).toMatchObject({ kind: "refused" });
    expect(state.run([own(90_000)])).toMatchObject({ kind: "refused", code: "E_QUOTA" });
  });

  test("still grants leases, and remembers requests that make room", () => {
    expect(state.apply(encodeGrant(1_000, true))).toMatchObject({ kind: "granted" });
    const request = { session: 1, id: 1 };
    expect(state.run([{ kind: "delete", key: key(0) }], { request })).toMatchObject({ kind: "done" });
  });

  test("takes more once the quota is raised", () => {
    state.apply(encodeQuota(2 * QUOTA_BYTES_MIN));
    expect(state.run([put(count)])).toMatchObject({ kind: "done" });
  });
});
