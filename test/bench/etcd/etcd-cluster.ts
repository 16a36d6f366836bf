// Owns: etcd members as real processes for benchmarks: fsync on, fresh data directories, loopback, default timing.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SeededRandom } from "../../../src/base/random.ts";
import { findFreePorts } from "../../../src/cli/demo/free-ports.ts";
import type { BenchCluster, PeerTraffic, Target } from "../cluster.ts";
import { at } from "../statistics.ts";
import { EtcdClient } from "./etcd-client.ts";

const READY_MS_MAX = 20_000;
const POLL_MS = 50;
/** etcd refuses writes beyond; its default of 2 GiB is little for a million versions of long runs. */
const QUOTA_BYTES = 8 * 1_024 ** 3;

/** What `etcd --version` says; undefined when it is not installed. */
export function etcdVersion(): string | undefined {
  try {
    const said = execFileSync("etcd", ["--version"], { encoding: "utf8" });
    return /etcd Version: (\S+)/.exec(said)?.[1];
  } catch {
    // ignored: it is not installed
    return undefined;
  }
}

export class EtcdCluster implements BenchCluster {
  readonly system = "etcd";
  readonly size: number;
  private readonly directory: string;
  private readonly firstPort: number;
  private readonly members: (ChildProcess | undefined)[] = [];

  private constructor(size: number, directory: string, firstPort: number) {
    this.size = size;
    this.directory = directory;
    this.firstPort = firstPort;
  }

  static async start(size: number): Promise<EtcdCluster> {
    const directory = await mkdtemp(join(tmpdir(), "etcd-bench-"));
    const firstPort = await findFreePorts(2 * size, new SeededRandom(randomInt(2 ** 31)));
    const cluster = new EtcdCluster(size, directory, firstPort);
    try {
      const nodes = Array.from({ length: size }, (_, node) => node);
      await Promise.all(nodes.map((node) => cluster.start(node)));
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  get pids(): readonly number[] {
    return this.members.map((member) => member?.pid ?? 0);
  }

  connect(): Target {
    return this.target("etcd, via all members", Array.from({ length: this.size }, (_, node) => node));
  }

  /** All clients at the leader, over as many connections as there are members. */
  async connectToLeader(): Promise<Target> {
    const leader = await this.leader();
    if (leader === undefined) throw new Error("etcd has no leader");
    return this.target("etcd, via the leader", Array.from({ length: this.size }, () => leader));
  }

  async leader(): Promise<number | undefined> {
    for (let node = 0; node < this.size; node++) {
      const client = new EtcdClient(this.clientPort(node));
      try {
        if (await client.isLeader()) return node;
      } catch {
        // ignored: this member is down, another one may lead
      } finally {
        client.close();
      }
    }
    return undefined;
  }

  async kill(node: number): Promise<void> {
    const member = this.members[node];
    if (member === undefined || member.exitCode !== null || member.signalCode !== null) return;
    const ended = new Promise((resolve) => member.once("exit", resolve));
    member.kill("SIGKILL");
    await ended;
  }

  async start(node: number): Promise<void> {
    const member = spawn("etcd", this.flags(node), { stdio: "ignore" });
    const failed = new Promise<never>((_, reject) => {
      member.once("error", reject);
      member.once("exit", (code) => reject(new Error(`etcd m${node} ended with code ${code} before it was ready`)));
    });
    this.members[node] = member;
    await Promise.race([this.untilReady(node), failed]);
  }

  async traffic(): Promise<PeerTraffic> {
    const pages = await Promise.all(this.members.map(async (_, node) => {
      return (await fetch(`http://127.0.0.1:${this.clientPort(node)}/metrics`)).text();
    }));
    const lines = pages.flatMap((page) => page.split("\n"));
    const sent = lines.filter((line) => line.startsWith("etcd_network_peer_sent_bytes_total{"));
    return { bytes: sent.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0) };
  }

  async close(): Promise<void> {
    await Promise.all(this.members.map((_, node) => this.kill(node)));
    await rm(this.directory, { recursive: true, force: true });
  }

  private target(name: string, nodes: readonly number[]): Target {
    return new EtcdTarget(name, this, { ports: nodes.map((node) => this.clientPort(node)) });
  }

  private async untilReady(node: number): Promise<void> {
    const deadlineMs = Date.now() + READY_MS_MAX;
    for (;;) {
      try {
        const response = await fetch(`http://127.0.0.1:${this.clientPort(node)}/health`);
        if (((await response.json()) as { health: string }).health === "true") return;
      } catch (error) {
        if (Date.now() > deadlineMs) throw new Error(`etcd m${node} is not ready`, { cause: error });
      }
      await sleep(POLL_MS);
    }
  }

  private flags(node: number): readonly string[] {
    const peers = Array.from({ length: this.size }, (_, other) => `m${other}=http://127.0.0.1:${this.peerPort(other)}`);
    const client = `http://127.0.0.1:${this.clientPort(node)}`;
    const peer = `http://127.0.0.1:${this.peerPort(node)}`;
    const flags = {
      name: `m${node}`,
      "data-dir": join(this.directory, `m${node}`),
      "listen-client-urls": client,
      "advertise-client-urls": client,
      "listen-peer-urls": peer,
      "initial-advertise-peer-urls": peer,
      "initial-cluster": peers.join(","),
      "initial-cluster-token": "bench",
      "initial-cluster-state": "new",
      "quota-backend-bytes": String(QUOTA_BYTES),
      "log-level": "error",
    };
    return Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  }

  private clientPort(node: number): number {
    return this.firstPort + this.size + node;
  }

  private peerPort(node: number): number {
    return this.firstPort + node;
  }
}

/** One connection per entry of `ports`; a broken one is made again to the next port. */
class EtcdTarget implements Target {
  readonly name: string;
  readonly cluster: BenchCluster;
  private readonly ports: readonly number[];
  private readonly clients: EtcdClient[];
  private readonly portOf: number[];

  constructor(name: string, cluster: BenchCluster, { ports }: { readonly ports: readonly number[] }) {
    this.name = name;
    this.cluster = cluster;
    this.ports = ports;
    this.portOf = ports.map((_, index) => index);
    this.clients = ports.map((port) => new EtcdClient(port));
  }

  put(client: number, key: string, value: string): Promise<unknown> {
    return this.connection(client).put(key, value);
  }

  async get(client: number, key: string): Promise<string | undefined> {
    return (await this.connection(client).get(key))?.value;
  }

  close(): void {
    for (const client of this.clients) client.close();
  }

  private connection(client: number): EtcdClient {
    const index = client % this.clients.length;
    const found = at(this.clients, index);
    if (found.isOpen) return found;
    const next = (at(this.portOf, index) + 1) % this.ports.length;
    const fresh = new EtcdClient(at(this.ports, next));
    this.portOf[index] = next;
    this.clients[index] = fresh;
    return fresh;
  }
}
