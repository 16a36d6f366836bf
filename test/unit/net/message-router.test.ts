import { createConnection, createServer, type Socket } from "node:net";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { parseNodeId } from "../../../src/base/ids.ts";
import { MiB } from "../../../src/base/units.ts";
import { encodeFrame } from "../../../src/net/core/frame.ts";
import { encodeHandshake } from "../../../src/net/core/handshake-codec.ts";
import { CALLS_PER_FRAME } from "../../../src/net/message-router.ts";
import type { Channel } from "../../../src/net/peer-messaging.ts";
import { SocketCluster, startMesh, type TestNode } from "./support/socket-routers.ts";
import { VirtualCluster } from "./support/virtual-routers.ts";

const n1 = parseNodeId("n1");
const n2 = parseNodeId("n2");
const n3 = parseNodeId("n3");
/** A frame of one empty message on channel 0. */
const PING = encodeFrame(1, [{ channel: 0, payload: new Uint8Array(0) }]);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Resolves with the first `count` messages of a channel, as `from: text`. */
function received(channel: Channel, count: number): Promise<readonly string[]> {
  const messages: string[] = [];
  return new Promise((resolve) => {
    channel.onMessage((from, payload) => {
      messages.push(`${from}: ${Buffer.from(payload).toString()}`);
      if (messages.length === count) resolve(messages);
    });
  });
}

function sentFrames({ telemetry }: TestNode): number {
  return telemetry.count("aether_net_frames_total", { direction: "sent" });
}

