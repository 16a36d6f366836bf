// Snapshots on their way from one node to another: over connections that break, messages that are lost or come twice,
// processes that die, slow disks and bad chunks. Real states, real drivers, a clock and a network moved by hand.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AetherError } from "../../src/base/errors.ts";
import { type NodeId, parseNodeId } from "../../src/base/ids.ts";
import { SeededRandom } from "../../src/base/random.ts";
import type { OrderedStore, StorePort } from "../../src/env/store.ts";
import type { PeerMessaging } from "../../src/net/peer-messaging.ts";
import {
  decodeSnapshotMessage,
  encodeSnapshotMessage,
  type SnapshotMessage,
} from "../../src/consensus/core/snapshot-message.ts";
import { SnapshotCatchUp } from "../../src/consensus/snapshot-catch-up.ts";
import { SnapshotExchange } from "../../src/consensus/snapshot-exchange.ts";
import { CREDIT_CHUNKS, IDLE_MS_MAX, TRANSFERS_MAX } from "../../src/consensus/snapshot-sender.ts";
import { STANDSTILL_MS_MAX } from "../../src/consensus/snapshot-receiver.ts";
import type { SnapshotWriter } from "../../src/consensus/state-machine.ts";
import { parseKeyText } from "../../src/kvstore/core/key.ts";
import { encodeTxn } from "../../src/kvstore/core/txn.ts";
import { KvGenerations } from "../../src/kvstore/kv-generations.ts";
import { KvState } from "../../src/kvstore/kv-state.ts";
import { CrashStores } from "../support/crash-stores.ts";
import { joinCommands, SILENT_LOG } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { MemoryHub } from "../support/memory-messaging.ts";

interface Flight {
  readonly from: string;
  readonly to: string;
  readonly message: SnapshotMessage;
}

/** What the network does with a message: how often it arrives, and with which content. */
type Fate = (flight: Flight) => readonly SnapshotMessage[];

interface TestNode {
  readonly name: NodeId;
  readonly stores: CrashStores;
  readonly state: KvState;
  readonly exchange: SnapshotExchange;
  readonly installed: number[];
  readonly failed: AetherError[];
  /** Sends under way: slots that must be kept. */
  readonly pinned: Map<string, number>;
}

const CHUNKS = 40;
let clock: ManualClock;
let hub: MemoryHub;
let fate: Fate;
let flights: Flight[];
let nodes: TestNode[];
let seed = 0;
/** What a snapshot must have to be of use. */
let wantedFrom: number;

async function join(
  name: string,
  stores = new CrashStores(),
  wrap: (stores: StorePort) => StorePort = (same) => same,
): Promise<TestNode> {
  const node = parseNodeId(name);
  const generations = await KvGenerations.open(wrap(stores));
  const onFatal = (error: AetherError): never => expect.fail(error.message);
  const state = KvState.open({ generations, clock, log: SILENT_LOG, cluster: "c", onFatal });
  const [installed, failed]: [number[], AetherError[]] = [[], []];
  const pinned = new Map<string, number>();
  const exchange = new SnapshotExchange({
    clock,
    random: new SeededRandom((seed += 1)),
    log: SILENT_LOG,
    track: () => undefined,
    messaging: throughFate(name, hub.join(node)),
    stateMachine: state,
    events: {
      onSendStart: (to, slot) => pinned.set(to, slot),
      mayServe: () => true,
      onSendEnd: (to) => pinned.delete(to),
      isStillWanted: (appliedSlots) => appliedSlots >= wantedFrom,
      onInstalled: (_mark, { appliedSlots }) => installed.push(appliedSlots),
      onFailed: (error) => failed.push(error),
      onGarbage: (from) => expect.fail(`garbage of ${from}`),
    },
  });
  const joined = { name: node, stores, state, exchange, installed, failed, pinned };
  nodes.push(joined);
  return joined;
}

