// Owns: Aether nodes as real processes for benchmarks, with fsync, their default configuration and the allocator's
// settings that operators are told to use, and clients of them.
import { ALLOCATOR_VARIABLES } from "../../dist/cli/node-process.js";
import { connect, type Client } from "../../dist/client/connect.js";
import { NodeFleet } from "../support/node-fleet.ts";
import type { BenchCluster, ConnectMode, PeerTraffic, Target } from "./cluster.ts";
import { at } from "./statistics.ts";

const TIMEOUT_MS = 10_000;

export class AetherCluster implements BenchCluster {
  readonly system = "Aether";
  private readonly fleet: NodeFleet;

  private constructor(fleet: NodeFleet) {
    this.fleet = fleet;
  }

  /** `nodeOptions` go to Node.js itself, for profiles. */
  static async start(size: number, nodeOptions: readonly string[] = []): Promise<AetherCluster> {
    const names = Array.from({ length: size }, (_, index) => `n${index + 1}`);
    const launchOf = () => ({ nodeOptions, variables: ALLOCATOR_VARIABLES });
    const fleet = await NodeFleet.create({ names, cluster: "bench", launchOf });
    const cluster = new AetherCluster(fleet);
    try {
      await fleet.startAll();
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  get size(): number {
    return this.fleet.names.length;
  }

  get apis(): readonly string[] {
    return this.fleet.apis;
  }

  get pids(): readonly number[] {
    return this.fleet.names.map((name) => this.fleet.process(name).pid);
  }

  connect(mode: ConnectMode): Target {
    const clients = this.apis.map((api) => {
      return connect(mode === "pinned" ? { nodes: [api], discovery: "off" } : { nodes: this.apis });
    });
    return new AetherTarget(this, clients);
  }

  leader(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async kill(node: number): Promise<void> {
    await this.fleet.kill(at(this.fleet.names, node));
  }

  async start(node: number): Promise<void> {
    await this.fleet.start(at(this.fleet.names, node));
  }

  async traffic(): Promise<PeerTraffic> {
    const pages = await Promise.all(this.apis.map(async (api) => (await fetch(`${api}/metrics`)).text()));
    const total = (name: string): number => pages.reduce((sum, page) => sum + sumOf(page, name), 0);
    return {
      messages: total("aether_net_messages_total"),
      frames: total("aether_net_frames_total"),
      bytes: total("aether_net_bytes_total"),
    };
  }

  async close(): Promise<void> {
    await this.fleet.close();
  }
}

class AetherTarget implements Target {
  readonly name = "Aether";
  readonly cluster: BenchCluster;
  private readonly clients: readonly Client[];

  constructor(cluster: BenchCluster, clients: readonly Client[]) {
    this.cluster = cluster;
    this.clients = clients;
  }

  put(client: number, key: string, value: string): Promise<unknown> {
    return at(this.clients, client % this.clients.length).kv.put(key, value, { timeoutMs: TIMEOUT_MS });
  }

  async get(client: number, key: string): Promise<string | undefined> {
    const { entry } = await at(this.clients, client % this.clients.length).kv.get(key, { timeoutMs: TIMEOUT_MS });
    return typeof entry?.value === "string" ? entry.value : undefined;
  }

  close(): void {
    for (const client of this.clients) client.close();
  }
}

/** Lines of Prometheus text with this name that count what was sent. */
function sumOf(page: string, name: string): number {
  let sum = 0;
  for (const line of page.split("\n")) {
    if (line.startsWith(`${name}{`) && line.includes('direction="sent"')) sum += Number(line.split(" ").at(-1));
  }
  return sum;
}
