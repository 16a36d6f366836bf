import { describe, expect, test } from "vitest";
import { encodeFrame } from "../../../src/net/core/frame.ts";
import { type NodeId, parseNodeId } from "../../../src/base/ids.ts";
import { decodeHandshake, encodeHandshake } from "../../../src/net/core/handshake-codec.ts";
import type { PeerAddresses } from "../../../src/net/peer-table.ts";
import { type VirtualConnection } from "./support/virtual-network.ts";
import { VirtualCluster, type VirtualNode } from "./support/virtual-routers.ts";

const n1 = parseNodeId("n1");
const n2 = parseNodeId("n2");
const TWO = new Map([[n1, "ws://n1:1"], [n2, "ws://n2:1"]]);
const PING = [...encodeFrame(1, [{ channel: 0, payload: new Uint8Array(0) }])];

interface Pair {
  readonly cluster: VirtualCluster;
  readonly a: VirtualNode;
  readonly b: VirtualNode;
  /** The dialing end. */
  readonly connection: VirtualConnection;
}

/** n1 and n2, connected. */
async function connectedPair(): Promise<Pair> {
  const cluster = new VirtualCluster();
  const a = await cluster.open("n1", { peers: TWO });
  const b = await cluster.open("n2", { peers: TWO });
  a.router.start();
  cluster.network.settle(0);
  b.router.start();
  return { cluster, a, b, connection: cluster.network.dials[0]!.connection };
}

const pingsIn = (connection: VirtualConnection): number =>
  connection.sent.filter((frame) => String([...frame]) === String(PING)).length;

/** Lets time pass; every dial is answered, or fails, at once. */
function pass(cluster: VirtualCluster, ms: number): void {
  const endMs = cluster.clock.nowMs() + ms;
  while (cluster.clock.nowMs() < endMs) {
    cluster.network.settleAll();
    cluster.clock.advance(10);
  }
}

describe("dialing", () => {
  test("is done by the lower id only, once at a time", async () => {
    const { cluster, a, b } = await connectedPair();
    cluster.clock.advance(10_000);
    expect(cluster.network.dials.map(({ url }) => url)).toEqual(["ws://n2:1"]);
    expect([a.events, b.events]).toEqual([["up n2"], ["up n1"]]);
  });

  test("is repeated after 50 ms doubling to 1 s while nobody answers, and logged once per half minute", async () => {
    const cluster = new VirtualCluster();
    const a = await cluster.open("n1", { peers: TWO });
    a.router.start();
    const delaysMs: number[] = [];
    for (let dial = 0; dial < 8; dial += 1) {
      cluster.network.settle(dial);
      const startMs = cluster.clock.nowMs();
      while (cluster.network.dials.length === dial + 1) cluster.clock.advance(1);
      delaysMs.push(cluster.clock.nowMs() - startMs);
    }
    [50, 100, 200, 400, 800, 1_000, 1_000, 1_000].forEach((fullMs, dial) => {
      expect(delaysMs[dial]).toBeGreaterThanOrEqual(fullMs / 2);
      expect(delaysMs[dial]).toBeLessThanOrEqual(fullMs + 1);
    });
    expect(a.telemetry.lines.map(({ event }) => event)).toEqual(["net.connect-failed"]);
  });

  test("begins a new series after a connection that was healthy", async () => {
    const { cluster, a, connection } = await connectedPair();
    cluster.clock.advance(2_000);
    connection.other?.close("test");
    expect(a.events).toEqual(["up n2", "down n2"]);
    cluster.clock.advance(51);
    cluster.network.settle(1);
    expect(a.events).toEqual(["up n2", "down n2", "up n2"]);
    expect(a.telemetry.count("aether_net_reconnects_total", { peer: "n2" })).toBe(1);
  });

  test("is done at once when a node starts that was away: it knocks at those that dial it", async () => {
    const cluster = new VirtualCluster();
    const a = await cluster.open("n1", { peers: TWO });
    a.router.start();
    pass(cluster, 10_000);
    expect(a.events).toEqual([]);
    const b = await cluster.open("n2", { peers: TWO });
    b.router.start();
    cluster.network.settleAll();
    cluster.network.settleAll();
    expect([a.events, b.events]).toEqual([["up n2"], ["up n1"]]);
    expect(b.telemetry.lines.filter(({ level }) => level === "warn")).toEqual([]);
    pass(cluster, 10_000);
    const open = cluster.network.dials.filter(({ connection }) => connection.closeReason === undefined);
    expect(open.map(({ url }) => url)).toEqual(["ws://n2:1"]);
  });

  test("gives up a connection that is silent for 2 s before its handshake is done", async () => {
    const cluster = new VirtualCluster();
    const a = await cluster.open("n1", { peers: TWO });
    a.router.start();
    cluster.network.dials[0]?.connection.open();
    cluster.clock.advance(1_999);
    expect(cluster.network.dials[0]?.connection.closeReason).toBeUndefined();
    cluster.clock.advance(1);
    expect(cluster.network.dials[0]?.connection.closeReason).toMatch("no handshake within 2000 ms");
  });
});