function throughFate(from: string, messaging: PeerMessaging): PeerMessaging {
  return {
    connected: messaging.connected,
    onPeer: (listener) => messaging.onPeer(listener),
    channel: (name) => {
      const channel = messaging.channel(name);
      return {
        onMessage: (receive) => channel.onMessage(receive),
        refuse: (to, reason) => channel.refuse(to, reason),
        send: (to, payload) => {
          const message = decodeSnapshotMessage(payload);
          if (message === undefined) expect.fail("a node sends what others can read");
          if (!messaging.connected.has(to)) return false;
          const flight = { from, to, message };
          flights.push(flight);
          for (const arriving of fate(flight)) channel.send(to, encodeSnapshotMessage(arriving));
          return true;
        },
      };
    },
  };
}

/** Some 40 chunks. */
async function fill(node: TestNode): Promise<void> {
  for (let slot = 0; slot < CHUNKS; slot++) {
    const put = { kind: "put" as const, key: parseKeyText(`data/k${slot}`), value: `${slot}`.repeat(130_000) };
    node.state.applyBatch(joinCommands([encodeTxn({ compare: [], then: [put], else: [] })]));
    node.state.endSlot(slot, () => Uint8Array.from([slot]));
  }
  const done = node.state.checkpoint();
  await clock.advance(20);
  await done;
}

function leave(node: TestNode): void {
  hub.leave(node.name);
  nodes = nodes.filter((other) => other !== node);
}

const chunksSent = (): number => flights.filter(({ message }) => message.kind === "chunk").length;
const receivers = (): TestNode[] => nodes.slice(1);

function expectInstalled(source: TestNode, target: TestNode): void {
  expect(target.failed).toEqual([]);
  expect(target.installed).toEqual([CHUNKS]);
  expect(target.state).toMatchObject({ revision: source.state.revision, stateHash: source.state.stateHash });
  for (let slot = 0; slot < CHUNKS; slot++) {
    const key = parseKeyText(`data/k${slot}`);
    expect(target.state.getLocal(key)).toEqual(source.state.getLocal(key));
  }
}

let source: TestNode;
let target: TestNode;

beforeEach(async () => {
  clock = new ManualClock();
  hub = new MemoryHub(clock);
  fate = ({ message }) => [message];
  flights = [];
  nodes = [];
  wantedFrom = 0;
  source = await join("a");
  target = await join("b");
  await fill(source);
});
afterEach(async () => {
  // Whatever happened, nothing is held for ever.
  for (const node of nodes) node.exchange.close();
  await clock.advance(IDLE_MS_MAX * 2);
  for (const node of nodes) expect(node.pinned.size).toBe(0);
});

