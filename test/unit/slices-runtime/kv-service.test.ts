// The part of the store that a slice has: that it works, and that it is only that part.
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { unchanged } from "../../../src/kvstore/core/guards.ts";
import { formatKey, parseKeyText } from "../../../src/kvstore/core/key.ts";
import type { Op } from "../../../src/kvstore/core/schema.ts";
import { createRealClock } from "../../../src/node/env-clock-adapter.ts";
import { PIECE_CHANGES_MAX } from "../../../src/slices/services/kv-changes.ts";
import type { PublishedMessage, PublishingParts } from "../../../src/slices/services/topic-service.ts";
import type { Kv } from "../../../src/kvstore/kv.ts";
import { openKvService } from "../../../src/slices/services/kv-service.ts";
import type { SliceService } from "../../../src/slices/services/slice-services.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";

const SCOPE = { timeoutMs: 5_000, signal: new AbortController().signal };

let kv: Kv;
let local: LocalKv;
let service: SliceService;

beforeEach(async () => {
  local = await createLocalKv();
  onTestFinished(() => local.close());
  kv = local.kv;
  known = [];
  const publisher = { parts: partsOf, notePublished: () => undefined };
  const open = openKvService({ kv, clock: createRealClock(), publisher });
  service = open({ slice: "orders", instance: "demo:orders:1.0.0/0" }, () => undefined);
});

/** The revisions of the row of the topic that this node sees, one per look; the last one stays. */
let known: number[];
const MARK = formatKey({ kind: "topic", topic: "sold" });

