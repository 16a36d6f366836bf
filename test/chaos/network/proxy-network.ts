// Owns: the network of a chaos run without any privilege: everything on loopback, a TCP proxy in the path of every pair
// of nodes. It can hold back and delay; packets it does not see.
import type { Random } from "../../../src/base/random.ts";
import { findTestPorts } from "../../support/test-ports.ts";
import type { LaunchOptions } from "../../support/node-fleet.ts";
import type { ChaosNetwork, Direction } from "./chaos-network.ts";
import { LinkProxy, type Way } from "./link-proxy.ts";

const DELAY_MS = 40;

export class ProxyNetwork implements ChaosNetwork {
  readonly description = "loopback, a TCP proxy in the path of every pair of nodes";
  readonly limits = ["packets are not lost one by one: a proxy sees streams only, so whole directions stall instead"];
  private readonly nodes: readonly string[];
  private readonly firstPort: number;
  private readonly random: Random;
  private readonly proxies = new Map<string, LinkProxy>();

  private constructor(nodes: readonly string[], firstPort: number, random: Random) {
    this.nodes = nodes;
    this.firstPort = firstPort;
    this.random = random;
  }

  static async open(nodes: readonly string[], random: Random): Promise<ProxyNetwork> {
    const network = new ProxyNetwork(nodes, await findTestPorts(2 * nodes.length), random);
    for (const from of nodes) {
      for (const to of nodes) {
        if (from !== to) network.proxies.set(linkName({ from, to }), await LinkProxy.open(network.peerPort(to)));
      }
    }
    return network;
  }

  listen(node: string): string {
    return `ws://127.0.0.1:${this.peerPort(node)}`;
  }

  peer(link: Direction): string {
    return `ws://127.0.0.1:${this.proxy(link).port}`;
  }

  /** Nobody listens there: each pair has a proxy of its own, so only the configured addresses lead anywhere. */
  advertise(): string {
    return "ws://127.0.0.1:9";
  }

  api(node: string): string {
    return `http://127.0.0.1:${this.peerPort(node) + this.nodes.length}`;
  }

  launchOf(): LaunchOptions {
    return {};
  }

  cut(directions: readonly Direction[]): Promise<void> {
    for (const direction of directions) this.both(direction, (proxy, way) => proxy.cut(way));
    return Promise.resolve();
  }

  slow(node: string): Promise<void> {
    const delay = { ms: DELAY_MS, draw: () => this.random.next() };
    for (const to of this.nodes) {
      if (to !== node) this.both({ from: node, to }, (proxy, way) => proxy.slow(way, delay));
    }
    return Promise.resolve();
  }

  heal(): Promise<void> {
    for (const proxy of this.proxies.values()) proxy.heal();
    return Promise.resolve();
  }

  async close(): Promise<void> {
    await Promise.all([...this.proxies.values()].map((proxy) => proxy.close()));
  }

  /** Who dialed is not known here: what goes from a to b goes forth where a dialed and back where b did. */
  private both({ from, to }: Direction, act: (proxy: LinkProxy, way: Way) => void): void {
    act(this.proxy({ from, to }), "forth");
    act(this.proxy({ from: to, to: from }), "back");
  }

  private proxy(link: Direction): LinkProxy {
    const found = this.proxies.get(linkName(link));
    if (found === undefined) throw new Error(`there is no link ${linkName(link)}`);
    return found;
  }

  private peerPort(node: string): number {
    return this.firstPort + this.nodes.indexOf(node);
  }
}

function linkName({ from, to }: Direction): string {
  return `${from}->${to}`;
}