describe("a snapshot", () => {
  test("arrives and is installed; the log of its sender is kept from its slot on until then", async () => {
    expect(target.exchange.receiver.fetch(source.name)).toBe(true);
    expect(target.exchange.receiver.fetch(source.name)).toBe(false);
    fate = ({ message }) => (message.kind === "chunk" && message.index > 10 ? [] : [message]);
    await clock.advance(100);
    expect(source.pinned).toEqual(new Map([["b", CHUNKS]]));
    expect(target.exchange.receiver.status()).toMatchObject({ from: "a", stage: "receiving", chunks: 11 });
    fate = ({ message }) => [message];
    await clock.advance(3_000);
    expectInstalled(source, target);
    expect(target.exchange.receiver.status()).toBeUndefined();
    expect(source.pinned.size).toBe(0);
  });

  test("ends where the log after it is not kept any more, and comes anew", async () => {
    target.exchange.receiver.fetch(source.name);
    fate = ({ message }) => (message.kind === "chunk" && message.index > 10 ? [] : [message]);
    await clock.advance(100);
    source.exchange.sender.logBegins(CHUNKS);
    await clock.advance(100);
    expect(target.failed, "the log goes on from this very slot").toEqual([]);
    source.exchange.sender.logBegins(CHUNKS + 1);
    await clock.advance(100);
    expect(target.failed.splice(0)).toMatchObject([{ code: "E_UNAVAILABLE", message: /too long to be kept/ }]);
    expect([source.pinned.size, target.exchange.receiver.status()]).toEqual([0, undefined]);
    fate = ({ message }) => [message];
    target.exchange.receiver.fetch(source.name);
    await clock.advance(3_000);
    expectInstalled(source, target);
  });

  test("is followed by the log: its sender keeps that until the receiver is there, for a minute at most", async () => {
    let reached = 0;
    const sender = new SnapshotCatchUp({
      clock,
      random: new SeededRandom(0),
      log: SILENT_LOG,
      track: () => undefined,
      messaging: hub.join(parseNodeId("c")),
      stateMachine: source.state,
      appliedBy: () => reached,
      mayServe: () => true,
      isStillWanted: () => true,
      onInstalled: () => undefined,
      onDiskFailure: (error) => expect.fail(error.message),
      onGarbage: (from) => expect.fail(`garbage of ${from}`),
    });
    for (const [afterwards, waitMs] of [[CHUNKS, 0], [0, 60_000]] as const) {
      expect(sender.pinned).toBe(Number.POSITIVE_INFINITY);
      target.exchange.receiver.fetch(parseNodeId("c"));
      await clock.advance(3_000);
      expect(target.installed.splice(0)).toEqual([CHUNKS]);
      expect(sender.pinned, "it has the state, and not the log after it").toBe(CHUNKS);
      reached = afterwards;
      await clock.advance(waitMs);
      expect(sender.pinned).toBe(Number.POSITIVE_INFINITY);
      reached = 0;
    }
    await sender.close();
  });

  test("is never further ahead of its receiver's disk than the credit", async () => {
    let underWay = 0;
    let most = 0;
    fate = ({ message }) => {
      if (message.kind === "chunk") underWay = message.index + 1;
      if (message.kind === "ack") most = Math.max(most, underWay - message.below);
      return [message];
    };
    target.exchange.receiver.fetch(source.name);
    await clock.advance(1_000);
    expectInstalled(source, target);
    expect(most).toBeGreaterThan(2);
    expect(most).toBeLessThanOrEqual(CREDIT_CHUNKS);
  });

  test("arrives whatever of it is lost or comes twice", async () => {
    const random = new SeededRandom(7);
    fate = ({ message }) => (random.next() < 0.15 ? [] : random.next() < 0.15 ? [message, message] : [message]);
    target.exchange.receiver.fetch(source.name);
    await clock.advance(120_000);
    expectInstalled(source, target);
  });

  test("goes on where it was after the connection broke, again and again", async () => {
    target.exchange.receiver.fetch(source.name);
    for (let breaks = 0; breaks < 5; breaks++) {
      const before = chunksSent();
      fate = ({ message }) => {
        if (chunksSent() - before < 7) return [message];
        clock.defer(() => hub.cut(target.name));
        return [];
      };
      await clock.advance(2_500);
      fate = ({ message }) => [message];
      hub.mend(target.name);
      await clock.settle();
    }
    await clock.advance(5_000);
    expectInstalled(source, target);
    expect(chunksSent()).toBeLessThan(CHUNKS + 6 * (CREDIT_CHUNKS + 1));
  });

  test("is refused when a chunk is changed on the way, and the receiver is as before", async () => {
    fate = ({ message }) => {
      if (message.kind !== "chunk" || message.index !== 5) return [message];
      const bytes = Buffer.from(message.bytes);
      bytes.writeUInt8(bytes.readUInt8(1_000) ^ 1, 1_000);
      return [{ ...message, bytes }];
    };
    target.exchange.receiver.fetch(source.name);
    await clock.advance(1_000);
    expect(target.failed).toMatchObject([{ code: "E_DATA_CORRUPT" }]);
    expect(target.stores.names).toEqual(["kv"]);
    expect(source.pinned.size).toBe(0);
    fate = ({ message }) => [message];
    target.failed.length = 0;
    target.exchange.receiver.fetch(source.name);
    await clock.advance(1_000);
    expectInstalled(source, target);
  });

  test("is not sent from a damaged disk", async () => {
    source.stores.damage("kv", Buffer.from("data/k20"), 5_000);
    target.exchange.receiver.fetch(source.name);
    await clock.advance(1_000);
    expect(target.failed).toMatchObject([{ code: "E_UNAVAILABLE", message: expect.stringContaining("checksum") }]);
    expect(target.stores.names).toEqual(["kv"]);
  });

  test("is not there where nothing was written to disk yet", async () => {
    const empty = await join("c");
    target.exchange.receiver.fetch(empty.name);
    await clock.advance(100);
    expect(target.failed).toMatchObject([{ code: "E_UNAVAILABLE", message: expect.stringContaining("no checkpoint") }]);
  });
});

