import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { encode } from "../../../src/base/codec.ts";
import { MiB } from "../../../src/base/units.ts";
import type { ConnectionHandlers } from "../../../src/env/network.ts";
import { ClientSession } from "../../../src/api/client-session.ts";
import { ClientTurns } from "../../../src/api/client-turns.ts";
import { jsonResponse } from "../../../src/api/json.ts";
import { SessionRequests } from "../../../src/api/session-requests.ts";
import { decodeFrame, messagesOf } from "../../../src/api/frame.ts";
import {
  NODE_REQUESTS_MAX, NODE_UNSENT_BYTES_MAX, SESSION_READS_MAX, SESSION_REQUESTS_MAX, SHARE_REQUESTS_MAX,
  SOCKET_STALL_MS, TURN_REQUESTS_MAX,
} from "../../../src/api/limits.ts";
import {
  clientHelloFields, clientMessageFields, parseNodeHello, parseNodeMessage, type ClientMessage, type NodeMessage,
} from "../../../src/api/protocol.ts";
import { declareApiMetrics } from "../../../src/api/metrics.ts";
import { createTestTelemetry, type LogLine } from "./test-telemetry.ts";
import { encodeTxn } from "../../../src/kvstore/core/txn.ts";
import { parseKeyText, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { OutgoingCall } from "../../../src/slices/host/outgoing-calls.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** The client's end of a connection without a network. */
class ScriptedConnection {
  bufferedBytes = 0;
  takesNothing = false;
  isReadingPaused = false;
  closedWith: string | undefined;
  readonly frames: Uint8Array[] = [];
  private handlers: ConnectionHandlers | undefined;

  attach(handlers: ConnectionHandlers): void {
    this.handlers = handlers;
  }

  send(frame: Uint8Array): void {
    this.frames.push(frame);
    if (this.takesNothing) this.bufferedBytes += frame.byteLength;
  }

  pauseReading(): void {
    this.isReadingPaused = true;
  }

  resumeReading(): void {
    this.isReadingPaused = false;
  }

  close(reason: string): void {
    this.closedWith = reason;
  }

  deliver(frame: Uint8Array): void {
    this.handlers?.onFrame(frame);
  }

  lose(): void {
    this.handlers?.onClose("gone");
  }
}

const NODE = { role: "voter", labels: {}, lastSeenMs: undefined } as const;

let clock: ManualClock;
let local: LocalKv;
let connection: ScriptedConnection;
let log: LogLine[];
let calls: { call: OutgoingCall; signal: AbortSignal | undefined }[];
let isOpen: boolean;
let load: { requests: number; unsentBytes: number };
/** For the current `connection`. */
let openSession: () => void;
let session: ClientSession;

beforeEach(async () => {
  clock = new ManualClock();
  local = await createLocalKv({ clock });
  connection = new ScriptedConnection();
  log = [];
  calls = [];
  isOpen = true;
  const telemetry = createTestTelemetry(log);
  const services = {
    kv: local.kv,
    calls: {
      call: (call: OutgoingCall, signal?: AbortSignal) => {
        calls.push({ call, signal });
        return Promise.resolve({ kind: "ok", output: call.input, attempts: 1 } as const);
      },
    },
    health: { isLive: () => true, readiness: () => ({ isReady: true }) },
    cluster: () => ({
      nodes: [
        { ...NODE, id: "n1", status: "on-duty", address: "http://127.0.0.1:7201" },
        { ...NODE, id: "n2", status: "gone", address: "http://127.0.0.1:7202" },
        { ...NODE, id: "n3", status: "starting", address: undefined },
      ],
    }),
    onBroken: (failure: Error) => {
      throw failure;
    },
  };
  load = { requests: 0, unsentBytes: 0 };
  const shared = { turns: new ClientTurns(clock), load, metrics: declareApiMetrics(telemetry) };
  const requests = new SessionRequests(() => jsonResponse(200, { seen: true }));
  const ports = { services, clock, ...shared, log: telemetry.log, node: "n1", requests };
  openSession = () => (session = new ClientSession(connection, ports, () => (isOpen = false)));
  openSession();
});

// A last checkpoint of large values takes some turns.
afterEach(() => clock.settled(local.close(), 1_000));

function greet(): void {
  connection.deliver(encode(clientHelloFields({ versionMin: 1, versionMax: 1 })));
  connection.frames.length = 0;
}

function deliver(...messages: readonly ClientMessage[]): void {
  connection.deliver(encode(messages.map(clientMessageFields)));
}

async function answers(): Promise<readonly NodeMessage[]> {
  await clock.settle();
  return connection.frames.splice(0).flatMap((frame) => messagesOf(frame).map(parseNodeMessage));
}

function put(id: number, key = "data/a", value: unknown = id): ClientMessage {
  const then = [{ kind: "put", key: key as KeyText, value }] as const;
  return { kind: "txn", id, timeoutMs: 1_000, command: encodeTxn({ compare: [], then, else: [] }) };
}

describe("the hello", () => {
  test("tells the version, the node and whether it is ready", () => {
    connection.deliver(encode(clientHelloFields({ versionMin: 1, versionMax: 9 })));
    const hello = parseNodeHello(decodeFrame(connection.frames[0] ?? new Uint8Array()));
    expect(hello).toEqual({ kind: "welcome", version: 4, node: "n1", isReady: true });
  });

  test("a client from the future is refused with what to do", () => {
    connection.deliver(encode(clientHelloFields({ versionMin: 5, versionMax: 5 })));
    const hello = parseNodeHello(decodeFrame(connection.frames[0] ?? new Uint8Array()));
    expect(hello).toMatchObject({ kind: "refused", error: { code: "E_VERSION" } });
    expect(isOpen).toBe(false);
  });

  test("a client of the version before is welcome", () => {
    connection.deliver(encode(clientHelloFields({ versionMin: 1, versionMax: 1 })));
    const hello = parseNodeHello(decodeFrame(connection.frames[0] ?? new Uint8Array()));
    expect(hello).toMatchObject({ kind: "welcome", version: 1 });
  });

  test("who says nothing is not waited for", async () => {
    await clock.advance(10_000);
    expect(isOpen).toBe(false);
  });
});

describe("a request of the API", () => {
  test("is answered with its status and JSON; one that is none is refused", async () => {
    greet();
    const request = { kind: "api", timeoutMs: 50, method: "GET", body: undefined, idempotencyKey: undefined } as const;
    deliver({ ...request, id: 1, path: "/v1/seen" }, { ...request, id: 2, path: "/elsewhere" });
    let heard: readonly NodeMessage[] = [];
    await vi.waitFor(async () => expect((heard = [...heard, ...await answers()])).toHaveLength(2));
    const byId = [...heard].sort((a, b) => a.id - b.id);
    expect(byId[0]).toEqual({ kind: "ok", id: 1, result: [200, '{"seen":true}'] });
    expect(byId[1]).toMatchObject({ kind: "error", id: 2, error: { code: "E_INVALID" } });
  });
});

describe("requests", () => {
  beforeEach(greet);

  test("members: where the others are reached, without those that are gone, and whether this node serves", async () => {
    deliver({ kind: "members", id: 1 });
    const [answer] = await answers();
    expect(answer).toEqual({ kind: "ok", id: 1, result: [true, ["http://127.0.0.1:7201"]] });
  });

  test("answers of one turn leave as one frame", async () => {
    deliver(put(1), put(2), { kind: "get", id: 3, timeoutMs: 100, key: "data/a", consistency: "local" });
    await clock.settle();
    // The local read is answered a turn before the writes are decided.
    expect(connection.frames.length).toBeLessThanOrEqual(2);
    const found = await answers();
    expect(found.map(({ kind, id }) => [kind, id])).toEqual(expect.arrayContaining([["ok", 1], ["ok", 2], ["ok", 3]]));
  });

  test.each<[what: string, message: ClientMessage, code: string]>([
    ["a system key", put(1, "nodes/n1/state"), "E_FORBIDDEN"],
    ["bytes that are no command", { kind: "txn", id: 1, timeoutMs: 9, command: encode([9]) }, "E_INVALID"],
    ["garbage for a command", { kind: "txn", id: 1, timeoutMs: 9, command: Buffer.of(0xc1) }, "E_INVALID"],
    ["a bad key", { kind: "get", id: 1, timeoutMs: 9, key: "nonsense", consistency: "local" }, "E_INVALID"],
    ["a bad prefix", { kind: "watch", id: 1, prefix: "nonsense/" }, "E_INVALID"],
  ])("%s is refused and the session goes on", async (_what, message, code) => {
    deliver(message);
    expect(await answers()).toMatchObject([{ kind: "error", id: 1, error: { code } }]);
    deliver(put(2));
    expect(await answers()).toMatchObject([{ kind: "ok", id: 2 }]);
    expect(log).toEqual([]);
  });

  test("a value whose bytes are no plain data is refused before it is proposed", async () => {
    const command = encode([1, [], [[0, "data/a", Buffer.of(0xd5, 1, 0, 0)]], []]);
    deliver({ kind: "txn", id: 1, timeoutMs: 9, command });
    expect(await answers()).toMatchObject([{ kind: "error", error: { code: "E_INVALID" } }]);
    expect(local.kv.revision).toBe(0);
  });

  test("more requests than the limit are refused, and accepted again later", async () => {
    local.group.setMode("silent");
    deliver(...Array.from({ length: SESSION_REQUESTS_MAX + 1 }, (_, index) => put(index + 1)));
    expect(await answers()).toMatchObject([
      { kind: "error", id: SESSION_REQUESTS_MAX + 1, error: { code: "E_OVERLOADED" } },
    ]);
    local.group.setMode("deciding");
    expect(await answers()).toHaveLength(SESSION_REQUESTS_MAX);
    deliver(put(9_999));
    expect(await answers()).toMatchObject([{ kind: "ok", id: 9_999 }]);
  });

  test("while all clients together have too much under way, those with little are served all the same", async () => {
    local.group.setMode("silent");
    const small = Array.from({ length: SHARE_REQUESTS_MAX }, (_, at) => put(at + 1));
    load.requests = NODE_REQUESTS_MAX;
    deliver(...small, put(500), { kind: "get", id: 501, timeoutMs: 100, key: "data/a", consistency: "local" });
    expect(await answers()).toMatchObject([
      { kind: "error", id: 500, error: { code: "E_OVERLOADED" } },
      { kind: "error", id: 501, error: { code: "E_OVERLOADED" } },
    ]);
    expect(load.requests).toBe(NODE_REQUESTS_MAX + small.length);
    local.group.setMode("deciding");
    expect(await answers()).toHaveLength(small.length);
    expect(load.requests).toBe(NODE_REQUESTS_MAX);
  });

  test("what a client had under way is not counted any more once it is gone", async () => {
    const gets = Array.from({ length: 2 * SESSION_READS_MAX }, (_, at): ClientMessage =>
      ({ kind: "get", id: at + 1, timeoutMs: 100, key: "data/a", consistency: "linearizable" }));
    deliver(...gets, { kind: "cancel", id: gets.length });
    expect(load.requests).toBe(gets.length - 1);
    connection.lose();
    await clock.settle();
    expect(load.requests).toBe(0);
  });

  test("a value deeper than what may be stored is refused, so that no answer is too deep to send", async () => {
    const deep = Uint8Array.from([...Array<number>(70).fill(0x91), 0xc0]);
    deliver({ kind: "txn", id: 1, timeoutMs: 9, command: encode([1, [], [[0, "data/a", deep]], []]) });
    expect(await answers()).toMatchObject([{ kind: "error", error: { code: "E_INVALID" } }]);
  });

  test("a transaction whose results are too large to send is not said to be not applied", async () => {
    for (let at = 0; at < 12; at++) deliver(put(at + 1, `data/${at}`, "x".repeat(500 * 1024)));
    await answers();
    const gets = Array.from({ length: 12 }, (_, at) => ({ kind: "get", key: `data/${at}` as KeyText }) as const);
    const then = [{ kind: "put", key: "data/b" as KeyText, value: 1 }, ...gets] as const;
    deliver({ kind: "txn", id: 99, timeoutMs: 1_000, command: encodeTxn({ compare: [], then, else: [] }) });
    expect(await answers()).toMatchObject([
      { kind: "error", id: 99, error: { code: "E_TOO_LARGE", outcome: "unknown" } },
    ]);
    expect(local.kv.revision).toBe(13);
  });

  test("of a flood of reads only some are under way, and none begins while the socket is full", async () => {
    deliver(put(1_000, "data/a", "x".repeat(64 * 1024)));
    await answers();
    const reads = Array.from({ length: 300 }, (_, at): ClientMessage => (
      { kind: "get", id: at + 1, timeoutMs: 1_000, key: "data/a", consistency: "local" }));
    connection.takesNothing = true;
    deliver(...reads);
    const first = await answers();
    expect(first.length).toBeLessThanOrEqual(3 * SESSION_READS_MAX);
    deliver({ kind: "cancel", id: 300 });
    connection.takesNothing = false;
    connection.bufferedBytes = 0;
    await clock.advance(10);
    expect(await answers()).toHaveLength(300 - first.length - 1);
  });

  test("a watch hears its prefix until it is cancelled", async () => {
    deliver({ kind: "watch", id: 7, prefix: "data/w/" });
    expect(await answers()).toEqual([{ kind: "ok", id: 7, result: 0 }]);
    deliver(put(8, "data/w/a"), put(9, "data/other"));
    const found = await answers();
    expect(found.filter(({ kind }) => kind === "changes")).toMatchObject([{ id: 7, revision: 1 }]);
    deliver({ kind: "cancel", id: 7 }, put(10, "data/w/b"));
    expect((await answers()).map(({ kind }) => kind)).toEqual(["ok"]);
  });

  test("a watcher whose socket is full gets its changes when it has taken what waits", async () => {
    deliver({ kind: "watch", id: 7, prefix: "data/" });
    await answers();
    connection.bufferedBytes = 9 * 1024 * 1024;
    deliver(put(8), put(9));
    expect((await answers()).map(({ kind }) => kind)).toEqual(["ok", "ok"]);
    connection.bufferedBytes = 0;
    await clock.advance(10);
    expect(await answers()).toMatchObject([{ kind: "changes", revision: 1 }, { kind: "changes", revision: 2 }]);
  });

  test("a watch from the past begins there; one from too long ago is refused with the oldest revision", async () => {
    const value = "x".repeat(500_000);
    for (let count = 0; count < 40; count++) {
      deliver(put(8, "data/a", value));
      await answers();
    }
    const { oldestRevision } = local.kv;
    deliver({ kind: "watch", id: 7, prefix: "data/", from: 1 }, { kind: "watch", id: 9, prefix: "data/", from: 40 });
    const found = await answers();
    expect(found).toMatchObject([
      { kind: "error", id: 7, error: { code: "E_COMPACTED", details: { oldest: oldestRevision } } },
      { kind: "ok", id: 9, result: 39 },
      { kind: "changes", id: 9, revision: 40 },
    ]);
  });

  test("progress is told to who asks for it, and to clients of version 1 never", async () => {
    const watch: ClientMessage = { kind: "watch", id: 7, prefix: "nodes/" };
    deliver(watch, put(8));
    await answers();
    deliver({ kind: "progress", id: 7 });
    await clock.advance(20_000);
    expect(await answers()).toEqual([]);
    connection = new ScriptedConnection();
    openSession();
    connection.deliver(encode(clientHelloFields({ versionMin: 2, versionMax: 2 })));
    connection.frames.length = 0;
    deliver(watch, { kind: "progress", id: 7 });
    expect(await answers()).toEqual([{ kind: "ok", id: 7, result: 1 }, { kind: "progress", id: 7, revision: 1 }]);
  });

  test("reads of an earlier revision", async () => {
    deliver(put(1, "data/a", "old"), put(2, "data/a", "new"));
    await answers();
    const read = { timeoutMs: 1_000, consistency: "local", revision: 1 } as const;
    deliver(
      { kind: "get", id: 3, key: "data/a", ...read },
      { kind: "list", id: 4, prefix: "data/", limit: 5, after: undefined, ...read },
    );
    await clock.advance(1);
    const entry = ["data/a", "old", 1, 1, 1];
    expect(await answers()).toEqual([
      { kind: "ok", id: 3, result: [1, entry] },
      { kind: "ok", id: 4, result: [[entry], 1, false] },
    ]);
  });

  test("a client that has much to read and takes none of it is cut off", async () => {
    connection.bufferedBytes = 65 * MiB;
    deliver(put(1));
    await clock.advance(SOCKET_STALL_MS - 10);
    expect(isOpen).toBe(true);
    await clock.advance(20);
    expect(isOpen).toBe(false);
    expect(log).toMatchObject([{ event: "api.session_too_slow" }]);
  });

  test("many large answers at once wait for a client that reads, and come in their order", async () => {
    connection.takesNothing = true;
    const input = "x".repeat(4 * MiB);
    const call = { kind: "call", timeoutMs: 700, slice: "orders", method: "place", input } as const;
    for (let id = 1; id <= 32; id++) deliver({ ...call, id, idempotencyKey: undefined, traceparent: undefined });
    const ids: number[] = [];
    for (let reads = 0; reads < 100 && ids.length < 32; reads++) {
      ids.push(...(await answers()).map(({ id }) => id));
      expect(connection.bufferedBytes).toBeLessThan(32 * MiB);
      await clock.advance(SOCKET_STALL_MS / 2);
      connection.bufferedBytes = 0;
      await clock.advance(10);
    }
    expect(ids).toEqual(Array.from({ length: 32 }, (_, at) => at + 1));
    expect([isOpen, load.unsentBytes]).toEqual([true, 0]);
  });

  test("a client with much to read is cut off at once when all have too much", async () => {
    connection.bufferedBytes = 65 * MiB;
    load.unsentBytes = NODE_UNSENT_BYTES_MAX;
    deliver(put(1));
    await answers();
    expect(isOpen).toBe(false);
    expect(load.unsentBytes).toBe(NODE_UNSENT_BYTES_MAX);
  });

  test("a session that is to end does so when its last answer has left", async () => {
    connection.bufferedBytes = 17 * MiB;
    deliver(put(1));
    await clock.settle();
    session.finish("stopping");
    expect([connection.closedWith, connection.frames]).toEqual([undefined, []]);
    connection.bufferedBytes = 0;
    await clock.advance(10);
    expect(await answers()).toMatchObject([{ kind: "ok", id: 1 }]);
    expect(connection.closedWith).toBe("stopping");
  });

  test("a call carries its deadline and trace; leaving cancels it", async () => {
    const call = { kind: "call", id: 5, timeoutMs: 700, slice: "orders", method: "place" } as const;
    deliver({ ...call, input: { sku: "tea" }, idempotencyKey: undefined, traceparent: "t" });
    expect(await answers()).toEqual([{ kind: "ok", id: 5, result: [{ sku: "tea" }, 1, false] }]);
    expect(calls[0]?.call).toEqual({
      slice: "orders", method: "place", input: { sku: "tea" }, timeoutMs: 700, traceparent: "t",
    });
    deliver({ ...call, id: 6, input: undefined, idempotencyKey: undefined, traceparent: undefined });
    connection.lose();
    expect(calls[1]?.signal?.aborted).toBe(true);
  });

  test("of more than one turn takes the rest waits in order, and the client is not read meanwhile", async () => {
    const count = 3 * TURN_REQUESTS_MAX;
    deliver(...Array.from({ length: count }, (_, id): ClientMessage => ({ kind: "ping", id })));
    expect(connection.isReadingPaused).toBe(true);
    // What had arrived already comes after it.
    deliver({ kind: "ping", id: count });
    const found = await answers();
    expect(found.map(({ id }) => id)).toEqual(Array.from({ length: count + 1 }, (_, id) => id));
    expect(connection.isReadingPaused).toBe(false);
  });

  test("another session that wants little does not wait for one that wants much", async () => {
    const flooding = connection;
    deliver(...Array.from({ length: 3 * TURN_REQUESTS_MAX }, (_, id): ClientMessage => ({ kind: "ping", id })));
    connection = new ScriptedConnection();
    openSession();
    greet();
    deliver({ kind: "ping", id: 1 });
    expect(connection.isReadingPaused).toBe(false);
    let floodedBefore: number | undefined;
    connection.send = () => {
      floodedBefore = flooding.frames.flatMap((frame) => messagesOf(frame)).length;
    };
    await clock.settle();
    expect(floodedBefore).toBeLessThan(3 * TURN_REQUESTS_MAX);
  });

  test("what waits of a session that ended is not begun", async () => {
    deliver(...Array.from({ length: TURN_REQUESTS_MAX }, (_, id): ClientMessage => ({ kind: "ping", id })), put(1));
    connection.lose();
    await clock.settle();
    expect((await local.kv.get(parseKeyText("data/a"), { consistency: "local" })).entry).toBeUndefined();
  });

  test("a ping is answered", async () => {
    deliver({ kind: "ping", id: 0 });
    expect(await answers()).toEqual([{ kind: "ok", id: 0, result: null }]);
  });
});

describe("when the node is about to stop", () => {
  const call = {
    kind: "call", id: 1, timeoutMs: 700, slice: "a", method: "b", idempotencyKey: undefined, traceparent: undefined,
  } as const;

  test("a client that understands it is sent away once, has its answers, and ends the session itself", async () => {
    connection.deliver(encode(clientHelloFields({ versionMin: 1, versionMax: 3 })));
    connection.frames.length = 0;
    session.sendAway();
    session.sendAway();
    expect(await answers()).toEqual([{ kind: "leaving", id: 0 }]);
    session.finish("stopping");
    deliver({ ...call, input: 5 });
    expect(await answers()).toEqual([{ kind: "ok", id: 1, result: [5, 1, false] }]);
    expect(isOpen).toBe(true);
    connection.lose();
    expect(isOpen).toBe(false);
  });

  test("one that does not is not told; its session ends with its last answer", async () => {
    greet();
    session.sendAway();
    expect(await answers()).toEqual([]);
    deliver({ ...call, input: 5 }, put(2));
    session.finish("stopping");
    expect([isOpen, connection.closedWith]).toEqual([true, undefined]);
    expect((await answers()).map(({ kind, id }) => `${kind} ${id}`).sort()).toEqual(["ok 1", "ok 2"]);
    expect([isOpen, connection.closedWith]).toEqual([false, "stopping"]);
  });

  test("a session without anything under way ends at once", () => {
    greet();
    session.finish("stopping");
    expect([isOpen, connection.closedWith]).toEqual([false, "stopping"]);
  });
});

describe("garbage ends this session with one line in the log", () => {
  test.each([
    ["no MessagePack", Buffer.from("GET / HTTP/1.1")],
    ["an array bomb", Buffer.of(0xdd, 0xff, 0xff, 0xff, 0xff)],
    ["no array of messages", encode({ a: 1 })],
    ["an unknown tag", encode([[99, 1]])],
    ["a message without id", encode([[1]])],
    ["a message that is undefined", encode([undefined])],
    ["nothing", Buffer.alloc(0)],
  ])("%s", async (_what, frame) => {
    greet();
    connection.deliver(frame);
    await clock.settle();
    expect(isOpen).toBe(false);
    expect(connection.closedWith).toBeDefined();
    expect(log).toMatchObject([{ event: "api.session_garbage", level: "warn" }]);
    connection.deliver(frame);
    expect(log).toHaveLength(1);
  });

  test("a bad hello", () => {
    connection.deliver(encode(["hi"]));
    expect(isOpen).toBe(false);
    expect(log).toHaveLength(1);
  });

  test("two calls with one id", async () => {
    greet();
    const watch: ClientMessage = { kind: "watch", id: 3, prefix: "data/" };
    deliver(watch, watch);
    await clock.settle();
    expect(isOpen).toBe(false);
  });

  test("what was applied before stays, and the store is unharmed", async () => {
    greet();
    deliver(put(1));
    connection.deliver(Buffer.of(0xc1));
    await clock.settle();
    const read = await local.kv.get(parseKeyText("data/a"), { consistency: "local" });
    expect(read.entry?.value).toBe(1);
  });
});
