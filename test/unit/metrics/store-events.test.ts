import { afterEach, beforeEach, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { parseNodeId } from "../../../src/base/ids.ts";
import { formatKey } from "../../../src/kvstore/core/key.ts";
import type { Kv, KvWatchHandlers } from "../../../src/kvstore/kv.ts";
import { EventHub } from "../../../src/metrics/events/event-hub.ts";
import { CLUSTER_EVENT_RULES } from "../../../src/metrics/events/open-events.ts";
import { EVENTS_REVISIONS_READ_MAX, StoreEvents } from "../../../src/metrics/events/store-events.ts";
import { SILENT_TELEMETRY } from "../../support/cluster-world.ts";
import { writeLaterKey } from "../../support/later-key.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const N1 = parseNodeId("n1");
const RETRY_MS = 1_000;
let clock: ManualClock;
let local: LocalKv;
let hub: EventHub;
let events: StoreEvents;
/** Ends the watch, as the store does. */
let end: KvWatchHandlers["onEnd"];
/** What the store says that it still holds, where a test says so. */
let oldest: number | undefined;
const fatal: unknown[] = [];

beforeEach(async () => {
  clock = new ManualClock();
  const opening = createLocalKv({ clock });
  await clock.settle();
  local = await opening;
  oldest = undefined;
  open();
});

afterEach(async () => {
  await events.close();
  const closing = local.close();
  await clock.settle();
  await closing;
  expect(fatal).toEqual([]);
});

function open(): void {
  const { kv } = local;
  const seen: Pick<Kv, "list" | "watch" | "revision" | "oldestRevision"> = {
    list: (query, options) => kv.list(query, options),
    watch: (prefix, handlers, options) => {
      end = handlers.onEnd;
      return kv.watch(prefix, handlers, options);
    },
    get revision() {
      return kv.revision;
    },
    get oldestRevision() {
      return oldest ?? kv.oldestRevision;
    },
  };
  hub = new EventHub({ node: N1, incarnation: 1 });
  const ports = { kv: seen, hub, rules: CLUSTER_EVENT_RULES, onFatal: (error: unknown) => void fatal.push(error) };
  events = new StoreEvents({ clock, telemetry: SILENT_TELEMETRY }, ports, N1);
  events.start();
}

async function want(node: string, wanted: "drained" | "on-duty"): Promise<void> {
  const key = formatKey({ kind: "node-intent", node: parseNodeId(node) });
  const writing = local.kv.transact({ compare: [], then: [{ kind: "put", key, value: { want: wanted } }], else: [] });
  await clock.settle();
  await writing;
}

function told(): readonly string[] {
  return hub.list({}, { limit: 1_000 }).events.map(({ text }) => text);
}

test("a node that starts later reads the same from the past", async () => {
  await clock.settle();
  await want("n2", "drained");
  await want("n2", "on-duty");
  const live = hub.list({}, { limit: 10 }).events.map(({ id, text }) => `${id} ${text}`);
  expect(told()).toEqual(["n2 is to be drained", "n2 is to be on duty again"]);
  await events.close();
  open();
  await clock.settle();
  expect(hub.list({}, { limit: 10 }).events.map(({ id, text }) => `${id} ${text}`)).toEqual(live);
});

test("what was so before the past that is read is no event", async () => {
  await want("n2", "drained");
  await want("n3", "drained");
  await events.close();
  oldest = local.kv.revision;
  open();
  await clock.settle();
  expect(told()).toEqual(["n3 is to be drained"]);
});

test("a watch that ends goes on where it was, and nothing comes twice", async () => {
  await clock.settle();
  await want("n2", "drained");
  end(new AetherError("E_UNAVAILABLE", "the node is busy"));
  await clock.settle();
  await want("n2", "on-duty");
  await clock.advance(RETRY_MS);
  expect(told()).toEqual(["n2 is to be drained", "n2 is to be on duty again"]);
});

test("a node that was given a later state says what it does not know, and goes on from there (E5)", async () => {
  await clock.settle();
  const seen = local.kv.revision;
  end(new AetherError("E_COMPACTED", "a later state took its place"));
  await clock.settle();
  await want("n2", "drained");
  await want("n3", "drained");
  oldest = local.kv.revision + 1;
  await clock.advance(RETRY_MS);
  expect(told()).toEqual([`n1 does not know what happened in revisions ${seen + 1} to ${seen + 2}`]);
  await want("n2", "on-duty");
  expect(told().slice(1)).toEqual(["n2 is to be on duty again"]);
});

test("of a long past only the end is read", async () => {
  await events.close();
  for (let left = EVENTS_REVISIONS_READ_MAX + 10; left > 0; left--) {
    const key = formatKey({ kind: "data", path: "a" });
    void local.kv.transact({ compare: [], then: [{ kind: "put", key, value: left }], else: [] });
    if (left % 500 === 0) await clock.settle();
  }
  await clock.settle();
  open();
  // Reading so far back takes several turns.
  await clock.advance(10);
  expect(hub.list({}, { limit: 1, after: "1.0" }).gaps).toContain("membership");
});

test("keys that only a later build knows are no events, and stop nobody, also at the next start", async () => {
  await clock.settle();
  writeLaterKey(local, { kind: "node-intent", node: parseNodeId("n2") });
  await clock.settle();
  await want("n2", "drained");
  expect(told()).toEqual(["n2 is to be drained"]);
  await events.close();
  oldest = local.kv.revision + 1;
  open();
  await clock.settle();
  await want("n2", "on-duty");
  expect(told()).toEqual(["n2 is to be on duty again"]);
});