describe("a connection", () => {
  test("stays up without traffic: each side says every 300 ms that it lives", async () => {
    const { cluster, a, b, connection } = await connectedPair();
    cluster.clock.advance(30_000);
    expect([a.events, b.events]).toEqual([["up n2"], ["up n1"]]);
    expect(pingsIn(connection)).toBeGreaterThanOrEqual(70);
    expect(pingsIn(connection)).toBeLessThanOrEqual(100);
  });

  test("is closed when the peer is silent for three seconds", async () => {
    const { cluster, a, connection } = await connectedPair();
    connection.isDeaf = true;
    cluster.clock.advance(2_999);
    expect(a.events).toEqual(["up n2"]);
    cluster.clock.advance(101);
    expect(a.events).toEqual(["up n2", "down n2"]);
    expect(connection.closeReason).toMatch(/nothing heard for 3\d\d\d ms/);
  });

  test("outlives a pause of the own process: what the peer sent meanwhile is not yet read", async () => {
    const { cluster, a, b } = await connectedPair();
    cluster.clock.pause(20_000);
    cluster.clock.advance(2_000);
    expect([a.events, b.events]).toEqual([["up n2"], ["up n1"]]);
  });

  test("ends at a frame that cannot be read, with one log line, and is made again", async () => {
    const { cluster, b, connection } = await connectedPair();
    connection.send(Uint8Array.of(1, 2, 3));
    expect(b.events).toEqual(["up n1", "down n1"]);
    expect(b.telemetry.lines.filter(({ level }) => level === "warn")).toMatchObject([
      { event: "net.peer-down", peer: "n1", reason: "bad frame: it ends inside its header" },
    ]);
    cluster.clock.advance(100);
    cluster.network.settle(1);
    expect(b.events).toEqual(["up n1", "down n1", "up n1"]);
  });

  test("replaces an older one of the same process only when it is up itself", async () => {
    const { cluster, a, b, connection } = await connectedPair();
    // n1 loses its end; n2 does not notice.
    connection.other = undefined;
    connection.lose("cable cut");
    cluster.clock.advance(100);
    expect(a.events).toEqual(["up n2", "down n2"]);
    expect(b.events).toEqual(["up n1"]);
    cluster.network.settle(1);
    expect(b.events).toEqual(["up n1", "down n1", "up n1"]);
    expect(a.events).toEqual(["up n2", "down n2", "up n2"]);
  });
});

describe("a hello before start", () => {
  test("is answered once the node has started", async () => {
    const cluster = new VirtualCluster();
    const a = await cluster.open("n1", { peers: TWO });
    const b = await cluster.open("n2", { peers: TWO });
    a.router.start();
    cluster.network.settle(0);
    expect([a.events, b.events]).toEqual([[], []]);
    b.router.start();
    expect([a.events, b.events]).toEqual([["up n2"], ["up n1"]]);
  });
});

