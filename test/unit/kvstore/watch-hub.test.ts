import { beforeEach, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import type { StoredChange } from "../../../src/kvstore/core/state-machine.ts";
import { encodeEntry } from "../../../src/kvstore/core/stored-entry.ts";
import { encodeValue } from "../../../src/kvstore/core/value.ts";
import { KvHistory } from "../../../src/kvstore/kv-history.ts";
import type { ChangeListener } from "../../../src/kvstore/kv-state.ts";
import type { KvPrefixes, KvWatch, KvWatchHandlers, KvWatchOptions } from "../../../src/kvstore/kv.ts";
import { WatchHub } from "../../../src/kvstore/watch-hub.ts";
import { ManualClock } from "../../support/manual-clock.ts";

let clock: ManualClock;
let state: ScriptedState;
let hub: WatchHub;
let seen: string[];

/** A state whose revisions a test makes up. */
class ScriptedState {
  revision = 0;
  readonly stateHash = 0;
  private listener: ChangeListener = () => undefined;
  private resetListener: (revision: number) => void = () => undefined;

  onChanges(listener: ChangeListener): () => void {
    this.listener = listener;
    return () => undefined;
  }

  onReset(listener: (revision: number) => void): () => void {
    this.resetListener = listener;
    return () => undefined;
  }

  precedeCheckpoints(): void {
    // There are none.
  }

  publish(revision: number, changes: readonly StoredChange[]): void {
    this.revision = revision;
    this.listener(revision, changes);
  }

  reset(revision: number): void {
    this.revision = revision;
    this.resetListener(revision);
  }
}

beforeEach(() => {
  clock = new ManualClock();
  state = new ScriptedState();
  hub = new WatchHub(clock, KvHistory.inMemory(state));
  seen = [];
});

function put(text: string, revision: number, value: unknown = revision): StoredChange {
  const key = parseKeyText(text);
  const fields = { value: encodeValue(value), modRevision: revision, createRevision: revision, version: 1 };
  return { kind: "put", key, entry: encodeEntry(key, fields), before: undefined };
}

function remove(text: string, revision: number): StoredChange {
  const key = parseKeyText(text);
  const fields = { value: encodeValue(0), modRevision: 1, createRevision: 1, version: 1 };
  return { kind: "delete", key, modRevision: revision, before: encodeEntry(key, fields) };
}

function watch(prefix: KvPrefixes, name: string, options: KvWatchOptions & Partial<KvWatchHandlers> = {}): KvWatch {
  const { fromRevision, timeoutMs, ...handlers } = options;
  return hub.watch(
    prefix,
    {
      onChanges: (set) => {
        const texts = set.changes.map((change) => (change.kind === "put" ? change.entry.key : `-${change.key}`));
        seen.push(`${name}@${set.revision} ${texts.join(" ")}`);
        handlers.onChanges?.(set);
      },
      onProgress: (revision) => seen.push(`${name} saw ${revision}`),
      onEnd: (reason) => seen.push(`${name} ended ${reason instanceof AetherError ? reason.code : ""}`),
      ...(handlers.isFull === undefined ? {} : { isFull: handlers.isFull }),
    },
    { ...(fromRevision === undefined ? {} : { fromRevision }), ...(timeoutMs === undefined ? {} : { timeoutMs }) },
  );
}

/** So many revisions of one key each. */
function publishMany(from: number, to: number, value: unknown = 0): void {
  for (let revision = from; revision <= to; revision++) state.publish(revision, [put("data/a", revision, value)]);
}

const revisionsOf = (name: string): number[] =>
  seen.flatMap((line) => (line.startsWith(`${name}@`) ? [Number(/@(\d+)/.exec(line)?.[1])] : []));
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, at) => from + at);

