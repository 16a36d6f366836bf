// Owns: `aether dev`: a cluster of node processes in one terminal. Ctrl-C ends them in order, a second one at once.
import { resolve } from "node:path";
import { InvalidArgumentError, type Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { CommandExit } from "../command-exit.ts";
import { writeDevCluster, type DevNode } from "../dev-cluster.ts";
import { EXIT } from "../exit.ts";
import { API_DEFAULT } from "../http-api.ts";
import { NodeProcess } from "../node-process.ts";

const DIRECTORY_DEFAULT = "./.aether/dev";
const NODES_DEFAULT = 3;
const NODES_MAX = 7;
const PEER_PORT_DEFAULT = 7101;
const API_PORT_DEFAULT = 7201;

interface DevFlags {
  readonly nodes: number;
  readonly dir: string;
  readonly fresh?: boolean;
  readonly peerPort: number;
  readonly apiPort: number;
}

export function addDevCommand(program: Command, io: CliIo): void {
  program
    .command("dev")
    .description("run a cluster of three nodes in this terminal")
    .option("--nodes <n>", "number of nodes, 1 to 7", parseNodes, NODES_DEFAULT)
    .option("--dir <directory>", "where configuration and data go", DIRECTORY_DEFAULT)
    .option("--fresh", "delete the data of earlier runs first")
    .option("--peer-port <port>", "first of the ports for peers", parsePort, PEER_PORT_DEFAULT)
    .option("--api-port <port>", "first of the ports for clients", parsePort, API_PORT_DEFAULT)
    .addHelpText("after", "\nExamples:\n  $ aether dev\n  $ aether dev --nodes 5 --fresh")
    .action(async (flags: DevFlags) => {
      const directory = resolve(io.cwd, flags.dir);
      const { nodes: nodeCount, peerPort, apiPort } = flags;
      const cluster = { directory, nodeCount, peerPort, apiPort };
      const nodes = await writeDevCluster(cluster, flags.fresh === true ? "fresh" : "keep");
      const isClean = await new DevRun(io, nodes).run();
      if (!isClean) throw new CommandExit(EXIT.failed);
    });
}

/** The processes of one `aether dev`. */
class DevRun {
  private readonly io: CliIo;
  private readonly nodes: readonly DevNode[];
  private readonly running = new Map<string, NodeProcess>();
  private readonly ready = new Set<string>();
  private isStopping = false;
  private hasFailed = false;

  constructor(io: CliIo, nodes: readonly DevNode[]) {
    this.io = io;
    this.nodes = nodes;
  }

  /** Resolves when all have ended: true after Ctrl-C, false when they ended by themselves. */
  async run(): Promise<boolean> {
    const release = this.io.onInterrupt(() => this.interrupt());
    await new Promise<void>((resolve) => {
      for (const node of this.nodes) this.start(node, resolve);
    });
    release();
    return this.isStopping && !this.hasFailed;
  }

  private start(node: DevNode, onAllEnded: () => void): void {
    const { name } = node;
    const started = new NodeProcess(name, node.configFile, {
      onLine: (line) => this.io.print(`${name} | ${line}`),
      onReady: () => this.onReady(name),
      onExit: (how) => this.onExit(name, how, onAllEnded),
    });
    this.running.set(name, started);
  }

  private onReady(name: string): void {
    this.ready.add(name);
    if (this.ready.size < this.nodes.length) return;
    const api = this.nodes[0]?.api ?? API_DEFAULT;
    const where = api === API_DEFAULT ? "" : ` --api ${api}`;
    this.io.print(`
A cluster of ${this.nodes.length} is running. In another terminal:
  npx aether cluster status${where}
  npx aether kv put data/greeting '"hello"'${where}
  npx aether kv get data/greeting${where}
  curl ${api}/v1/cluster
APIs: ${this.nodes.map(({ api }) => api).join(" ")}
Ctrl-C stops it; its data stays for the next time.
`);
  }

  private onExit(name: string, how: string, onAllEnded: () => void): void {
    if (!this.running.delete(name)) return;
    if (!this.isStopping) {
      this.io.report(`node ${name} has ended (${how})`);
      // Before it was ready it never will be: a port is in use, or its data does not fit.
      if (!this.ready.has(name)) this.failAll(name);
    }
    if (this.running.size === 0) onAllEnded();
  }

  private failAll(name: string): void {
    this.hasFailed = true;
    this.io.report(`node ${name} could not start; stopping the others`);
    this.isStopping = true;
    this.stopAll("drain");
  }

  private interrupt(): void {
    if (this.isStopping) {
      this.io.report("killing the nodes");
      this.stopAll("kill");
      return;
    }
    this.isStopping = true;
    this.io.report("stopping the nodes; Ctrl-C again kills them");
    this.stopAll("drain");
  }

  private stopAll(how: "drain" | "kill"): void {
    for (const node of this.running.values()) node.stop(how);
  }
}

function parseNodes(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= NODES_MAX) return value;
  throw new InvalidArgumentError(`use 1 to ${NODES_MAX}`);
}

function parsePort(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value + NODES_MAX <= 65_536) return value;
  throw new InvalidArgumentError("use a port number");
}
