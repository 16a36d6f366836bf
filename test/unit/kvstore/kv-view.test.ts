import { afterEach, beforeEach, expect, test } from "vitest";
import { createDeferred } from "../../../src/base/deferred.ts";
import { AetherError } from "../../../src/base/errors.ts";
import { parseKeyText, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { Op } from "../../../src/kvstore/core/schema.ts";
import type { Kv, KvListQuery, KvWatchHandlers, KvWatchOptions } from "../../../src/kvstore/kv.ts";
import { openKvView, type KvView } from "../../../src/kvstore/kv-view.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

let clock: ManualClock;
let local: LocalKv;
let view: KvView;
let changes: string[];

const put = (name: string, value: unknown): Op => ({ kind: "put", key: parseKeyText(`data/${name}`), value });
const remove = (name: string): Op => ({ kind: "delete", key: parseKeyText(`data/${name}`) });

async function write(...then: Op[]): Promise<void> {
  const done = local.kv.transact({ compare: [], then, else: [] });
  await clock.settle();
  await done;
}

function open(kv: Kv = local.kv, prefix = "data/"): KvView {
  const onChange = (keys: readonly KeyText[]): void => {
    changes.push(keys.map((key) => key.slice("data/".length)).join(" "));
  };
  return openKvView(kv, prefix, { clock, onChange });
}

const content = (): unknown => Object.fromEntries([...view.entries].map(([key, entry]) => [key.slice(5), entry.value]));

beforeEach(async () => {
  clock = new ManualClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  local = await opening;
  changes = [];
});
afterEach(async () => {
  await view.close();
  const closed = local.close();
  await clock.settle();
  await closed;
});

test("a view has what was there and everything that comes, and says what changed", async () => {
  await write(put("a", 1), put("b", 1));
  view = open();
  expect([view.isLoaded, changes]).toEqual([false, []]);
  await clock.settle();
  await view.ready;
  expect(content()).toEqual({ a: 1, b: 1 });
  await write(put("a", 2), remove("b"), put("c", 1));
  await write({ kind: "put", key: parseKeyText("nodes/n1/state"), value: 1 });
  expect(content()).toEqual({ a: 2, c: 1 });
  expect(changes).toEqual(["a b", "a b c"]);
  expect(view.revision).toBe(2);
});

test("an empty view is complete too", async () => {
  view = open();
  await clock.settle();
  expect([view.isLoaded, view.entries.size, changes]).toEqual([true, 0, [""]]);
});

test("changes during the listing are neither lost nor undone by older pages", async () => {
  await write(put("a", 1), put("b", 1), put("c", 1));
  // The first page is taken at once and delivered after the changes.
  const delivery = createDeferred<void>();
  const kv: Kv = Object.create(local.kv, {
    list: {
      value: async (query: KvListQuery) => {
        const page = await local.kv.list({ ...query, limit: 1 }, { consistency: "local" });
        if (query.after === undefined) await delivery.promise;
        return page;
      },
    },
  });
  view = open(kv);
  await write(put("a", 2), remove("b"), put("d", 2));
  delivery.resolve();
  await clock.settle();
  expect(content()).toEqual({ a: 2, c: 1, d: 2 });
  await write(put("c", 3));
  expect(content()).toEqual({ a: 2, c: 3, d: 2 });
});

test("a view whose watch ended lists and watches again, and reports only the difference", async () => {
  let end: KvWatchHandlers["onEnd"] = () => undefined;
  const kv: Kv = Object.create(local.kv, {
    watch: {
      value: (prefix: string, handlers: KvWatchHandlers, options: KvWatchOptions) => {
        end = handlers.onEnd;
        return local.kv.watch(prefix, handlers, options);
      },
    },
  });
  await write(put("a", 1), put("b", 1), put("c", 1));
  view = open(kv);
  await clock.settle();
  end(new AetherError("E_OVERLOADED", "too slow"));
  await clock.settle();
  await write(put("a", 2), remove("b"));
  expect(content()).toEqual({ a: 1, b: 1, c: 1 });
  await clock.advance(100);
  expect(content()).toEqual({ a: 2, c: 1 });
  expect(changes).toEqual(["a b c", "b a"]);
  await write(put("d", 1));
  expect(content()).toEqual({ a: 2, c: 1, d: 1 });
});

test("a view that cannot list tries again, less and less often", async () => {
  let attempts = 0;
  const kv: Kv = Object.create(local.kv, {
    list: {
      value: (query: KvListQuery) => {
        attempts += 1;
        if (attempts < 4) return Promise.reject(new AetherError("E_UNAVAILABLE", "not yet"));
        return local.kv.list(query, { consistency: "local" });
      },
    },
  });
  await write(put("a", 1));
  view = open(kv);
  await clock.advance(299);
  expect(attempts).toBe(2);
  await clock.advance(401);
  expect([attempts, content()]).toEqual([4, { a: 1 }]);
});

test("a closed view gets nothing more, and tells who still waited", async () => {
  const kv: Kv = Object.create(local.kv, { list: { value: () => new Promise(() => undefined) } });
  view = open(kv);
  const failed = expect(view.ready).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
  await view.close();
  await failed;
  view = open();
  await clock.settle();
  await view.close();
  await write(put("a", 1));
  expect(content()).toEqual({});
  await view.close();
});

test("a view needs no quorum", async () => {
  await write(put("a", 1));
  local.group.setMode("no-quorum");
  view = open();
  await clock.settle();
  expect(content()).toEqual({ a: 1 });
});

test("a view of a state that a snapshot replaced lists again, and misses nothing that comes after", async () => {
  const clockOfSource = new ManualClock();
  const opening = createLocalKv({ clock: clockOfSource });
  await clockOfSource.settle();
  const source = await opening;
  const onSource = async (...then: Op[]): Promise<void> => {
    const done = source.kv.transact({ compare: [], then, else: [] });
    await clockOfSource.settle();
    await done;
  };
  await write(put("a", 1), put("b", 1));
  view = open();
  await clock.settle();
  await onSource(put("a", 1), put("b", 1));
  await onSource(put("a", 2), remove("b"));
  await onSource(put("c", 3));
  const saved = source.state.checkpoint();
  await clockOfSource.settle();
  await saved;
  const installed = install(source, local);
  for (let turns = 0; turns < 20; turns++) {
    await clock.settle();
    await clockOfSource.settle();
  }
  await installed;
  await clock.advance(200);
  expect(content()).toEqual({ a: 2, c: 3 });
  expect(view.revision).toBe(3);
  await write(put("d", 4));
  expect(content()).toEqual({ a: 2, c: 3, d: 4 });
  const closed = source.close();
  await clockOfSource.settle();
  await closed;
});

/** The state of one as a snapshot in place of the state of the other. */
async function install(source: LocalKv, target: LocalKv): Promise<void> {
  const reader = await source.state.openSnapshot();
  const writer = target.state.beginInstall();
  if (reader === undefined) throw new RangeError("the source has no checkpoint");
  for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) await writer.write(chunk);
  await reader.close();
  await writer.finish();
  writer.install();
}
