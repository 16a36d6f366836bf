// Slow. Real traffic of clients and of nodes, recorded, damaged and sent again to live nodes; and more requests than a
// node takes. Nodes stay up, their memory stays bounded, and the cluster serves as before.
import { connect as connectTcp, createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { z } from "zod";
import { encode } from "../../src/base/codec.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { FrameWriter, messagesOf } from "../../src/api/frame.ts";
import { clientHelloFields, clientMessageFields, parseNodeMessage } from "../../src/api/protocol.ts";
import { connect } from "../../src/client/connect.ts";
import { parseKeyText } from "../../src/kvstore/core/key.ts";
import { encodeTxn } from "../../src/kvstore/core/txn.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const MiB = 1024 * 1024;
/** Beyond what a node has at rest: its queues, its caches, and what a collector leaves for later. */
const GROWTH_BYTES_MAX = 400 * MiB;
const RECORDED_BYTES_MAX = 256 * 1024;
const REPLAYS = 150;
const QUIET_MS = 20;
/** What a node under a flood may answer. However busy it is, it does not take the others for gone. */
const REFUSALS = ["E_OVERLOADED"];

interface Recording {
  readonly chunks: Buffer[];
  bytes: number;
}

/** Hands bytes on, and keeps the beginning of what each connection sent to the server. */
class Recorder {
  private readonly recordings: Recording[] = [];
  private readonly target: string;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  constructor(target: string) {
    this.target = target;
    this.server = createServer((socket) => this.accept(socket));
  }

  async listen(): Promise<number> {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    const address = this.server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** Of the connection that said most: the first ones may have come before the server was up. */
  get longest(): Buffer {
    const [longest] = [...this.recordings].sort((a, b) => b.bytes - a.bytes);
    return Buffer.concat(longest?.chunks ?? []);
  }

  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  private accept(socket: Socket): void {
    const upstream = openTcp(this.target);
    for (const side of [socket, upstream]) {
      this.sockets.add(side);
      // ignored: either side may go first
      side.on("error", () => undefined);
    }
    const recording: Recording = { chunks: [], bytes: 0 };
    this.recordings.push(recording);
    socket.on("data", (chunk) => {
      if (recording.bytes < RECORDED_BYTES_MAX) {
        recording.chunks.push(chunk);
        recording.bytes += chunk.byteLength;
      }
      upstream.write(chunk);
    });
    upstream.on("data", (chunk) => socket.write(chunk));
    socket.on("close", () => upstream.destroy());
    upstream.on("close", () => socket.destroy());
  }
}

let fleet: NodeFleet;
let peers: Recorder;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  // Of two nodes the one with the lower id dials: what n1 says to n2 goes through here.
  peers = new Recorder(fleet.peer("n2"));
  const port = await peers.listen();
  const voters = Object.fromEntries(fleet.names.map((name) => [name, fleet.peer(name)]));
  const started = await Promise.all(
    fleet.names.map((name) =>
      fleet.launch(name, name === "n1" ? { voters: { ...voters, n2: `ws://127.0.0.1:${port}` } } : {}),
    ),
  );
  await Promise.all(started.map((node) => node.ready()));
});

afterAll(async () => {
  peers.close();
  await fleet.close();
});

test("recorded traffic of a client, damaged and sent again, does no harm", async () => {
  const recorder = new Recorder(fleet.api("n1"));
  const port = await recorder.listen();
  const client = connect({ nodes: [`http://127.0.0.1:${port}`], discovery: "off" });
  onTestFinished(() => recorder.close());
  const lease = await client.kv.lease({ ttlMs: 60_000 });
  await client.kv.watch("data/", { onChanges: () => undefined, onEnd: () => undefined });
  for (let at = 0; at < 50; at++) {
    await client.kv.put(`data/recorded/${at % 5}`, { at, text: "x".repeat(at) });
    await client.kv.get(`data/recorded/${at % 5}`);
  }
  await client.kv.list({ prefix: "data/" });
  // ignored: there is no such slice; the request is what is recorded
  await client.call({ slice: "nobody", method: "run", input: { a: [1, 2] } }).catch(() => undefined);
  await lease.revoke();
  client.close();
  await replayDamaged("n1", fleet.api("n1"), recorder.longest);
});

test("recorded traffic of a node, damaged and sent again, does no harm", async () => {
  const client = connect({ nodes: [fleet.api("n1")] });
  await eventually("enough was recorded", async () => {
    await client.kv.put("data/recorded/peer", "x".repeat(1_000));
    return peers.longest.byteLength > 64 * 1024 || undefined;
  });
  client.close();
  await replayDamaged("n2", fleet.peer("n2"), peers.longest);
  const counted = z.string().parse((await ask(`${fleet.api("n2")}/metrics`)).body);
  expect(counted).toMatch(/aether_net_refused_total\{[^}]*reason="bad-frame"[^}]*\} [1-9]/);
});