function partsOf(messages: readonly PublishedMessage[]): PublishingParts | undefined {
  const modRevision = known.length > 1 ? known.shift() : known[0];
  if (modRevision === undefined) return undefined;
  const then = messages.map(({ topic, payload }, at): Op => {
    const key = formatKey({ kind: "topic-message", topic, group: "books", partition: 0, id: `n1.1.${at}` });
    return { kind: "put", key, value: payload };
  });
  return { compare: [unchanged(MARK, modRevision)], then };
}

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

  describe("with messages", () => {
    const isAbsent = { key: "a", target: "exists", op: "=", value: false };
    const txn = { compare: [isAbsent], then: [{ kind: "put", key: "a", value: 1 }] };
    const messages = [{ topic: "sold", payload: { n: 1 } }, { topic: "sold", payload: { n: 2 } }];
    const waiting = async () => (await kv.list({ prefix: "topics/sold/waiting/" })).entries.map(({ value }) => value);

    test("publishes them with what it changes, or neither", async () => {
      known = [0];
      expect(await run("transact", { txn, messages })).toEqual({
        succeeded: true, revision: 1, results: [{ kind: "put" }],
      });
      expect(await waiting()).toEqual([{ n: 1 }, { n: 2 }]);
      const again = { ...txn, else: [{ kind: "get", key: "a" }] };
      expect(await run("transact", { txn: again, messages: [{ topic: "sold", payload: { n: 3 } }] })).toMatchObject({
        succeeded: false, results: [{ kind: "get", entry: { value: 1 } }],
      });
      expect(await waiting()).toEqual([{ n: 1 }, { n: 2 }]);
    });

    test("waits until its node has seen who handles the topic now, and does all of it once", async () => {
      const { revision } = await kv.transact({ compare: [], then: [{ kind: "put", key: MARK, value: {} }], else: [] });
      known = [0, 0, revision];
      expect(await run("transact", { txn, messages })).toMatchObject({ succeeded: true });
      expect(await waiting()).toEqual([{ n: 1 }, { n: 2 }]);
      known = [0];
      const late = { ...SCOPE, timeoutMs: 60 };
      await expect(service.run("transact", { txn: { ...txn, compare: [] }, messages }, late)).rejects.toMatchObject({
        code: "E_UNAVAILABLE", outcome: "not-applied",
      });
    });

    test.each([
      ["writes in its else", { txn: { ...txn, else: [{ kind: "delete", key: "a" }] }, messages }, "E_INVALID"],
      ["no list", { txn, messages: {} }, "E_INVALID"],
      ["no topic", { txn, messages: [{ topic: "so/ld", payload: 1 }] }, "E_INVALID"],
      ["a large payload", { txn, messages: [{ topic: "sold", payload: "x".repeat(70_000) }] }, "E_TOO_LARGE"],
      ["too many of them", { txn, messages: Array.from({ length: 129 }, () => messages[0]) }, "E_INVALID"],
    ])("is refused with %s", async (_what, args, code) => {
      known = [0];
      await expect(run("transact", args)).rejects.toMatchObject({ code });
      expect((await kv.list({ prefix: "" })).entries).toEqual([]);
    });
  });

  describe("is watched", () => {
    const changesFrom = async (from?: number) =>
      await run("changes", { prefix: "a/", from }) as { readonly sets: unknown[]; readonly next: number };

    test("piece by piece, whole transactions in order, and only what is its own", async () => {
      await run("transact", put("a/1", 1));
      await run("transact", put("b/1", 1));
      const both = [{ kind: "put", key: "a/2", value: 2 }, { kind: "delete", key: "a/1" }];
      await run("transact", { txn: { compare: [], then: both } });
      await kv.transact({
        compare: [], then: [{ kind: "put", key: parseKeyText("data/slices/other/a/1"), value: 0 }], else: [],
      });
      const first = await changesFrom(1);
      expect(first.sets).toMatchObject([
        { revision: 1, changes: [{ kind: "put", entry: { key: "a/1", value: 1 } }] },
        { revision: 3, changes: [{ kind: "put", entry: { key: "a/2", value: 2 } }, { kind: "delete", key: "a/1" }] },
      ]);
      const waiting = changesFrom(first.next);
      await run("transact", put("a/3", 3));
      expect((await waiting).sets).toMatchObject([{ revision: 5, changes: [{ entry: { key: "a/3" } }] }]);
    });

    test("in pieces of bounded size, each going on where the last one ended", async () => {
      for (let n = 0; n < PIECE_CHANGES_MAX + 10; n++) await run("transact", put(`a/${n}`, n));
      const first = await changesFrom(1);
      const second = await changesFrom(first.next);
      expect([first.sets.length, second.sets.length]).toEqual([PIECE_CHANGES_MAX, 10]);
    });

    test("ends when nobody waits any more, and refuses what is no revision", async () => {
      const leaving = new AbortController();
      const waiting = service.run("changes", {}, { ...SCOPE, signal: leaving.signal });
      leaving.abort(new AetherError("E_TIMEOUT", "gone"));
      await expect(waiting).rejects.toMatchObject({ code: "E_TIMEOUT" });
      for (const from of [0, -1, 1.5, Number.MAX_VALUE, "1"]) {
        await expect(run("changes", { from })).rejects.toMatchObject({ code: "E_INVALID" });
      }
    });
  });

  test("attaches what it puts to the lease that it names, while it has it", async () => {
    const { lease } = await local.kv.grantLease({ ttlMs: 60_000 });
    const key = formatKey({ kind: "slice-lease", slice: "orders", name: "here" });
    const held = await kv.transact({ compare: [], then: [{ kind: "put", key, value: {}, lease }], else: [] });
    const fence = { name: "here", token: held.revision };
    await run("transact", { ...put("nodes/1", "up") as object, fence, attachTo: fence });
    expect(await run("get", { key: "nodes/1" })).toMatchObject({ value: "up" });
    await local.kv.revokeLease(lease);
    expect(await run("get", { key: "nodes/1" })).toBeUndefined();
    await expect(run("transact", { ...put("nodes/1", "up") as object, fence, attachTo: fence })).rejects.toMatchObject({
      code: "E_FENCED", outcome: "not-applied",
    });
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
