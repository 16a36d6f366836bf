// Floods over real sockets, counted in turns of the event loop: how much one turn does for clients, and how many turns
// pass until somebody else is heard who shares the loop: another client, another node.
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { FrameWriter, messagesOf } from "../../../src/api/frame.ts";
import { TURN_BYTES_MAX } from "../../../src/api/limits.ts";
import {
  clientHelloFields, clientMessageFields, parseNodeMessage, type ClientMessage, type NodeMessage,
} from "../../../src/api/protocol.ts";
import { encode } from "../../../src/base/codec.ts";
import { KiB } from "../../../src/base/units.ts";
import type { Connection } from "../../../src/env/network.ts";
import type { KeyText } from "../../../src/kvstore/core/key.ts";
import { encodeTxn } from "../../../src/kvstore/core/txn.ts";
import { PAGES_AT_ONCE_MAX, TURN_READ_BYTES_MAX } from "../../../src/kvstore/read-turns.ts";
import { createWsNetwork } from "../../../src/net/ws-adapter.ts";
import { openApi, type ApiFixture } from "./api-fixture.ts";
import { createTestTelemetry } from "./test-telemetry.ts";

const CLIENTS = 16;
/** To the other side's socket, and back. */
const ROUND_TRIP_TURNS = 8;
/** Where each of the others has its share first. */
const SHARED_TURNS = 2 * CLIENTS + ROUND_TRIP_TURNS;
const VALUE = "x".repeat(60 * KiB);
const DATA = { frameBytesMax: 1_024 };

let api: ApiFixture;
let turn: number;
let isOver: boolean;

beforeEach(async () => {
  api = await openApi();
  turn = 0;
  isOver = false;
  const count = (): void => {
    turn += 1;
    if (!isOver) setImmediate(count);
  };
  count();
});

afterEach(async () => {
  isOver = true;
  await api.close();
});

const put = (id: number): ClientMessage => {
  const then = [{ kind: "put", key: `data/large/${id % 16}` as KeyText, value: VALUE }] as const;
  return { kind: "txn", id, timeoutMs: 60_000, command: encodeTxn({ compare: [], then, else: [] }) };
};
const read = { timeoutMs: 60_000, consistency: "linearizable" } as const;
const get = (id: number): ClientMessage => ({ ...read, kind: "get", id, key: `data/large/${id % 16}` });
const list = (id: number): ClientMessage => (
  { ...read, kind: "list", id, prefix: "data/large/", limit: 1_000, after: undefined });

describe.each<[what: string, message: (id: number) => ClientMessage, count: number]>([
  ["writes", put, 40],
  ["reads of large values", get, 60],
  ["reads of pages", list, 12],
])("under a flood of %s", (_what, message, count) => {
  test("a turn does a bounded part of it, and others are heard within some turns", async () => {
    for (let id = 0; id < 16; id++) await api.local.kv.transact({
      compare: [], then: [{ kind: "put", key: `data/large/${id}` as KeyText, value: VALUE }], else: [],
    });
    const work = countWork();
    const peer = await openPeer();
    const modest = await openClient();
    const greedy = await Promise.all(Array.from({ length: CLIENTS }, openClient));
    const answered = greedy.map((client) => client.flood(Array.from({ length: count }, (_, at) => message(at + 1))));
    const done = Promise.all(answered);
    let isFlooded = true;
    void done.then(() => (isFlooded = false));
    const waits = { peer: [] as number[], client: [] as number[] };
    const measure = async (turns: number[], ask: () => Promise<unknown>): Promise<void> => {
      while (isFlooded) {
        const since = turn;
        await ask();
        turns.push(turn - since);
      }
    };
    await Promise.all([
      measure(waits.peer, peer),
      measure(waits.client, () => modest.flood([{ kind: "ping", id: 1 }])),
    ]);
    for (const answers of await done) expect(new Set(answers.map(({ kind }) => kind))).toEqual(new Set(["ok"]));
    expect(waits.peer).not.toEqual([]);
    expect(Math.max(...waits.peer)).toBeLessThanOrEqual(ROUND_TRIP_TURNS);
    expect(Math.max(...waits.client)).toBeLessThanOrEqual(SHARED_TURNS);
    // Where the two ways to count turns differ, one of theirs may end and the next begin within one of these.
    expect(work.bytesWritten()).toBeLessThanOrEqual(2 * (TURN_BYTES_MAX + VALUE.length));
    expect(work.bytesRead()).toBeLessThanOrEqual(2 * (TURN_READ_BYTES_MAX + VALUE.length));
    expect(work.pages()).toBeLessThanOrEqual(2 * PAGES_AT_ONCE_MAX);
  });
});