test("more requests than a node takes: each is answered, memory is bounded, and it serves at once", async () => {
  const before = await residentBytes("n3");
  const floods = await Promise.all(Array.from({ length: 16 }, () => flood(fleet.api("n3"), 4_096)));
  const codes = new Map<string, number>();
  for (const answers of floods) for (const code of answers) codes.set(code, (codes.get(code) ?? 0) + 1);
  const grown = (await residentBytes("n3")) - before;
  process.stdout.write(
    `65,536 puts at once: ${JSON.stringify(Object.fromEntries(codes))}, grown by ${Math.round(grown / MiB)} MiB\n`,
  );
  expect([...codes.keys()].filter((code) => code !== "ok" && !REFUSALS.includes(code))).toEqual([]);
  expect(codes.get("E_OVERLOADED") ?? 0).toBeGreaterThan(0);
  expect(codes.get("ok") ?? 0).toBeGreaterThan(0);
  expect(grown).toBeLessThan(GROWTH_BYTES_MAX);
  await expectServing();
});

/** As it was, and with bits flipped, cut, or repeated inside. */
async function replayDamaged(name: string, url: string, recorded: Buffer): Promise<void> {
  expect(recorded.byteLength).toBeGreaterThan(1_000);
  const before = await residentBytes(name);
  const random = new SeededRandom(7);
  await replay(url, recorded);
  for (let round = 0; round < REPLAYS; round++) {
    const bytes = Buffer.from(recorded);
    for (let flips = 1 + random.below(4); flips > 0; flips--) {
      // The first bytes ask for the WebSocket, and are damaged less often than what they lead to.
      const at = random.below(round % 5 === 0 ? Math.min(400, bytes.length) : bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    }
    const cut = round % 7 === 0 ? bytes.subarray(0, random.below(bytes.length)) : bytes;
    const from = random.below(recorded.length);
    await replay(url, round % 11 === 0 ? Buffer.concat([cut, recorded.subarray(from, from + 10_000)]) : cut);
    expect(fleet.process(name).isRunning, fleet.process(name).transcript()).toBe(true);
  }
  const grown = (await residentBytes(name)) - before;
  process.stdout.write(`${REPLAYS} damaged replays to ${name}: grown by ${Math.round(grown / MiB)} MiB\n`);
  expect(grown).toBeLessThan(GROWTH_BYTES_MAX);
  await expectServing();
}

/** Every node takes a write, and all have the same afterwards. */
async function expectServing(): Promise<void> {
  for (const name of fleet.names) {
    expect(fleet.process(name).isRunning, fleet.process(name).transcript()).toBe(true);
    const client = connect({ nodes: [fleet.api(name)], discovery: "off" });
    await eventually(`${name} takes writes`, async () => {
      await client.kv.put(`data/after/${name}`, name);
      return true;
    });
    client.close();
  }
  const pages = await eventually("all nodes have the same", async () => {
    const found = await Promise.all(
      fleet.apis.map(async (api) => (await ask(`${api}/v1/kv?prefix=data/&consistency=local`)).body),
    );
    const texts = new Set(found.map((page) => JSON.stringify(z.object({ entries: z.unknown() }).parse(page).entries)));
    return texts.size === 1 ? found : undefined;
  });
  expect(pages).toHaveLength(fleet.names.length);
}

/** Sends everything, waits for a moment, leaves. */
async function replay(url: string, bytes: Buffer): Promise<void> {
  const socket = openTcp(url);
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("data", () => undefined);
  socket.write(bytes);
  // Long enough to be read; the other side may close first, which is as good.
  await Promise.race([closed, sleep(QUIET_MS)]);
  socket.end();
  await Promise.race([closed, sleep(QUIET_MS)]);
  socket.destroy();
}

/** So many puts in one go over one connection of its own: the code of each answer. */
async function flood(api: string, count: number): Promise<readonly string[]> {
  const socket = new WebSocket(`${api.replace("http", "ws")}/v1/ws`);
  socket.binaryType = "nodebuffer";
  await once(socket, "open");
  const answers: string[] = [];
  const all = new Promise<void>((resolve, reject) => {
    let isGreeted = false;
    socket.on("close", () => reject(new Error("the node closed a connection that was in order")));
    socket.on("message", (frame: Buffer) => {
      if (!isGreeted) {
        isGreeted = true;
        return;
      }
      for (const message of messagesOf(frame).map(parseNodeMessage)) {
        answers.push(message.kind === "error" ? message.error.code : message.kind);
      }
      if (answers.length === count) resolve();
    });
  });
  socket.send(encode(clientHelloFields({ versionMin: 1, versionMax: 2 })));
  const writer = new FrameWriter();
  for (let id = 1; id <= count; id++) {
    const key = parseKeyText(`data/flood/${id % 64}`);
    const command = encodeTxn({ compare: [], then: [{ kind: "put", key, value: "x".repeat(1_000) }], else: [] });
    writer.add(clientMessageFields({ kind: "txn", id, timeoutMs: 20_000, command }));
  }
  for (const frame of writer.take()) socket.send(frame);
  await all;
  socket.removeAllListeners("close");
  socket.close();
  return answers;
}

async function residentBytes(name: string): Promise<number> {
  const text = z.string().parse((await ask(`${fleet.api(name)}/metrics`)).body);
  const [, resident = "0"] = /^aether_process_resident_memory_bytes (\d+)/m.exec(text) ?? [];
  return Number(resident);
}

function openTcp(url: string): Socket {
  const socket = connectTcp(Number(new URL(url).port), "127.0.0.1");
  // ignored: a server may reset what it does not understand
  socket.on("error", () => undefined);
  return socket;
}