describe("a sender", () => {
  test("that dies ends the fetch after a while, and another one can be asked", async () => {
    const other = await join("c");
    await fill(other);
    target.exchange.receiver.fetch(source.name);
    fate = ({ message }) => (message.kind === "chunk" && message.index === 9 ? [] : [message]);
    await clock.advance(100);
    leave(source);
    await clock.advance(STANDSTILL_MS_MAX + 2_000);
    expect(target.failed.splice(0)).toMatchObject([{ code: "E_TIMEOUT" }]);
    fate = ({ message }) => [message];
    target.exchange.receiver.fetch(other.name);
    await clock.advance(1_000);
    expectInstalled(other, target);
  });

  test("that was started again does not know the transfer and says so at once", async () => {
    target.exchange.receiver.fetch(source.name);
    fate = ({ message }) => (message.kind === "chunk" && message.index === 9 ? [] : [message]);
    await clock.advance(100);
    leave(source);
    fate = ({ message }) => [message];
    await join("a", source.stores.restarted());
    await clock.advance(2_000);
    expect(target.failed).toMatchObject([{ code: "E_UNAVAILABLE", message: expect.stringContaining("does not know") }]);
  });

  test("forgets a receiver that died after a minute, and lets the log go", async () => {
    target.exchange.receiver.fetch(source.name);
    fate = ({ message }) => (message.kind === "chunk" && message.index === 9 ? [] : [message]);
    await clock.advance(100);
    leave(target);
    await clock.advance(IDLE_MS_MAX - 1_000);
    expect(source.pinned.size).toBe(1);
    await clock.advance(2_000);
    expect(source.pinned.size).toBe(0);
    expect(source.exchange.sender.transferCount).toBe(0);
  });

  test("begins anew for a receiver that was started again", async () => {
    target.exchange.receiver.fetch(source.name);
    fate = ({ message }) => (message.kind === "chunk" && message.index === 9 ? [] : [message]);
    await clock.advance(100);
    leave(target);
    fate = ({ message }) => [message];
    const again = await join("b", target.stores.restarted());
    again.exchange.receiver.fetch(source.name);
    await clock.advance(1_000);
    expectInstalled(source, again);
  });

  test("serves two at once and tells the third to wait", async () => {
    const [third, fourth] = [await join("c"), await join("d")];
    fate = ({ message }) => (message.kind === "chunk" && message.index > 9 ? [] : [message]);
    for (const node of receivers()) node.exchange.receiver.fetch(source.name);
    await clock.advance(500);
    expect(source.exchange.sender.transferCount).toBe(TRANSFERS_MAX);
    expect(fourth.exchange.receiver.status()).toMatchObject({ stage: "waiting", chunks: 0 });
    fate = ({ message }) => [message];
    await clock.advance(10_000);
    for (const node of [target, third, fourth]) expectInstalled(source, node);
  });
});