describe("a refusal", () => {
  test("tells both sides why, in one log line each per half minute", async () => {
    const cluster = new VirtualCluster();
    const a = await cluster.open("n1", { peers: TWO });
    const b = await cluster.open("n2", { peers: TWO, cluster: "prod" });
    a.router.start();
    b.router.start();
    for (let dial = 0; cluster.clock.nowMs() < 29_000; dial += 1) {
      cluster.network.settle(dial);
      while (cluster.network.dials.length === dial + 1) cluster.clock.advance(10);
    }
    const reason =
      'n2 is in the cluster "prod" and n1 in "test"; correct the address, or "cluster" in one of the configs';
    // Neither reaches anybody, so after a while n2 dials as well and is refused in its turn: another reason.
    const said = (node: VirtualNode) => node.telemetry.lines.filter((line) => line["reason"] === reason);
    expect(said(a)).toEqual([{ level: "warn", event: "net.refused-by-peer", peer: "n2", reason }]);
    expect(said(b)).toEqual([{ level: "warn", event: "net.refused", peer: "n1", reason }]);
    expect(b.telemetry.count("aether_net_refused_total", { reason: "cluster" })).toBeGreaterThan(20);
  });

  test("meets a second process with the id of a connected node, which stays connected", async () => {
    const { cluster, b } = await connectedPair();
    const twin = await cluster.open("n1", { peers: TWO, listen: "ws://twin:1" });
    twin.router.start();
    cluster.network.settle(1);
    expect(twin.telemetry.lines).toMatchObject([{ event: "net.refused-by-peer" }]);
    expect(String(twin.telemetry.lines[0]?.["reason"])).toMatch("connected to another process that calls itself n1");
    expect(b.events).toEqual(["up n1"]);
  });

  test("meets the slower of two processes with one id that shake hands at the same time", async () => {
    const cluster = new VirtualCluster();
    const b = await cluster.open("n2", { peers: TWO });
    b.router.start();
    const connections = ["first", "second"].map((process) => {
      const connection = cluster.network.dial("ws://n2:1");
      cluster.network.settle(-1);
      const hello = { versions: { min: 1, max: 1 }, cluster: "test", node: n1, process };
      connection.send(encodeHandshake({ kind: "hello", hello }));
      return connection;
    });
    connections[1]?.send(encodeHandshake({ kind: "ready" }));
    const last = connections[0]?.other;
    connections[0]?.send(encodeHandshake({ kind: "ready" }));
    expect(b.events).toEqual(["up n1"]);
    const answer = decodeHandshake(last?.sent.at(-1) ?? new Uint8Array(0));
    expect(answer.kind === "refusal" && answer.refusal.kind).toBe("same-id");
  });

  test("meets a node that reached itself", async () => {
    const cluster = new VirtualCluster();
    const peers = new Map([[n1, "ws://n1:1"], [n2, "ws://n1:1"]]);
    const a = await cluster.open("n1", { peers });
    a.router.start();
    cluster.network.settle(0);
    const reasons = a.telemetry.lines.map(({ event, reason }) => [event, reason]);
    const text = "n1 reached itself; correct the addresses of the nodes";
    expect(reasons).toEqual(expect.arrayContaining([["net.refused", text], ["net.refused-by-peer", text]]));
    expect(a.events).toEqual([]);
  });

  test("meets everyone beyond 64 connections that do not introduce themselves", async () => {
    const cluster = new VirtualCluster();
    const b = await cluster.open("n2", { peers: TWO });
    b.router.start();
    cluster.network.settleAll();
    const connections = Array.from({ length: 65 }, () => {
      const connection = cluster.network.dial("ws://n2:1");
      cluster.network.settle(-1);
      return connection;
    });
    expect(connections.map(({ closeReason }) => closeReason === undefined).indexOf(false)).toBe(64);
    cluster.clock.advance(2_000);
    expect(connections.every(({ closeReason }) => closeReason !== undefined)).toBe(true);
  });
});

