// Owns: three nodes as processes, with fsync and the agents that are measured, as their clients use them: over HTTP,
// starting a job through one node and asking another one for its result.
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { ALLOCATOR_VARIABLES } from "../../../dist/cli/node-process.js";
import { createProcessIo } from "../../../dist/cli/process-io.js";
import { runCli } from "../../../dist/cli/program.js";
import { NodeFleet } from "../../support/node-fleet.ts";
import { cpuSeconds, residentBytes } from "../process-stats.ts";
import { at } from "../statistics.ts";
import { HttpClient } from "./http-client.ts";

const AGENTS = fileURLToPath(new URL("../slices/steps", import.meta.url));
const RESULT_WAIT_MS = 30_000;

const startedSchema = z.object({ job: z.string() });
const answerSchema = z.object({ result: z.object({ kind: z.literal("completed"), output: z.unknown() }) });
const shownSchema = z.object({ status: z.string(), events: z.int() });

export type JobState = z.output<typeof shownSchema>;

export class JobsCluster {
  private readonly fleet: NodeFleet;
  private readonly http = new HttpClient();

  private constructor(fleet: NodeFleet) {
    this.fleet = fleet;
  }

  /** `config` is added to that of every node. */
  static async start(config: Readonly<Record<string, unknown>> = {}): Promise<JobsCluster> {
    const launchOf = () => ({ variables: ALLOCATOR_VARIABLES });
    const cluster = new JobsCluster(await NodeFleet.create({ cluster: "bench", config, launchOf }));
    try {
      await cluster.fleet.startAll();
      await cluster.apply();
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** The output of a job of this agent; `client` says through which nodes. */
  async run(client: number, agent: string, input: unknown): Promise<unknown> {
    return await this.outputOf(client + 1, await this.startJob(client, agent, input));
  }

  async startJob(client: number, agent: string, input: unknown): Promise<string> {
    return startedSchema.parse(await this.http.send("POST", `${this.api(client)}/v1/jobs`, { agent, input })).job;
  }

  /** Waits for the end. @throws for a job that did not complete in time */
  async outputOf(client: number, job: string): Promise<unknown> {
    const path = `/v1/jobs/${job}/result?waitMs=${RESULT_WAIT_MS}`;
    return answerSchema.parse(await this.http.send("GET", `${this.api(client)}${path}`)).result.output;
  }

  async state(job: string): Promise<JobState> {
    return shownSchema.parse(await this.http.send("GET", `${this.api(0)}/v1/jobs/${job}`));
  }

  async letGo(job: string): Promise<void> {
    await this.http.send("POST", `${this.api(0)}/v1/jobs/${job}/signals/go`);
  }

  put(client: number, key: string, value: string): Promise<unknown> {
    return this.http.send("PUT", `${this.api(client)}/v1/kv/data/${key}`, value);
  }

  /** Of all nodes; NaN where the operating system does not say. */
  cpuSeconds(): number {
    return cpuSeconds(this.pids) ?? Number.NaN;
  }

  residentBytes(): readonly number[] {
    return this.pids.map((pid) => residentBytes(pid) ?? Number.NaN);
  }

  /** What the store of a node holds. */
  async storedBytes(): Promise<number> {
    const lines = (await (await fetch(`${this.api(0)}/metrics`)).text()).split("\n");
    return Number(lines.find((line) => line.startsWith("aether_store_live_bytes"))?.split(" ").at(-1));
  }

  async close(): Promise<void> {
    this.http.close();
    await this.fleet.close();
  }

  private async apply(): Promise<void> {
    const io = { ...createProcessIo(), print: () => undefined, report: () => undefined };
    await runCli(["--api", this.api(0), "slice", "push", AGENTS], io);
    const slices = { steps: { artifact: "bench:steps@^1.0.0", instances: 0 } };
    await this.http.send("PUT", `${this.api(0)}/v1/blueprints/bench`, { slices });
  }

  private get pids(): readonly number[] {
    return this.fleet.names.map((name) => this.fleet.process(name).pid);
  }

  /** One of the nodes; another one for the next number. */
  private api(index: number): string {
    return this.fleet.api(at(this.fleet.names, index % this.fleet.names.length));
  }
}