describe("a receiver", () => {
  test("whose disk is slow holds the sender back and still gets everything", async () => {
    const slow = await join("c", new CrashStores(), (stores) => slowed(stores, 2_000));
    slow.exchange.receiver.fetch(source.name);
    await clock.advance(20_000);
    expect(slow.exchange.receiver.status()).toMatchObject({ stage: "receiving" });
    expect(chunksSent()).toBeLessThan(CHUNKS);
    await clock.advance(200_000);
    expectInstalled(source, slow);
  });

  test("that does not need it any more gives it up, also when it is complete on disk", async () => {
    target.exchange.receiver.fetch(source.name);
    fate = ({ message }) => (message.kind === "chunk" && message.index > 9 ? [] : [message]);
    await clock.advance(100);
    target.exchange.receiver.cancel();
    await clock.settle();
    expect(target.exchange.receiver.isBusy).toBe(false);
    expect(target.stores.names).toEqual(["kv"]);
    expect(source.pinned.size).toBe(0);
    expect([target.installed, target.failed]).toEqual([[], []]);
  });

  test("that ends too early to be of use is refused before its chunks come", async () => {
    wantedFrom = CHUNKS + 1;
    target.exchange.receiver.fetch(source.name);
    await clock.advance(100);
    expect(target.failed).toMatchObject([{ code: "E_UNAVAILABLE" }]);
    expect(target.exchange.receiver.isBusy).toBe(false);
    expect(target.stores.names).toEqual(["kv"]);
    // No more than was on its way meanwhile.
    expect(chunksSent()).toBeLessThanOrEqual(CREDIT_CHUNKS);
    wantedFrom = CHUNKS;
    target.failed.length = 0;
    target.exchange.receiver.fetch(source.name);
    await clock.advance(3_000);
    expectInstalled(source, target);
  });

  test("ignores what strangers and earlier transfers send", async () => {
    const stranger = await join("c");
    target.exchange.receiver.fetch(source.name);
    fate = ({ message }) => (message.kind === "chunk" && message.index > 9 ? [] : [message]);
    await clock.advance(100);
    const transfer = flights[0]?.message.transfer ?? "";
    const channel = hub.join(parseNodeId("d")).channel("bulk");
    for (const message of [
      { kind: "end", transfer, reason: "no" },
      { kind: "chunk", transfer, index: 10, isLast: true, bytes: Uint8Array.from([1]) },
    ] as const) {
      channel.send(target.name, encodeSnapshotMessage(message));
    }
    source.exchange.receiver.take(stranger.name, { kind: "wait", transfer });
    fate = ({ message }) => [message];
    await clock.advance(2_000);
    expectInstalled(source, target);
  });
});

/** Writes take a while, one after the other. */
function slowed(stores: StorePort, delayMs: number): StorePort {
  return {
    list: () => stores.list(),
    destroy: (name) => stores.destroy(name),
    open: async (name) => {
      const store = await stores.open(name);
      let busyUntilMs = 0;
      const write: OrderedStore["write"] = (ops, done) => {
        busyUntilMs = Math.max(busyUntilMs, clock.nowMs()) + delayMs;
        clock.setTimer(busyUntilMs - clock.nowMs(), () => store.write(ops, done));
      };
      return { ...store, write };
    },
  };
}

test("what a node's own state machine refuses ends the transfer with its reason", async () => {
  const refusing: SnapshotWriter = {
    write: () => Promise.reject(new RangeError("no")),
    finish: () => Promise.reject(new RangeError("no")),
    install: () => expect.fail("never"),
    abort: () => Promise.resolve(),
  };
  target.state.beginInstall = () => refusing;
  target.exchange.receiver.fetch(source.name);
  await clock.advance(1_000);
  expect(target.failed).toHaveLength(1);
  expect(source.exchange.sender.transferCount).toBe(0);
});

test("what is sent beyond the credit is not taken, so that a slow disk does not fill the memory", async () => {
  let taken = 0;
  const slow: SnapshotWriter = {
    write: () => {
      taken += 1;
      return new Promise(() => undefined);
    },
    finish: () => expect.fail("never"),
    install: () => expect.fail("never"),
    abort: () => Promise.resolve(),
  };
  target.state.beginInstall = () => slow;
  const stranger = hub.join(parseNodeId("d"));
  target.exchange.receiver.fetch(parseNodeId("d"));
  await clock.advance(10);
  const transfer = flights.at(-1)?.message.transfer ?? "";
  for (let index = 0; index < 5 * CREDIT_CHUNKS; index++) {
    const chunk = { kind: "chunk", transfer, index, isLast: false, bytes: Uint8Array.of(1) } as const;
    stranger.channel("bulk").send(target.name, encodeSnapshotMessage(chunk));
  }
  await clock.advance(10);
  expect(taken).toBe(CREDIT_CHUNKS);
});
