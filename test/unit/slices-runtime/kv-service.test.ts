// The part of the store that a slice has: that it works, and that it is only that part.
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { formatKey, parseKeyText } from "../../../src/kvstore/core/key.ts";
import type { Kv } from "../../../src/kvstore/kv.ts";
import { openKvService } from "../../../src/slices/services/kv-service.ts";
import type { SliceService } from "../../../src/slices/services/slice-services.ts";
import { createLocalKv } from "../../support/local-kv.ts";

const SCOPE = { timeoutMs: 5_000, signal: new AbortController().signal };

let kv: Kv;
let service: SliceService;

beforeEach(async () => {
  const local = await createLocalKv();
  onTestFinished(() => local.close());
  kv = local.kv;
  service = openKvService(kv)({ slice: "orders", instance: "demo:orders:1.0.0/0" }, () => undefined);
});

async function run(op: string, args: unknown): Promise<unknown> {
  return await service.run(op, args, SCOPE);
}

function put(key: string, value: unknown): unknown {
  return { txn: { compare: [], then: [{ kind: "put", key, value }] } };
}

describe("a slice's part of the store", () => {
  test("has relative keys inside, and a prefix of its own outside", async () => {
    expect(await run("transact", put("a/1", { n: 1 }))).toEqual({
      succeeded: true, revision: 1, results: [{ kind: "put" }],
    });
    const { entry } = await kv.get(parseKeyText("data/slices/orders/a/1"));
    expect(entry?.value).toEqual({ n: 1 });
    const shown = { key: "a/1", value: { n: 1 }, modRevision: 1, createRevision: 1, version: 1 };
    expect(await run("get", { key: "a/1" })).toEqual(shown);
    expect(await run("get", { key: "a/2" })).toBeUndefined();
    expect(await run("list", {})).toEqual({ entries: [shown], revision: 1, more: false });
  });

  test("is listed page by page, by prefix, without what others have", async () => {
    const others = ["data/slices/orders-2/b/0", "data/slices/order/b/0", "data/slices/pricing/b/0"];
    for (const key of others) {
      await kv.transact({ compare: [], then: [{ kind: "put", key: parseKeyText(key), value: 0 }], else: [] });
    }
    for (const key of ["a", "b/1", "b/2", "b/3", "c"]) await run("transact", put(key, key));
    const page = await run("list", { prefix: "b/", limit: 2 });
    expect(page).toMatchObject({ entries: [{ key: "b/1" }, { key: "b/2" }], more: true });
    expect(await run("list", { prefix: "b/", after: "b/2" })).toMatchObject({ entries: [{ key: "b/3" }], more: false });
    expect(await run("list", {})).toMatchObject({ entries: { length: 5 } });
  });

  test.each(["../pricing/a", "a/../../pricing/a", "/a", "a//b", "a/", "", ".", "a\n"])(
    "refuses the key %j, whatever is to be done with it",
    async (key) => {
      await expect(run("get", { key })).rejects.toMatchObject({ code: "E_INVALID" });
      await expect(run("transact", put(key, 1))).rejects.toMatchObject({ code: "E_INVALID" });
      const compare = [{ key, target: "exists", op: "=", value: false }];
      await expect(run("transact", { txn: { compare, then: [] } })).rejects.toMatchObject({ code: "E_INVALID" });
      const otherwise = [{ kind: "delete", key }];
      const txn = { compare: [], then: [], else: otherwise };
      await expect(run("transact", { txn })).rejects.toMatchObject({ code: "E_INVALID" });
      expect((await kv.list({ prefix: "" })).entries).toEqual([]);
    },
  );

  test.each([
    ["get", undefined], ["get", {}], ["get", { key: 1 }], ["get", { key: "a", consistency: "eventual" }],
    ["list", { limit: 0 }], ["list", { limit: "all" }], ["list", { prefix: 1 }], ["list", { limit: 1_001 }],
    ["transact", {}], ["transact", { txn: { compare: [], then: [null] } }],
    ["transact", { txn: { compare: [], then: [{ kind: "drop", key: "a" }] } }],
    ["transact", { txn: { compare: {}, then: [] } }],
    ["transact", { txn: { compare: [], then: [] }, fence: { name: "a" } }],
    ["watch", {}], ["toString", {}],
  ])("refuses %s of %j", async (op, args) => {
    await expect(run(op, args)).rejects.toMatchObject({ code: "E_INVALID" });
  });

  test("does not attach keys to leases that a slice names", async () => {
    const { lease } = await (kv as Awaited<ReturnType<typeof createLocalKv>>["kv"]).grantLease({ ttlMs: 1_000 });
    await run("transact", { txn: { compare: [], then: [{ kind: "put", key: "a", value: 1, lease }] } });
    const { entry } = await kv.get(parseKeyText("data/slices/orders/a"));
    expect(entry).toMatchObject({ value: 1 });
    expect(entry?.lease).toBeUndefined();
  });

  describe("under a fence", () => {
    const lease = formatKey({ kind: "slice-lease", slice: "orders", name: "sync" });
    const isAbsent = { key: "a", target: "exists", op: "=", value: false };
    const txn = { compare: [isAbsent], then: [{ kind: "put", key: "a", value: 1 }] };

    test("is written while the lease has this token, and not afterwards", async () => {
      const held = await kv.transact({ compare: [], then: [{ kind: "put", key: lease, value: {} }], else: [] });
      const fence = { name: "sync", token: held.revision };
      expect(await run("transact", { txn, fence })).toMatchObject({ succeeded: true });
      const again = { ...txn, else: [{ kind: "get", key: "a" }] };
      expect(await run("transact", { txn: again, fence })).toMatchObject({
        succeeded: false, results: [{ kind: "get", entry: { key: "a", value: 1 } }],
      });
      await kv.transact({ compare: [], then: [{ kind: "delete", key: lease }], else: [] });
      await expect(run("transact", { txn, fence })).rejects.toMatchObject({
        code: "E_FENCED", outcome: "not-applied", details: { token: held.revision, current: 0 },
      });
    });

    test("never writes in its else, which runs when the lease is lost", async () => {
      const fence = { name: "sync", token: 1 };
      const wrong = { ...txn, else: [{ kind: "delete", key: "a" }] };
      await expect(run("transact", { txn: wrong, fence })).rejects.toMatchObject({ code: "E_INVALID" });
    });
  });
});
