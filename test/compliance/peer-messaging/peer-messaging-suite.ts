// Owns: what every PeerMessaging promises, whoever carries the messages.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseNodeId, type NodeId } from "../../../src/base/ids.ts";
import { MiB } from "../../../src/base/units.ts";
import type { ChannelName, PeerMessaging } from "../../../src/net/peer-messaging.ts";

/** Nodes that know of each other from the start. */
export interface MeshUnderTest {
  /** Opens a node, anew when it was there before; `attach` is called before anything can arrive. */
  open(node: NodeId, attach: (messaging: PeerMessaging) => void): Promise<void>;
  /** Those that are open, and were not started, begin to look for each other. */
  start(): void;
  /** The process of the node is gone. */
  kill(node: NodeId): Promise<void>;
  /** Goes on until it holds. */
  until(isDone: () => boolean): Promise<void>;
  close(): Promise<void>;
}

/** All that the largest frame has room for is less than this. */
const FRAME_BYTES_MAX = 8 * MiB;

const [A, B, C] = [parseNodeId("n1"), parseNodeId("n2"), parseNodeId("n3")];
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

class Node {
  readonly id: NodeId;
  readonly heard: string[] = [];
  readonly large: Uint8Array[] = [];
  private messaging: PeerMessaging | undefined;

  constructor(id: NodeId) {
    this.id = id;
  }

  attach(messaging: PeerMessaging): void {
    this.messaging = messaging;
    messaging.onPeer(({ kind, node }) => this.heard.push(`${kind} ${node}`));
    for (const name of ["consensus", "rpc"] as const) {
      messaging.channel(name).onMessage((from, payload) => {
        if (payload.length > 100) this.large.push(Uint8Array.from(payload));
        else this.heard.push(`${name} ${from}: ${text(payload)}`);
      });
    }
  }

  get connected(): readonly NodeId[] {
    return [...this.messaging?.connected ?? []].sort();
  }

  send(to: NodeId, channel: ChannelName, payload: string | Uint8Array): boolean | undefined {
    return this.messaging?.channel(channel).send(to, typeof payload === "string" ? Buffer.from(payload) : payload);
  }
}

export function testPeerMessaging(name: string, openMesh: () => MeshUnderTest): void {
  describe(`messages between nodes over ${name}`, () => {
    let mesh: MeshUnderTest;
    let nodes: readonly [Node, Node, Node];

    beforeEach(async () => {
      mesh = openMesh();
      nodes = [new Node(A), new Node(B), new Node(C)];
      for (const node of nodes) await mesh.open(node.id, (messaging) => node.attach(messaging));
      mesh.start();
      await mesh.until(() => nodes.every(({ connected }) => connected.length === 2));
    });
    afterEach(() => mesh.close());

    test("arrive at the node and on the channel that they were sent to, and say from whom", async () => {
      const [a, b, c] = nodes;
      const sent = [a.send(B, "rpc", "to b"), b.send(C, "consensus", "to c"), c.send(A, "rpc", "")];
      expect(sent).toEqual([true, true, true]);
      await mesh.until(() => nodes.every(({ heard }) => heard.length === 3));
      expect(nodes.map(({ heard }) => heard.at(-1))).toEqual(["rpc n3: ", "rpc n1: to b", "consensus n2: to c"]);
    });

    test("arrive in their order, each once", async () => {
      const [a, b] = nodes;
      for (let n = 0; n < 500; n += 1) a.send(B, n % 2 === 0 ? "consensus" : "rpc", String(n));
      await mesh.until(() => b.heard.length === 2 + 500);
      for (const [channel, odd] of [["consensus", 0], ["rpc", 1]] as const) {
        const sent = Array.from({ length: 250 }, (_, n) => `${channel} n1: ${2 * n + odd}`);
        expect(b.heard.filter((line) => line.startsWith(`${channel} `))).toEqual(sent);
      }
    });

    test("come after it was said that their sender is there", async () => {
      for (const { heard } of nodes) heard.length = 0;
      const [a, b] = nodes;
      await mesh.kill(A);
      await mesh.until(() => !b.connected.includes(A));
      await mesh.open(A, (messaging) => {
        a.attach(messaging);
        messaging.onPeer(({ kind, node }) => kind === "up" && node === B && a.send(B, "rpc", "first"));
      });
      mesh.start();
      await mesh.until(() => b.heard.includes("rpc n1: first"));
      expect(b.heard).toEqual(["down n1", "up n1", "rpc n1: first"]);
    });

    test("are not taken for the node itself, nor for one that is not connected", async () => {
      const [a] = nodes;
      expect([a.send(A, "rpc", "me"), a.send(parseNodeId("n9"), "rpc", "nobody")]).toEqual([false, false]);
      await mesh.kill(C);
      await mesh.until(() => !a.connected.includes(C));
      expect([a.send(C, "rpc", "gone"), a.send(B, "rpc", "there")]).toEqual([false, true]);
    });

    test("that were sent to a node that died do not come to the one that takes its place", async () => {
      const [a, , c] = nodes;
      await mesh.kill(C);
      a.send(C, "rpc", "for the dead");
      await mesh.until(() => !a.connected.includes(C));
      c.heard.length = 0;
      await mesh.open(C, (messaging) => c.attach(messaging));
      mesh.start();
      await mesh.until(() => a.connected.includes(C) && c.connected.includes(A));
      expect(a.send(C, "rpc", "for the living")).toBe(true);
      await mesh.until(() => c.heard.some((line) => line.startsWith("rpc ")));
      expect(c.heard.filter((line) => line.startsWith("rpc "))).toEqual(["rpc n1: for the living"]);
    });

    test("are large, or refused where no frame has room for them", async () => {
      const [a, b] = nodes;
      const payload = Buffer.alloc(MiB, "large ");
      expect(a.send(B, "consensus", payload)).toBe(true);
      expect(a.send(B, "consensus", Buffer.alloc(FRAME_BYTES_MAX))).toBe(false);
      a.send(B, "consensus", "after");
      await mesh.until(() => b.heard.includes("consensus n1: after"));
      expect(b.large.map((bytes) => payload.equals(bytes))).toEqual([true]);
    });
  });
}