/** What the store is asked to do for clients, the most in any one turn. */
function countWork(): { bytesWritten(): number; bytesRead(): number; pages(): number } {
  const { kv, state } = api.local;
  const most = (): { add: (amount: number) => void; most: () => number } => {
    const perTurn = new Map<number, number>();
    return {
      add: (amount) => perTurn.set(turn, (perTurn.get(turn) ?? 0) + amount),
      most: () => Math.max(0, ...perTurn.values()),
    };
  };
  const [written, read, pages] = [most(), most(), most()];
  const transact = kv.transactEncoded.bind(kv);
  vi.spyOn(kv, "transactEncoded").mockImplementation((command, done, timeoutMs) => {
    written.add(command.byteLength);
    transact(command, done, timeoutMs);
  });
  const getLocal = state.weighLocal.bind(state);
  vi.spyOn(state, "weighLocal").mockImplementation((key) => {
    const found = getLocal(key);
    read.add(found.bytes);
    return found;
  });
  const listLocal = state.listLocal.bind(state);
  vi.spyOn(state, "listLocal").mockImplementation(async (query, undone) => {
    const page = await listLocal(query, undone);
    pages.add(1);
    return page;
  });
  return { bytesWritten: written.most, bytesRead: read.most, pages: pages.most };
}

interface FloodingClient {
  /** Sends all at once; resolves with the answers. */
  flood(messages: readonly ClientMessage[]): Promise<readonly NodeMessage[]>;
}

async function openClient(): Promise<FloodingClient> {
  const socket = new WebSocket(`${api.url.replace("http", "ws")}/v1/ws`);
  socket.binaryType = "nodebuffer";
  await once(socket, "open");
  socket.send(encode(clientHelloFields({ versionMin: 1, versionMax: 4 })));
  await once(socket, "message");
  let answers: NodeMessage[] = [];
  let onAnswers: () => void = () => undefined;
  socket.on("message", (frame: Buffer) => {
    answers.push(...messagesOf(frame).map(parseNodeMessage));
    onAnswers();
  });
  onTestFinished(() => socket.terminate());
  return {
    flood: (messages) => new Promise((resolve) => {
      answers = [];
      onAnswers = () => {
        if (answers.length === messages.length) resolve(answers);
      };
      const writer = new FrameWriter();
      for (const message of messages) writer.add(clientMessageFields(message));
      for (const frame of writer.take()) socket.send(frame);
    }),
  };
}

/** A connection as between nodes, whose other end sends back what it hears: one round trip. */
async function openPeer(): Promise<() => Promise<void>> {
  const network = createWsNetwork(createTestTelemetry([]));
  const nothing = { onOpen: () => undefined, onFrame: () => undefined, onClose: () => undefined };
  const listener = await network.listen("ws://127.0.0.1:0", DATA, (accepted: Connection) => {
    accepted.attach({ ...nothing, onFrame: (frame) => accepted.send(frame) });
  });
  const dialled = network.dial(listener.url, DATA);
  let onEcho: () => void = () => undefined;
  await new Promise<void>((resolve) => {
    dialled.attach({ ...nothing, onOpen: resolve, onFrame: () => onEcho() });
  });
  onTestFinished(async () => {
    dialled.close("the test is over");
    await listener.close();
  });
  return () => new Promise((resolve) => {
    onEcho = resolve;
    dialled.send(Uint8Array.of(1));
  });
}
