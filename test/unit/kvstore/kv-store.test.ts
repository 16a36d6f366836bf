import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encode } from "../../../src/base/codec.ts";
import { parseKeyText, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { KvChangeSet, Op, Txn } from "../../../src/kvstore/core/schema.ts";
import { encodeTxn } from "../../../src/kvstore/core/txn.ts";
import type { TxnOutcome } from "../../../src/kvstore/command-outcome.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

let clock: ManualClock;
let local: LocalKv;

const a = parseKeyText("data/a");
const put = (key: KeyText, value: unknown): Op => ({ kind: "put", key, value });
const txn = (...then: Op[]): Txn => ({ compare: [], then, else: [] });

/** Lets the turn end until the promise has settled. */
async function settle<T>(promise: Promise<T>): Promise<T> {
  // ignored: the caller gets the rejection, below
  promise.catch(() => undefined);
  await clock.settle();
  return promise;
}

beforeEach(async () => {
  clock = new ManualClock();
  local = await settle(createLocalKv({ clock }));
});
// A last checkpoint of large values takes some turns.
afterEach(() => clock.settled(local.close(), 1_000));

describe("transactions", () => {
  test("answer with revision and results, entries decoded", async () => {
    await settle(local.kv.transact(txn(put(a, { n: 1 }))));
    const result = await settle(
      local.kv.transact({
        compare: [{ key: a, target: "version", op: "=", value: 1 }],
        then: [{ kind: "get", key: a }, { kind: "get", key: parseKeyText("data/none") }, { kind: "delete", key: a }],
        else: [],
      }),
    );
    expect(result).toEqual({
      succeeded: true,
      revision: 2,
      results: [
        { kind: "get", entry: { key: a, value: { n: 1 }, modRevision: 1, createRevision: 1, version: 1 } },
        { kind: "get" },
        { kind: "delete", deleted: true },
      ],
    });
  });

  test("that are invalid or too large are refused before anything is proposed", async () => {
    await expect(local.kv.transact(txn(put(a, NaN)))).rejects.toMatchObject({ code: "E_INVALID" });
    const tooMany = Array.from({ length: 129 }, () => put(a, 1));
    await expect(local.kv.transact(txn(...tooMany))).rejects.toMatchObject({
      code: "E_TOO_LARGE",
      outcome: "not-applied",
      details: { limit: 128, actual: 129 },
    });
    expect(local.state.revision).toBe(0);
  });

  test("that read more than 4 MiB say so, and whether they are applied all the same", async () => {
    const keys = Array.from({ length: 9 }, (_, index) => parseKeyText(`data/big/${index}`));
    for (const key of keys) await settle(local.kv.transact(txn(put(key, "x".repeat(500_000)))));
    const gets = keys.map((key): Op => ({ kind: "get", key }));
    const details = { limit: 4 * 1024 * 1024, actual: expect.any(Number) };
    await expect(settle(local.kv.transact(txn(...gets)))).rejects.toMatchObject({
      code: "E_TOO_LARGE", outcome: "not-applied", details,
    });
    await expect(settle(local.kv.transact(txn(put(a, 1), ...gets)))).rejects.toMatchObject({
      code: "E_TOO_LARGE", outcome: "unknown", details, message: expect.stringContaining("is applied"),
    });
    expect((await settle(local.kv.get(a))).entry?.value).toBe(1);
    expect((await settle(local.kv.transact(txn(...gets.slice(1))))).results).toHaveLength(8);
  });

  test("fail with E_NO_QUORUM, not applied, when nothing could be proposed", async () => {
    local.group.setMode("no-quorum");
    await expect(settle(local.kv.transact(txn(put(a, 1))))).rejects.toMatchObject({
      code: "E_NO_QUORUM",
      outcome: "not-applied",
    });
  });

  test("that pass their deadline have an unknown outcome, and may well be applied later", async () => {
    local.group.setMode("silent");
    const failed = expect(local.kv.transact(txn(put(a, 1)))).rejects.toMatchObject({
      code: "E_TIMEOUT",
      outcome: "unknown",
      details: { timeoutMs: 5_000 },
    });
    await clock.advance(5_000);
    await failed;
    local.group.setMode("deciding");
    await clock.settle();
    expect(local.state.getLocal(a).entry?.value).toBe(1);
  });

  test("have the caller's own deadline", async () => {
    local.group.setMode("silent");
    let isSettled = false;
    const failed = expect(
      local.kv.transact(txn(put(a, 1)), { timeoutMs: 20 }).finally(() => (isSettled = true)),
    ).rejects.toMatchObject({ code: "E_TIMEOUT" });
    await clock.advance(19);
    expect(isSettled).toBe(false);
    await clock.advance(1);
    await failed;
  });

  test("end for an aborting caller at once: unknown when under way, not applied when not begun", async () => {
    const controller = new AbortController();
    local.group.setMode("silent");
    const failed = expect(local.kv.transact(txn(put(a, 1)), { signal: controller.signal })).rejects.toMatchObject({
      code: "E_TIMEOUT",
      outcome: "unknown",
    });
    controller.abort();
    await failed;
    await expect(local.kv.transact(txn(put(a, 1)), { signal: controller.signal })).rejects.toMatchObject({
      outcome: "not-applied",
    });
  });

  test("have an unknown outcome when the node stops under them", async () => {
    local.group.setMode("silent");
    const failed = expect(local.kv.transact(txn(put(a, 1)))).rejects.toMatchObject({ outcome: "unknown" });
    local.group.stop();
    await clock.settle();
    await failed;
  });

  test("in encoded form answer exactly once, after the turn", async () => {
    const outcomes: TxnOutcome[] = [];
    local.kv.transactEncoded(encodeTxn(txn(put(a, 1))), (outcome) => outcomes.push(outcome));
    local.kv.transactEncoded(encode("garbage"), (outcome) => outcomes.push(outcome));
    expect(outcomes).toEqual([]);
    await clock.advance(10_000);
    expect(outcomes).toMatchObject([
      { kind: "done", result: { succeeded: true, revision: 1, results: [{ kind: "put" }] } },
      { kind: "failed", error: { code: "E_INVALID", outcome: "not-applied" } },
    ]);
  });
});

describe("reads", () => {
  beforeEach(() => settle(local.kv.transact(txn(put(a, 1), put(parseKeyText("data/b"), 2)))));

  test("are linearizable unless asked otherwise", async () => {
    expect(await settle(local.kv.get(a))).toMatchObject({ revision: 1, entry: { value: 1 } });
    local.group.setMode("no-quorum");
    await expect(settle(local.kv.get(a))).rejects.toMatchObject({ code: "E_NO_QUORUM", outcome: undefined });
    await expect(settle(local.kv.list({ prefix: "data/" }))).rejects.toMatchObject({ code: "E_NO_QUORUM" });
    expect(await local.kv.get(a, { consistency: "local" })).toMatchObject({ entry: { value: 1 } });
    expect((await local.kv.list({ prefix: "data/" }, { consistency: "local" })).entries).toHaveLength(2);
  });

  test("fail at their deadline without an outcome, also when aborted", async () => {
    local.group.setMode("silent");
    const failed = expect(local.kv.get(a, { timeoutMs: 100 })).rejects.toMatchObject({
      code: "E_TIMEOUT",
      outcome: undefined,
    });
    await clock.advance(100);
    await failed;
    const controller = new AbortController();
    const aborted = expect(local.kv.get(a, { signal: controller.signal })).rejects.toMatchObject({ code: "E_TIMEOUT" });
    controller.abort();
    await aborted;
  });
});

describe("a watch", () => {
  test("sees changes after its start, after the turn, until it is cancelled or the store closes", async () => {
    await settle(local.kv.transact(txn(put(a, 1))));
    const sets: KvChangeSet[] = [];
    const ends: Error[] = [];
    const handlers = { onChanges: (set: KvChangeSet) => sets.push(set), onEnd: (reason: Error) => ends.push(reason) };
    local.kv.watch("data/", handlers);
    const cancelled = local.kv.watch("data/", { ...handlers, onChanges: () => expect.fail("it was cancelled") });
    cancelled.cancel();
    await settle(local.kv.transact(txn(put(a, { n: 2 }))));
    await settle(local.kv.transact(txn({ kind: "delete", key: a })));
    expect(sets).toEqual([
      {
        revision: 2,
        changes: [{ kind: "put", entry: { key: a, value: { n: 2 }, modRevision: 2, createRevision: 1, version: 2 } }],
      },
      { revision: 3, changes: [{ kind: "delete", key: a, modRevision: 3 }] },
    ]);
    local.kv.close();
    await clock.settle();
    expect(ends).toMatchObject([{ code: "E_UNAVAILABLE" }]);
  });
});

test("what was written is there after close and reopen", async () => {
  await settle(local.kv.transact(txn(put(a, 1))));
  await settle(local.close());
  local = await settle(createLocalKv({ clock, stores: local.stores }));
  expect(await settle(local.kv.get(a))).toMatchObject({ revision: 1, entry: { value: 1 } });
});