test("a watcher of several prefixes gets what a revision changed at once, as in its transaction", async () => {
  watch(["data/a/", "data/c/"], "both");
  state.publish(1, [put("data/c/1", 1), put("data/b/1", 1), put("data/a/1", 1)]);
  state.publish(2, [put("data/b/1", 2)]);
  state.publish(3, [remove("data/a/1", 3)]);
  await clock.settle();
  expect(seen).toEqual(["both@1 data/c/1 data/a/1", "both@3 -data/a/1"]);
});

test("a watcher gets whole transactions of its prefix, in order, after the turn", async () => {
  watch("data/a/", "a");
  watch("", "all");
  state.publish(1, [put("data/a/1", 1), put("data/b/1", 1), put("data/a/2", 1)]);
  state.publish(2, [put("data/b/1", 2)]);
  state.publish(3, [remove("data/a/1", 3)]);
  expect(seen).toEqual([]);
  await clock.settle();
  expect(seen).toEqual([
    "a@1 data/a/1 data/a/2",
    "a@3 -data/a/1",
    "all@1 data/a/1 data/b/1 data/a/2",
    "all@2 data/b/1",
    "all@3 -data/a/1",
  ]);
});

test("changes published inside a handler come in a later turn", async () => {
  let isFirst = true;
  watch("data/", "w", {
    onChanges: () => {
      if (isFirst) state.publish(2, [put("data/a", 2)]);
      isFirst = false;
      seen.push("handled");
    },
  });
  state.publish(1, [put("data/a", 1)]);
  await clock.settle();
  expect(seen).toEqual(["w@1 data/a", "handled", "w@2 data/a", "handled"]);
});

test("after cancel nothing comes, not even what is buffered or an end", async () => {
  const first = watch("data/", "first", { onChanges: () => second.cancel() });
  const second = watch("data/", "second");
  state.publish(1, [put("data/a", 1)]);
  state.publish(2, [put("data/a", 2)]);
  await clock.settle();
  expect(seen).toEqual(["first@1 data/a", "first@2 data/a"]);
  state.publish(3, [put("data/a", 3)]);
  hub.close(new AetherError("E_UNAVAILABLE", "stop"));
  first.cancel();
  await clock.settle();
  expect(seen).toHaveLength(2);
  expect(hub.size).toBe(0);
});

test("a watcher that cannot take more is put off and misses nothing, others go on", async () => {
  let isFull = true;
  watch("data/", "slow", { isFull: () => isFull });
  watch("data/", "other");
  publishMany(1, 1_000);
  await clock.advance(100);
  expect([revisionsOf("slow"), revisionsOf("other")]).toEqual([[], range(1, 1_000)]);
  publishMany(1_001, 1_500);
  isFull = false;
  await clock.advance(100);
  expect(revisionsOf("slow")).toEqual(range(1, 1_500));
});

test("a watcher whose place is not held any more ends with the oldest revision that is, others go on", async () => {
  let ended: AetherError | undefined;
  const onEnd = (reason: Error): void => void (ended = reason as AetherError);
  let isFull = true;
  hub.watch("data/", { onChanges: () => expect.fail("it was passed over"), isFull: () => isFull, onEnd });
  watch("data/", "other");
  const half = "x".repeat(500_000);
  for (let revision = 1; revision <= 100; revision += 10) {
    publishMany(revision, revision + 9, half);
    await clock.settle();
  }
  isFull = false;
  await clock.advance(10);
  expect(ended).toMatchObject({ code: "E_COMPACTED", details: { from: 1, revision: 100 } });
  expect(ended?.outcome).toBeUndefined();
  const oldest = Number(ended?.details["oldest"]);
  expect(revisionsOf("other")).toEqual(range(1, 100));
  watch("data/", "again", { fromRevision: oldest });
  await clock.settle();
  expect(revisionsOf("again")).toEqual(range(oldest, 100));
});

test("a watch from the past gets all of it in order, then what comes, each revision once", async () => {
  publishMany(1, 2_000);
  watch("data/", "w", { fromRevision: 700 });
  publishMany(2_001, 2_100);
  await clock.settle();
  publishMany(2_101, 2_200);
  await clock.settle();
  expect(revisionsOf("w")).toEqual(range(700, 2_200));
});