describe("routers over sockets", () => {
  test("form a mesh in which each one reaches each other one", async () => {
    await using cluster = new SocketCluster();
    const nodes = [await cluster.open("n1"), await cluster.open("n2"), await cluster.open("n3")];
    const arrivals = nodes.map(({ router }) => received(router.channel("rpc"), 2));
    await startMesh(nodes);
    for (const { node, router } of nodes) {
      for (const peer of router.connected) expect(router.channel("rpc").send(peer, bytes(`hi ${peer}`))).toBe(true);
      expect(router.connected.size).toBe(2);
      expect(router.channel("rpc").send(node, bytes("to myself"))).toBe(false);
    }
    const all = await Promise.all(arrivals);
    expect(all.map((messages) => [...messages].sort())).toEqual([
      ["n2: hi n1", "n3: hi n1"],
      ["n1: hi n2", "n3: hi n2"],
      ["n1: hi n3", "n2: hi n3"],
    ]);
  });

  test("end with one connection when both start to look for each other at the same time", async () => {
    await using cluster = new SocketCluster();
    const nodes = [await cluster.open("n1"), await cluster.open("n2")];
    await startMesh(nodes);
    const [a, b] = nodes as [TestNode, TestNode];
    const echo = received(b.router.channel("cluster"), 1);
    a.router.channel("cluster").send(n2, bytes("still here"));
    await echo;
    expect([a.events, b.events]).toEqual([["up n2"], ["up n1"]]);
  });

  test("send the messages of one turn to one peer in one frame", async () => {
    await using cluster = new SocketCluster();
    const [a, b] = [await cluster.open("n1"), await cluster.open("n2")];
    const others = received(b.router.channel("cluster"), 100);
    const consensus = received(b.router.channel("consensus"), 1);
    await startMesh([a, b]);
    const before = sentFrames(a);
    for (let i = 0; i < 100; i += 1) a.router.channel("cluster").send(n2, bytes(`m${i}`));
    a.router.channel("consensus").send(n2, bytes("first"));
    expect((await others).at(-1)).toBe("n1: m99");
    await consensus;
    expect(sentFrames(a) - before).toBe(1);
    expect(a.telemetry.count("aether_net_messages_total", { direction: "sent", channel: "cluster" })).toBe(100);
    expect(b.telemetry.count("aether_net_messages_total", { direction: "received" })).toBe(101);
  });

  test("send many calls of one turn in several frames, in order, so that the peer can begin", async () => {
    await using cluster = new SocketCluster();
    const [a, b] = [await cluster.open("n1"), await cluster.open("n2")];
    const rpc = received(b.router.channel("rpc"), 100);
    await startMesh([a, b]);
    const before = sentFrames(a);
    for (let i = 0; i < 100; i += 1) a.router.channel("rpc").send(n2, bytes(`m${i}`));
    expect(await rpc).toEqual(Array.from({ length: 100 }, (_, i) => `n1: m${i}`));
    expect(sentFrames(a) - before).toBe(Math.ceil(100 / CALLS_PER_FRAME));
  });

  test("lose no message that a listener sends as soon as the peer is up", async () => {
    await using cluster = new SocketCluster();
    const [a, b] = [await cluster.open("n1"), await cluster.open("n2")];
    a.router.onPeer(() => a.router.channel("cluster").send(n2, bytes("from a")));
    b.router.onPeer(() => b.router.channel("cluster").send(n1, bytes("from b")));
    const arrivals = [received(a.router.channel("cluster"), 1), received(b.router.channel("cluster"), 1)];
    await startMesh([a, b]);
    expect(await Promise.all(arrivals)).toEqual([["n2: from b"], ["n1: from a"]]);
  });

  test("report a peer that stops as down at once, and as up when it is back", async () => {
    await using cluster = new SocketCluster();
    const [a, b] = [await cluster.open("n1"), await cluster.open("n2")];
    await startMesh([a, b]);
    const { url } = b.router;
    await b.router.close();
    await a.reported("down n2");
    expect(a.router.connected.size).toBe(0);
    expect(a.router.channel("rpc").send(n2, bytes("nobody there"))).toBe(false);
    const again = await cluster.open("n2", { listen: url });
    again.router.start();
    await a.reported("up n2", 2);
    expect(a.telemetry.count("aether_net_reconnects_total", { peer: "n2" })).toBe(1);
  });

  test("notice a connection that breaks on both sides, and make a new one", async () => {
    await using cluster = new SocketCluster();
    const b = await cluster.open("n2");
    const relay = await openRelay(b.router.url);
    const a = await cluster.open("n1", { peers: new Map([[n2, relay.url]]) });
    await startMesh([a, b]);
    relay.breakAll();
    await Promise.all([a.reported("up n2", 2), b.reported("up n1", 2)]);
    expect([a.events, b.events]).toEqual([["up n2", "down n2", "up n2"], ["up n1", "down n1", "up n1"]]);
    relay.close();
  });

  test("carry a payload of almost the largest frame and refuse a larger one", async () => {
    await using cluster = new SocketCluster();
    const [a, b] = [await cluster.open("n1"), await cluster.open("n2")];
    const arrived = new Promise<number>((resolve) => {
      b.router.channel("bulk").onMessage((_from, payload) => resolve(payload.byteLength));
    });
    await startMesh([a, b]);
    const largest = 8 * MiB - 10;
    expect(a.router.channel("bulk").send(n2, new Uint8Array(largest + 1))).toBe(false);
    expect(a.telemetry.lines.at(-1)).toMatchObject({ event: "net.message-refused", reason: "too-large" });
    expect(a.router.channel("bulk").send(n2, new Uint8Array(largest))).toBe(true);
    expect(await arrived).toBe(largest);
  });
});

