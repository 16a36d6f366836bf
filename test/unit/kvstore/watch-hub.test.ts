import { beforeEach, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { parseKeyText, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { StoredChange } from "../../../src/kvstore/core/state-machine.ts";
import { encodeEntry, type StoredEntry } from "../../../src/kvstore/core/stored-entry.ts";
import { encodeValue } from "../../../src/kvstore/core/value.ts";
import { WATCH_BUFFER_BYTES_MAX, WatchHub } from "../../../src/kvstore/watch-hub.ts";
import type { KvWatch } from "../../../src/kvstore/kv.ts";

let deferred: (() => void)[];
let hub: WatchHub;
let seen: string[];

beforeEach(() => {
  deferred = [];
  hub = new WatchHub({ defer: (fire) => deferred.push(fire) });
  seen = [];
});

function endTurn(): void {
  for (const fire of deferred.splice(0)) fire();
}

function put(text: string, revision: number, value: unknown = revision): StoredChange {
  const key = parseKeyText(text);
  return { kind: "put", key, entry: entryOf(key, revision, value), before: undefined };
}

function entryOf(key: KeyText, revision: number, value: unknown): StoredEntry {
  const fields = { value: encodeValue(value), modRevision: revision, createRevision: revision, version: 1 };
  return encodeEntry(key, fields);
}

function remove(text: string, revision: number): StoredChange {
  const key = parseKeyText(text);
  return { kind: "delete", key, modRevision: revision, before: entryOf(key, revision - 1, "gone") };
}

function watch(prefix: string, name: string, onSeen?: () => void): KvWatch {
  return hub.watch(
    prefix,
    {
      onChanges: ({ revision, changes }) => {
        const texts = changes.map((change) => (change.kind === "put" ? change.entry.key : `-${change.key}`));
        seen.push(`${name}@${revision} ${texts.join(" ")}`);
        onSeen?.();
      },
      onEnd: (reason) => seen.push(`${name} ended ${reason instanceof AetherError ? reason.code : ""}`),
    },
    0,
  );
}

test("a watcher gets whole transactions of its prefix, in order, after the turn", () => {
  watch("data/a/", "a");
  watch("", "all");
  hub.publish(1, [put("data/a/1", 1), put("data/b/1", 1), put("data/a/2", 1)]);
  hub.publish(2, [put("data/b/1", 2)]);
  hub.publish(3, [remove("data/a/1", 3)]);
  expect(seen).toEqual([]);
  endTurn();
  expect(seen).toEqual([
    "a@1 data/a/1 data/a/2",
    "a@3 -data/a/1",
    "all@1 data/a/1 data/b/1 data/a/2",
    "all@2 data/b/1",
    "all@3 -data/a/1",
  ]);
});

test("changes published inside a handler come in a later turn", () => {
  let isFirst = true;
  watch("data/", "w", () => {
    if (isFirst) hub.publish(2, [put("data/a", 2)]);
    isFirst = false;
  });
  hub.publish(1, [put("data/a", 1)]);
  endTurn();
  expect(seen).toEqual(["w@1 data/a"]);
  endTurn();
  expect(seen).toEqual(["w@1 data/a", "w@2 data/a"]);
});

test("after cancel nothing comes, not even what is buffered or an end", () => {
  const first = watch("data/", "first", () => second.cancel());
  const second = watch("data/", "second");
  hub.publish(1, [put("data/a", 1)]);
  hub.publish(2, [put("data/a", 2)]);
  endTurn();
  expect(seen).toEqual(["first@1 data/a", "first@2 data/a"]);
  hub.publish(3, [put("data/a", 3)]);
  hub.close(new AetherError("E_UNAVAILABLE", "stop"));
  first.cancel();
  endTurn();
  expect(seen).toHaveLength(2);
  expect(hub.size).toBe(0);
});

test("a watcher that falls 8 MiB behind is ended with the revision to resume from, others go on", () => {
  watch("data/big", "slow");
  watch("data/small", "other");
  hub.publish(1, [put("data/big", 1)]);
  endTurn();
  const half = "x".repeat(500_000);
  for (let revision = 2; revision < 20; revision++) {
    hub.publish(revision, [put("data/big", revision, half), put("data/small", revision)]);
  }
  let ended: AetherError | undefined;
  const onEnd = (reason: Error): void => void (ended = reason as AetherError);
  const late = hub.watch("data/big", { onChanges: () => undefined, onEnd }, 19);
  for (let revision = 20; revision < 40; revision++) hub.publish(revision, [put("data/big", revision, half)]);
  endTurn();
  expect(seen.filter((line) => line.startsWith("slow"))).toEqual(["slow@1 data/big", "slow ended E_OVERLOADED"]);
  expect(seen.filter((line) => line.startsWith("other"))).toHaveLength(18);
  expect(ended?.details).toEqual({ limit: WATCH_BUFFER_BYTES_MAX, revision: 19 });
  expect(ended?.outcome).toBeUndefined();
  late.cancel();
});

test("a handler that throws ends its watch, which never goes on with a hole; others go on", () => {
  const broken = new RangeError("a bug of the handler");
  let isBroken = true;
  watch("data/a", "broken", () => {
    if (isBroken) throw broken;
  });
  watch("data/", "other");
  hub.publish(1, [put("data/a", 1)]);
  hub.publish(2, [put("data/a", 2)]);
  const [deliverBroken, deliverOther] = deferred.splice(0);
  expect(deliverBroken).toThrow(broken);
  deliverOther?.();
  isBroken = false;
  hub.publish(3, [put("data/a", 3)]);
  endTurn();
  expect(seen.filter((line) => line.startsWith("broken"))).toEqual(["broken@1 data/a", "broken ended E_INTERNAL"]);
  expect(seen.filter((line) => line.startsWith("other"))).toHaveLength(3);
});

test("closing ends all watches with the reason", () => {
  watch("data/", "w");
  hub.close(new AetherError("E_UNAVAILABLE", "this node stops"));
  endTurn();
  expect(seen).toEqual(["w ended E_UNAVAILABLE"]);
});

test("a watch that comes after closing ends too, after its caller has it", () => {
  hub.close(new AetherError("E_UNAVAILABLE", "this node stops"));
  watch("data/", "late");
  watch("data/", "cancelled").cancel();
  expect(seen).toEqual([]);
  endTurn();
  expect(seen).toEqual(["late ended E_UNAVAILABLE"]);
  expect(hub.size).toBe(0);
});
