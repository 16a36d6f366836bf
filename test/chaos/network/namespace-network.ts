// Owns: the network of a chaos run in network namespaces of its own: one per node, joined by a bridge, with addresses
// 127.0.1.x, because nodes use loopback addresses only. In here these are routed like any other.
// A direction is cut by giving the sender a hardware address that nobody has: what it sends disappears without a word.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { LaunchOptions } from "../../support/node-fleet.ts";
import type { ChaosNetwork, Direction } from "./chaos-network.ts";

const run = promisify(execFile);
const SUBNET = "127.0.1";
const HUB_HOST = 254;
const NOWHERE = "02:00:00:00:01:00";
const PEER_PORT = 7101;
const API_PORT = 7201;
const NETEM = ["netem", "delay", "40ms", "20ms", "loss", "2%"];
/** A narrow link with a short queue: packets wait for each other, and some find no room. */
const NARROW = ["tbf", "rate", "512kbit", "burst", "4kb", "latency", "150ms"];

export class NamespaceNetwork implements ChaosNetwork {
  readonly description = "a network namespace per node, joined by a bridge";
  readonly limits: readonly string[];
  private readonly nodes: readonly string[];
  private readonly hasNetem: boolean;
  private readonly undo: (() => Promise<void>)[] = [];

  private constructor(nodes: readonly string[], hasNetem: boolean) {
    this.nodes = nodes;
    this.hasNetem = hasNetem;
    this.limits = hasNetem
      ? []
      : ["this kernel has no netem: links are made slow and lossy by a narrow queue (tc tbf) instead"];
  }

  /** To be called in fresh network and mount namespaces (see entering.ts): it changes them as it likes. */
  static async open(nodes: readonly string[]): Promise<NamespaceNetwork> {
    await run("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
    await script([
      "ip link set lo up",
      "ip link add hub type bridge",
      `ip link set hub address ${hardware(HUB_HOST)} up`,
      ...addressing("", "hub", HUB_HOST),
    ]);
    for (const [index, node] of nodes.entries()) {
      const inside = `ip netns exec ${node} `;
      await script([
        `ip netns add ${node}`,
        `ip link add ${node}-hub type veth peer name wire netns ${node}`,
        `ip link set ${node}-hub master hub up`,
        `${inside}ip link set lo up`,
        `${inside}ip link set wire address ${hardware(index + 1)} up`,
        ...addressing(inside, "wire", index + 1),
      ]);
    }
    const network = new NamespaceNetwork(nodes, await hasNetem());
    for (const from of nodes) for (const to of nodes) if (from !== to) await network.pointTo({ from, to }, "itself");
    return network;
  }

  listen(node: string): string {
    return `ws://${this.address(node)}:${PEER_PORT}`;
  }

  peer({ to }: Direction): string {
    return this.listen(to);
  }

  api(node: string): string {
    return `http://${this.address(node)}:${API_PORT}`;
  }

  launchOf(node: string): LaunchOptions {
    return { launcher: ["ip", "netns", "exec", node] };
  }

  async cut(directions: readonly Direction[]): Promise<void> {
    for (const direction of directions) {
      this.undo.push(() => this.pointTo(direction, "itself"));
      await this.pointTo(direction, "nowhere");
    }
  }

  async slow(node: string): Promise<void> {
    const discipline = this.hasNetem ? NETEM : NARROW;
    this.undo.push(async () => {
      await run("ip", ["netns", "exec", node, "tc", "qdisc", "del", "dev", "wire", "root"]);
    });
    await run("ip", ["netns", "exec", node, "tc", "qdisc", "add", "dev", "wire", "root", ...discipline]);
  }

  async heal(): Promise<void> {
    for (let undo = this.undo.pop(); undo !== undefined; undo = this.undo.pop()) await undo();
  }

  /** The namespaces end with the process that entered them. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  private async pointTo({ from, to }: Direction, where: "itself" | "nowhere"): Promise<void> {
    const target = where === "itself" ? hardware(this.nodes.indexOf(to) + 1) : NOWHERE;
    const neighbour = ["neigh", "replace", this.address(to), "lladdr", target, "dev", "wire", "nud", "permanent"];
    await run("ip", ["netns", "exec", from, "ip", ...neighbour]);
  }

  private address(node: string): string {
    return `${SUBNET}.${this.nodes.indexOf(node) + 1}`;
  }
}

async function script(lines: readonly string[]): Promise<void> {
  await run("sh", ["-e", "-c", lines.join("\n")]);
}

/** Without `route_localnet` loopback addresses never leave a machine; without the route they mean "here". */
function addressing(inside: string, device: string, host: number): readonly string[] {
  return [
    `${inside}sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.${device}.route_localnet=1`,
    `${inside}ip addr add ${SUBNET}.${host}/24 dev ${device}`,
    `${inside}ip route add ${SUBNET}.0/24 dev ${device} table local`,
  ];
}

function hardware(host: number): string {
  return `02:00:00:00:00:${host.toString(16).padStart(2, "0")}`;
}

async function hasNetem(): Promise<boolean> {
  try {
    await run("tc", ["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]);
    await run("tc", ["qdisc", "del", "dev", "lo", "root"]);
    return true;
  } catch {
    // ignored: the kernel was built without it; another discipline takes its place
    return false;
  }
}