describe("a router's port", () => {
  test("that is in use is named in the error", async () => {
    await using cluster = new SocketCluster();
    const { router } = await cluster.open("n1");
    await expect(cluster.open("n2", { listen: router.url })).rejects.toMatchObject({
      code: "E_PORT_IN_USE",
      message: `cannot listen on ${router.url}: another process listens there; stop it, or change "listen"`,
    });
  });

  test("that is no address of this machine is a config error", async () => {
    await using cluster = new SocketCluster();
    await expect(cluster.open("n1", { listen: "ws://192.0.2.1:0" })).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(cluster.open("n1", { listen: "http://127.0.0.1:0" })).rejects.toMatchObject({ code: "E_CONFIG" });
  });

  test("ends a connection over which came what its receiver cannot read, says why, and makes a new one", async () => {
    await using cluster = new SocketCluster();
    const [a, b] = [await cluster.open("n1"), await cluster.open("n2")];
    const rpc = b.router.channel("rpc");
    rpc.onMessage((from) => rpc.refuse(from, "no call"));
    await startMesh([a, b]);
    const back = new Promise<void>((resolve) => {
      b.router.onPeer(({ kind }) => {
        if (kind === "up") resolve();
      });
    });
    a.router.channel("rpc").send(n2, bytes("nonsense"));
    await back;
    expect(b.events.slice(0, 3)).toEqual(["up n1", "down n1", "up n1"]);
    expect(b.telemetry.count("aether_net_refused_total", { reason: "bad-frame" })).toBe(1);
    const [line] = b.telemetry.lines.filter(({ event }) => event === "net.peer-down");
    expect(line).toMatchObject({ peer: "n1", reason: "bad frame: channel rpc: no call" });
  });

  test("survives garbage, plain HTTP, text, foreign hellos and oversized frames while its peers stay up", async () => {
    await using cluster = new SocketCluster();
    const [a, b] = [await cluster.open("n1"), await cluster.open("n2")];
    await startMesh([a, b]);
    await sendRawBytes(b.router.url, "\x16\x03\x01garbage\r\n\r\n");
    const answer = await fetch(b.router.url.replace("ws:", "http:"));
    expect(answer.status).toBe(426);
    expect(await closeCodeAfter(b.router.url, "hello, I am text")).toBe(1003);
    expect(await closeCodeAfter(b.router.url, Buffer.from("hello, I am bytes"))).toBe(1000);
    const hello = { versions: { min: 1, max: 1 }, cluster: "other", node: n1, process: "x" };
    expect(await closeCodeAfter(b.router.url, encodeHandshake({ kind: "hello", hello }))).toBe(1000);
    expect(await closeCodeAfter(b.router.url, new Uint8Array(8 * MiB + 1))).toBe(1009);
    for (const reason of ["text-frame", "malformed", "cluster"]) {
      expect(b.telemetry.count("aether_net_refused_total", { reason })).toBe(1);
    }
    expect([a.events, b.events]).toEqual([["up n2"], ["up n1"]]);
  });

  test("refuses what a page in a browser opens: it could speak to this port as if it were a peer", async () => {
    await using cluster = new SocketCluster();
    const { router } = await cluster.open("n1");
    router.start();
    const page = new WebSocket(router.url, { origin: "http://evil.example" });
    const [error] = (await once(page, "error")) as [Error];
    expect(error.message).toContain("403");
  });

  test("of a node that is not there yet is dialed until it is", async () => {
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const address = free.address();
    const url = `ws://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
    free.close();
    await once(free, "close");
    await using cluster = new SocketCluster();
    const peers = new Map([[n1, "ws://127.0.0.1:1"], [n2, url]]);
    const a = await cluster.open("n1", { peers });
    a.router.start();
    await a.telemetry.logged("net.connect-failed");
    const b = await cluster.open("n2", { peers, listen: url });
    b.router.start();
    await a.reported("up n2");
  });
});

describe("a peer that does not read", () => {
  test("fills a bounded queue that then refuses, while consensus still goes out", async () => {
    await using cluster = new SocketCluster();
    const b = await cluster.open("n2", { peers: new Map([[n1, "ws://127.0.0.1:1"]]) });
    b.router.start();
    const socket = await shakeHands(b.router.url);
    await b.reported("up n1");
    socket.pause();
    const payload = new Uint8Array(MiB);
    const bulk = b.router.channel("bulk");
    let accepted = 0;
    // Each message leaves in a turn of its own, until the socket is full; then the queue fills.
    while (bulk.send(n1, payload)) {
      accepted += 1;
      socket.send(PING);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    expect(accepted).toBeGreaterThanOrEqual(15);
    expect(accepted).toBeLessThan(100);
    expect(b.telemetry.lines.at(-1)).toMatchObject({ event: "net.message-refused", reason: "queue-full" });
    expect(b.router.channel("consensus").send(n1, payload)).toBe(true);
    socket.resume();
    let arrivedBytes = 0;
    await new Promise<void>((resolve) => {
      socket.on("message", (data: Buffer) => {
        arrivedBytes += data.length;
        socket.send(PING);
        if (arrivedBytes >= (accepted + 1) * MiB) resolve();
      });
    });
    expect(bulk.send(n1, payload)).toBe(true);
    socket.terminate();
  });
});

test("a bulk message waits for a socket that is behind, a consensus message passes it", async () => {
  const cluster = new VirtualCluster();
  const peers = new Map([[n1, "ws://n1:1"], [n2, "ws://n2:1"]]);
  const [a, b] = [await cluster.open("n1", { peers }), await cluster.open("n2", { peers })];
  const order: string[] = [];
  b.router.channel("bulk").onMessage(() => order.push("bulk"));
  b.router.channel("consensus").onMessage(() => order.push("consensus"));
  a.router.start();
  b.router.start();
  cluster.network.settle(0);
  const { connection } = cluster.network.dials[0]!;
  connection.bufferedBytes = 2 * MiB;
  a.router.channel("bulk").send(n2, bytes("b"));
  a.router.channel("consensus").send(n2, bytes("c"));
  cluster.clock.turn();
  expect(order).toEqual(["consensus"]);
  connection.bufferedBytes = 0;
  cluster.clock.advance(5);
  expect(order).toEqual(["consensus", "bulk"]);
});

test("a peer whose build does not say which channels it has is sent nothing on newer ones", async () => {
  await using cluster = new SocketCluster();
  const b = await cluster.open("n2", { peers: new Map([[n1, "ws://127.0.0.1:1"]]) });
  b.router.start();
  const socket = await shakeHands(b.router.url);
  await b.reported("up n1");
  expect(b.router.channel("metrics").send(n1, bytes("x"))).toBe(false);
  expect(b.router.channel("jobs").send(n1, bytes("x"))).toBe(true);
  expect(b.telemetry.lines.filter(({ event }) => event === "net.message-refused")).toEqual([]);
  socket.terminate();
});

test("a message for a channel without a receiver is dropped, counted and logged once", async () => {
  await using cluster = new SocketCluster();
  const [a, b] = [await cluster.open("n1"), await cluster.open("n3")];
  const end = received(b.router.channel("rpc"), 1);
  await startMesh([a, b]);
  a.router.channel("cluster").send(n3, bytes("x"));
  a.router.channel("cluster").send(n3, bytes("y"));
  a.router.channel("rpc").send(n3, bytes("end"));
  await end;
  expect(b.telemetry.count("aether_net_refused_total", { reason: "no-receiver" })).toBe(2);
  expect(b.telemetry.lines.filter(({ event }) => event === "net.message-dropped")).toHaveLength(1);
});

interface Relay {
  readonly url: string;
  /** Resets every connection it carries. */
  breakAll(): void;
  close(): void;
}

/** A TCP relay in front of a router. */
async function openRelay(target: string): Promise<Relay> {
  const carried = new Set<Socket>();
  const server = createServer((from) => {
    const to = createConnection({ host: new URL(target).hostname, port: Number(new URL(target).port) });
    for (const socket of [from, to]) carried.add(socket.on("error", () => undefined));
    from.pipe(to).pipe(from);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  return {
    url: `ws://127.0.0.1:${port}`,
    breakAll: () => {
      for (const socket of carried) socket.resetAndDestroy();
      carried.clear();
    },
    close: () => void server.close(),
  };
}

async function sendRawBytes(url: string, text: string): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = createConnection({ host: hostname, port: Number(port) });
  socket.on("error", () => undefined);
  socket.end(text);
  socket.resume();
  await once(socket, "close");
}

async function closeCodeAfter(url: string, data: string | Uint8Array): Promise<number> {
  const socket = new WebSocket(url);
  await once(socket, "open");
  socket.send(data);
  const [code] = (await once(socket, "close")) as [number];
  return code;
}

/** Plays n1 by hand: dials, and introduces itself. */
async function shakeHands(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url);
  await once(socket, "open");
  const hello = { versions: { min: 1, max: 1 }, cluster: "test", node: n1, process: "by hand" };
  socket.send(encodeHandshake({ kind: "hello", hello }));
  await once(socket, "message");
  socket.send(encodeHandshake({ kind: "ready" }));
  return socket;
}