test("a watch from the future waits until this node is there, and then gets what it has not seen", async () => {
  watch("data/", "w", { fromRevision: 4 });
  publishMany(1, 3);
  await clock.advance(6_000);
  publishMany(4, 5);
  await clock.settle();
  expect(revisionsOf("w")).toEqual([4, 5]);
});

test("a node that stays behind a watch sends it elsewhere", async () => {
  watch("data/", "w", { fromRevision: 9, timeoutMs: 300 });
  publishMany(1, 7);
  await clock.advance(299);
  expect(seen).toEqual([]);
  await clock.advance(1);
  expect([seen, hub.size]).toEqual([["w ended E_UNAVAILABLE"], 0]);
});

test("a watcher that gets nothing learns every 10 s how far it has seen, one that gets something not", async () => {
  watch("data/", "busy");
  watch("nodes/", "idle");
  publishMany(1, 3);
  await clock.advance(10_000);
  expect(seen.filter((line) => line.includes("saw"))).toEqual(["idle saw 3"]);
  await clock.advance(10_000);
  expect(seen.filter((line) => line.includes("saw"))).toEqual(["idle saw 3", "busy saw 3"]);
});

test("a watcher that gets nothing learns it after 10,000 revisions too, so that it can resume", async () => {
  watch("nodes/", "idle");
  publishMany(1, 10_500);
  await clock.settle();
  expect(seen).toHaveLength(1);
  expect(Number(seen[0]?.split(" ")[2])).toBeGreaterThanOrEqual(10_000);
});

test("progress that is asked for comes after all that is applied by then", async () => {
  const asking = watch("data/", "w");
  publishMany(1, 2);
  asking.requestProgress();
  await clock.settle();
  expect(seen).toEqual(["w@1 data/a", "w@2 data/a", "w saw 2"]);
});

test("a state that is replaced by a later one ends the watches that were passed over", async () => {
  publishMany(1, 3);
  watch("data/", "passed");
  watch("data/", "ahead", { fromRevision: 11 });
  state.reset(10);
  publishMany(11, 12);
  await clock.settle();
  watch("data/", "late", { fromRevision: 10 });
  await clock.settle();
  expect(seen).toEqual(["passed ended E_COMPACTED", "ahead@11 data/a", "ahead@12 data/a", "late ended E_COMPACTED"]);
});

test("a handler that throws ends its watch, which never goes on with a hole; others go on", async () => {
  const broken = new RangeError("a bug of the handler");
  let isBroken = true;
  watch("data/a", "broken", {
    onChanges: () => {
      if (isBroken) throw broken;
    },
  });
  watch("data/", "other");
  state.publish(1, [put("data/a", 1)]);
  state.publish(2, [put("data/a", 2)]);
  await expect(clock.settle()).rejects.toBe(broken);
  isBroken = false;
  state.publish(3, [put("data/a", 3)]);
  await clock.settle();
  expect(seen.filter((line) => line.startsWith("broken"))).toEqual(["broken@1 data/a", "broken ended E_INTERNAL"]);
  expect(seen.filter((line) => line.startsWith("other"))).toHaveLength(3);
});

test("closing ends all watches with the reason", async () => {
  watch("data/", "w");
  hub.close(new AetherError("E_UNAVAILABLE", "this node stops"));
  await clock.settle();
  expect(seen).toEqual(["w ended E_UNAVAILABLE"]);
});

test("a watch that comes after closing ends too, after its caller has it", async () => {
  hub.close(new AetherError("E_UNAVAILABLE", "this node stops"));
  watch("data/", "late");
  watch("data/", "cancelled").cancel();
  expect(seen).toEqual([]);
  await clock.settle();
  expect(seen).toEqual(["late ended E_UNAVAILABLE"]);
  expect(hub.size).toBe(0);
});
