// Owns: the node processes of a demo: started from configuration files, killed, started again, stopped.
import { z } from "zod";
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import { AetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";
import { type DevNode, writeDevCluster } from "../dev-cluster.ts";
import { HttpApi } from "../http-api.ts";
import { NodeProcess } from "../node-process.ts";
import { runCli } from "../program.ts";
import { START_MS_MAX } from "./demo-options.ts";

/** Log lines kept of each node, to be shown when it fails. */
const LINES_MAX = 40;
const POLL_MS = 50;

const clusterSchema = z.object({ nodes: z.array(z.object({ id: z.string(), status: z.string() })) });

interface Running {
  readonly process: NodeProcess;
  readonly ready: Deferred<void>;
  readonly ended: Deferred<void>;
}

export class DemoCluster {
  readonly nodes: readonly DevNode[];
  private readonly io: CliIo;
  private readonly running = new Map<string, Running>();
  private readonly lines = new Map<string, string[]>();

  private constructor(io: CliIo, nodes: readonly DevNode[]) {
    this.io = io;
    this.nodes = nodes;
  }

  static async create(io: CliIo, directory: string, firstPort: number, nodeCount: number): Promise<DemoCluster> {
    const ports = { peerPort: firstPort, apiPort: firstPort + nodeCount };
    return new DemoCluster(io, await writeDevCluster({ directory, nodeCount, ...ports }, "fresh"));
  }

  get apis(): readonly string[] {
    return this.nodes.map((node) => node.api);
  }

  apiOf(name: string): string {
    const node = this.nodes.find((candidate) => candidate.name === name);
    if (node === undefined) throw new AetherError("E_NOT_FOUND", `there is no node ${name}`);
    return node.api;
  }

  /**
   * Starts one node; resolves when it can serve. @throws AetherError E_UNAVAILABLE with its last lines when it ends
   * before.
   */
  async start(name: string): Promise<void> {
    const node = this.nodes.find((candidate) => candidate.name === name);
    if (node === undefined) throw new AetherError("E_NOT_FOUND", `there is no node ${name}`);
    const ready = createDeferred<void>();
    const ended = createDeferred<void>();
    const child = new NodeProcess(name, node.configFile, {
      onLine: (line) => this.keepLine(name, line),
      onReady: () => ready.resolve(),
      onExit: (how) => {
        this.running.delete(name);
        ended.resolve();
        const lines = (this.lines.get(name) ?? []).join("\n");
        ready.reject(new AetherError("E_UNAVAILABLE", `node ${name} ended (${how}) before it was ready:\n${lines}`));
      },
    });
    this.running.set(name, { process: child, ready, ended });
    const patience = new AbortController();
    void this.io.sleep(START_MS_MAX, patience.signal).then(
      () => ready.reject(new AetherError("E_TIMEOUT", `node ${name} is not ready after ${START_MS_MAX} ms`)),
      () => undefined, // ignored: it was ready, or ended, in time
    );
    await ready.promise.finally(() => patience.abort());
  }

  /** Waits until every node is known as on duty: it takes work from then on, an instant after it is ready. */
  async awaitOnDuty(): Promise<void> {
    const startMs = this.io.nowMs();
    for (;;) {
      const { nodes } = await new HttpApi(this.io, this.apis[0]).get(clusterSchema, "/v1/cluster");
      if (nodes.filter((node) => node.status === "on-duty").length === this.nodes.length) return;
      if (this.io.nowMs() - startMs > START_MS_MAX) {
        const found = nodes.map(({ id, status }) => `${id} ${status}`).join(", ");
        throw new AetherError("E_TIMEOUT", `not all nodes are on duty after ${START_MS_MAX} ms: ${found}`, {
          outcome: "none",
        });
      }
      await this.io.sleep(POLL_MS);
    }
  }

  /** Runs a command as a user would, through the first node. @throws AetherError E_UNAVAILABLE with what it said. */
  async command(...args: readonly string[]): Promise<void> {
    const [api = ""] = this.apis;
    const failures: string[] = [];
    const quiet: CliIo = { ...this.io, print: () => undefined, report: (line) => failures.push(line) };
    const exitCode = await runCli(["--api", api, ...args], quiet);
    if (exitCode === 0) return;
    throw new AetherError("E_UNAVAILABLE", `aether ${args.join(" ")} failed: ${failures.join("; ")}`);
  }

  /** SIGKILL: no goodbye, nothing flushed. Resolves when it has ended. */
  async kill(name: string): Promise<void> {
    const running = this.running.get(name);
    running?.process.stop("kill");
    await running?.ended.promise;
  }

  /** Stops all nodes and waits for their ends; those that do not drain in time are killed. */
  async stopAll(patienceMs: number): Promise<void> {
    const all = [...this.running.values()];
    for (const { process } of all) process.stop("drain");
    const patience = new AbortController();
    const everybody = Promise.all(all.map(({ ended }) => ended.promise)).then(() => patience.abort());
    // ignored: the abort means that all have ended, which is what is waited for
    await this.io.sleep(patienceMs, patience.signal).catch(() => undefined);
    for (const { process } of this.running.values()) process.stop("kill");
    await everybody;
  }

  private keepLine(name: string, line: string): void {
    const lines = this.lines.get(name) ?? [];
    lines.push(line);
    if (lines.length > LINES_MAX) lines.shift();
    this.lines.set(name, lines);
  }
}
