// Owns: a cluster of node processes in one terminal, and with a directory what is developed there, kept deployed.
// Ctrl-C ends them in order, a second one at once.
import { resolve } from "node:path";
import { toAetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";
import { type DevCluster, type DevNode, writeDevCluster } from "../dev-cluster.ts";
import { API_DEFAULT, HttpApi } from "../http-api.ts";
import { NodeProcess } from "../node-process.ts";
import { UsageError } from "../usage-error.ts";
import { runDevDeploy } from "./dev-deploy.ts";
import { devLine, type DevLevel } from "./dev-line.ts";
import { readDevProject } from "./dev-project.ts";

/** How the lines of the nodes' logs are shown. */
type Lines = "as they are" | "for people";

export interface DevOptions {
  /** What is kept deployed. */
  readonly project: string | undefined;
  readonly cluster: DevCluster;
  readonly data: "fresh" | "keep";
  readonly lines: Lines;
}

/**
 * Resolves when all nodes have ended: true after Ctrl-C, false when they ended by themselves.
 * @throws UsageError for a directory with nothing to deploy; AetherError for files that cannot be understood
 */
export async function runDev(io: CliIo, options: DevOptions): Promise<boolean> {
  const { project, cluster, data, lines } = options;
  const source = project === undefined ? undefined : await checkProject(io, project);
  const nodes = await writeDevCluster(cluster, data);
  return new DevRun(io, nodes, source, lines).run();
}

async function checkProject(io: CliIo, project: string): Promise<string> {
  const directory = resolve(io.cwd, project);
  const { blueprints } = await readDevProject(directory);
  if (blueprints.length > 0) return directory;
  throw new UsageError(`${project} has no blueprint: it needs a YAML file with "slices"`);
}

/** The processes of one `aether dev`. */
class DevRun {
  private readonly io: CliIo;
  private readonly nodes: readonly DevNode[];
  /** What is kept deployed. */
  private readonly project: string | undefined;
  private readonly lines: Lines;
  private readonly stopping = new AbortController();
  private deploying: Promise<void> = Promise.resolve();
  private readonly running = new Map<string, NodeProcess>();
  private readonly ready = new Set<string>();
  private isStopping = false;
  private hasFailed = false;

  constructor(io: CliIo, nodes: readonly DevNode[], project: string | undefined, lines: Lines) {
    this.io = io;
    this.nodes = nodes;
    this.project = project;
    this.lines = lines;
  }

  /** Resolves when all have ended: true after Ctrl-C, false when they ended by themselves. */
  async run(): Promise<boolean> {
    const release = this.io.onInterrupt(() => this.interrupt());
    await new Promise<void>((resolve) => {
      for (const node of this.nodes) this.start(node, resolve);
    });
    this.stopping.abort();
    await this.deploying;
    release();
    return this.isStopping && !this.hasFailed;
  }

  private start(node: DevNode, onAllEnded: () => void): void {
    const { name } = node;
    const started = new NodeProcess(name, node.configFile, {
      onLine: (line) => this.showLine(name, line),
      onReady: () => this.onReady(name),
      onExit: (how) => this.onExit(name, how, onAllEnded),
    });
    this.running.set(name, started);
  }

  private showLine(node: string, line: string): void {
    const shown = this.lines === "as they are" ? `${node} | ${line}` : devLine(node, line, this.leastLevel);
    if (shown !== undefined) this.io.print(shown);
  }

  private get leastLevel(): DevLevel {
    // While some start or stop, nodes miss each other: nobody needs to read that.
    if (this.ready.size < this.nodes.length || this.isStopping) return "error";
    return this.project === undefined ? "info" : "warn";
  }

  private onReady(name: string): void {
    if (this.ready.has(name)) return;
    this.ready.add(name);
    if (this.ready.size < this.nodes.length) return;
    const api = this.nodes[0]?.api ?? API_DEFAULT;
    this.tellReady(api);
    if (this.project === undefined) return;
    const { io, project: directory } = this;
    const deploy = { io, api: new HttpApi(io, api), directory, signal: this.stopping.signal };
    this.deploying = runDevDeploy(deploy).catch((error: unknown) => this.failDeploy(error));
  }

  private failDeploy(error: unknown): void {
    const { code, message } = toAetherError(error);
    this.io.report(`${code}: ${message}`);
    this.hasFailed = true;
    if (!this.isStopping) this.interrupt();
  }

  private tellReady(api: string): void {
    const where = api === API_DEFAULT ? "" : ` --api ${api}`;
    this.io.print(`
A cluster of ${this.nodes.length} is running. In another terminal:
  npx aether cluster status${where}
  npx aether kv put data/greeting '"hello"'${where}
  npx aether kv get data/greeting${where}
  curl ${api}/v1/cluster
Dashboard: ${api}/
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
    this.stopping.abort();
    this.io.report("stopping the nodes; Ctrl-C again kills them");
    this.stopAll("drain");
  }

  private stopAll(how: "drain" | "kill"): void {
    for (const node of this.running.values()) node.stop(how);
  }
}