describe("members that come and go", () => {
  const membersOf = (...nodes: readonly string[]): ReadonlyMap<NodeId, string> =>
    new Map(nodes.map((node) => [parseNodeId(node), `ws://${node}:1`]));
  const addressesOf = (...nodes: readonly string[]): PeerAddresses =>
    new Map(nodes.map((node) => [parseNodeId(node), [`ws://${node}:1`]]));

  test("a guest knows an address only, and is let in whichever id is lower", async () => {
    const { cluster, a, b } = await connectedPair();
    for (const name of ["n0", "n3"]) {
      const guest = await cluster.open(name, { peers: new Map(), join: ["ws://n1:1"] });
      guest.router.start();
      pass(cluster, 50);
      expect(guest.events).toEqual(["up n1"]);
    }
    expect(a.events).toEqual(["up n2", "up n0", "up n3"]);
    expect(b.events).toEqual(["up n1"]);
  });

  test("two addresses of one node make one connection, which stays", async () => {
    const { cluster, a } = await connectedPair();
    cluster.network.alias("ws://alias:1", "ws://n1:1");
    const guest = await cluster.open("n3", { peers: new Map(), join: ["ws://n1:1", "ws://alias:1"] });
    guest.router.start();
    pass(cluster, 10_000);
    expect([guest.events, a.events]).toEqual([["up n1"], ["up n2", "up n3"]]);
    expect(cluster.network.dials.length).toBeLessThan(8);
  });

  test("a guest that becomes a member keeps its connections, and meets the others", async () => {
    const { cluster, a, b } = await connectedPair();
    const guest = await cluster.open("n3", { peers: new Map(), join: ["ws://n1:1"] });
    guest.router.start();
    pass(cluster, 50);
    for (const node of [a, b, guest]) node.router.setPeers(addressesOf("n1", "n2", "n3"));
    pass(cluster, 5_000);
    expect([a.events, b.events]).toEqual([["up n2", "up n3"], ["up n1", "up n3"]]);
    expect(guest.events).toEqual(["up n1", "up n2"]);
  });

  test("where a guest and a member dial each other at once, the connection of the lower id stays", async () => {
    const { cluster, a } = await connectedPair();
    const guest = await cluster.open("n3", { peers: new Map(), join: ["ws://n1:1"] });
    guest.router.start();
    a.router.setPeers(addressesOf("n1", "n2", "n3"));
    pass(cluster, 5_000);
    expect(guest.events.at(-1)).toBe("up n1");
    expect(a.events.at(-1)).toBe("up n3");
    expect(guest.events.length).toBeLessThanOrEqual(3);
    const open = cluster.network.dials.filter(({ connection }) => connection.closeReason === undefined);
    expect(open.map(({ url }) => url)).toEqual(["ws://n2:1", "ws://n3:1"]);
  });

  test("a removed node is not dialed any more, and after a while dials itself to learn why", async () => {
    const { cluster, a, b, connection } = await connectedPair();
    a.router.setPeers(addressesOf("n1"));
    connection.close("test");
    pass(cluster, 2_500);
    expect(b.events).toEqual(["up n1", "down n1"]);
    pass(cluster, 2_500);
    expect([a.events.at(-1), b.events.at(-1)]).toEqual(["up n2", "up n1"]);
    expect(cluster.network.dials.map(({ url }) => url)).toEqual(["ws://n2:1", "ws://n1:1"]);
  });

  test("a node that reaches nobody returns to the usual direction once the others dial again", async () => {
    const cluster = new VirtualCluster();
    const b = await cluster.open("n2", { peers: TWO });
    b.router.start();
    pass(cluster, 4_000);
    const a = await cluster.open("n1", { peers: TWO });
    a.router.start();
    pass(cluster, 5_000);
    expect([a.events.at(-1), b.events.at(-1)]).toEqual(["up n2", "up n1"]);
    const open = cluster.network.dials.filter(({ connection }) => connection.closeReason === undefined);
    expect(open).toHaveLength(1);
    const { length } = b.events;
    pass(cluster, 10_000);
    expect(b.events).toHaveLength(length);
  });

  test("a member all of whose addresses are old asks its way in again", async () => {
    const cluster = new VirtualCluster();
    const a = await cluster.open("n1", { peers: membersOf("n1", "n2") });
    const far = await cluster.open("n2", {
      peers: new Map([[n1, "ws://gone:1"], [n2, "ws://n2:1"]]),
      join: ["ws://door:1"],
    });
    cluster.network.alias("ws://door:1", "ws://n1:1");
    far.router.start();
    pass(cluster, 4_000);
    a.router.start();
    pass(cluster, 2_000);
    expect(far.events.at(-1)).toBe("up n1");
  });

  test("a node that is not at its first address is dialed at the next one", async () => {
    const cluster = new VirtualCluster();
    const a = await cluster.open("n1");
    const b = await cluster.open("n2", { peers: TWO });
    a.router.setPeers(new Map([[n1, ["ws://n1:1"]], [n2, ["ws://old:1", "nonsense", "ws://n2:1"]]]));
    a.router.start();
    b.router.start();
    pass(cluster, 500);
    expect([a.events, b.events]).toEqual([["up n2"], ["up n1"]]);
  });

  test("no more than 16 guests are let in", async () => {
    const { cluster, a } = await connectedPair();
    for (let guest = 0; guest < 17; guest += 1) {
      const joining = await cluster.open(`g${guest}`, { peers: new Map(), join: ["ws://n1:1"] });
      joining.router.start();
    }
    pass(cluster, 100);
    expect(a.events.filter((event) => event.startsWith("up g"))).toHaveLength(16);
    expect(a.telemetry.count("aether_net_refused_total", { reason: "too-many-guests" })).toBeGreaterThan(0);
  });

  test("an address that is none is logged and not dialed", async () => {
    const cluster = new VirtualCluster();
    const a = await cluster.open("n1", { peers: new Map([[n1, "ws://n1:1"], [n2, "nonsense"]]) });
    a.router.start();
    expect(a.telemetry.lines).toMatchObject([{ event: "net.address-unusable", url: "nonsense" }]);
  });
});
