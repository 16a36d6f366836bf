// Owns: the story of the demo: a cluster forms, slices run and call each other, a node is killed in the middle of
// writes and calls, and nobody notices. Everything is real: processes, sockets, fsync, worker threads, SIGKILL.
import { join } from "node:path";
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { EXAMPLES } from "../../base/package-files-adapter.ts";
import { SeededRandom } from "../../base/random.ts";
import { type Client, connect } from "../../client/connect.ts";
import type { CliIo } from "../cli-io.ts";
import { HttpApi } from "../http-api.ts";
import { DemoCluster } from "./demo-cluster.ts";
import { DemoLoad } from "./demo-load.ts";
import { type DemoOptions, NODE_COUNT, REPLACEMENT_MS_MAX, type VictimChoice } from "./demo-options.ts";
import { type DemoFindings, seconds } from "./demo-report.ts";
import { findFreePorts } from "./free-ports.ts";

const SHOP = join(EXAMPLES, "01-shop");
const SLICES = ["inventory", "pricing", "orders"] as const;
const POLL_MS = 50;
const ACTIVE_MS_MAX = 20_000;
/** Load before the kill, and after the lost instances are back. */
const STEADY_MS = 2_000;
/** The gap is looked for from this long before the kill to this long after. */
const GAP_BEFORE_MS = 1_000;
const GAP_AFTER_MS = 5_000;
const STOP_MS = 5_000;
const PAGE = 1_000;

const clusterSchema = z.object({
  convener: z.string().nullable(),
  leader: z.object({ node: z.string(), epoch: z.number() }).nullable(),
});
const statusSchema = z.object({
  slices: z.record(
    z.string(),
    z.object({
      want: z.number(),
      active: z.number(),
      instances: z.array(z.object({ node: z.string(), instance: z.number(), artifact: z.string(), state: z.string() })),
    }),
  ),
});
const pageSchema = z.object({
  entries: z.array(z.object({ key: z.string(), value: z.unknown() })),
  more: z.boolean(),
});

type Instance = z.output<typeof statusSchema>["slices"][string]["instances"][number];

interface Victim {
  readonly node: string;
  readonly roles: readonly string[];
  readonly instances: readonly string[];
}

export class DemoRun {
  private readonly io: CliIo;
  private readonly options: DemoOptions;
  private readonly random: SeededRandom;
  private cluster: DemoCluster | undefined;
  private clients: readonly Client[] = [];

  constructor(io: CliIo, options: DemoOptions) {
    this.io = io;
    this.options = options;
    this.random = new SeededRandom(options.seed);
  }

  /** The addresses of the cluster, once it was started. */
  get apis(): readonly string[] {
    return this.cluster?.apis ?? [];
  }

  /** Runs the whole story; the cluster is running afterwards. */
  async run(): Promise<DemoFindings> {
    const formedMs = await this.formCluster();
    await this.publishSlices();
    const activeMs = await this.applyBlueprint();
    await this.showOneCall();
    const load = new DemoLoad(this.io);
    this.clients = this.apis.map((_, at) => connect({ nodes: rotate(this.apis, at) }));
    load.start(this.clients);
    this.say("writing to the store and calling orders → pricing → inventory, on every node …");
    await this.io.sleep(STEADY_MS);
    const victim = await this.chooseVictim();
    const killedAtMs = this.killVictim(victim);
    const { replacedMs, replacements } = await this.awaitReplacements(victim, killedAtMs);
    await this.sleepUntil(killedAtMs + GAP_AFTER_MS);
    const longestGapMs = load.longestGapMs(killedAtMs - GAP_BEFORE_MS, killedAtMs + GAP_AFTER_MS);
    this.say(`longest gap between two acknowledged writes around the kill: ${Math.round(longestGapMs)} ms`);
    const returnedMs = await this.bringBack(victim.node);
    await this.io.sleep(STEADY_MS);
    await load.stop();
    for (const failure of new Set(load.reads.failures)) this.say(`a read call failed: ${failure}`);
    return {
      seed: this.options.seed,
      formedMs,
      activeMs,
      victim: victim.node,
      victimRoles: victim.roles,
      victimInstances: victim.instances,
      readCalls: load.reads,
      writeCalls: load.writes,
      writesAcknowledged: load.acknowledged.size,
      writesUnknown: load.unknownWrites,
      longestGapMs,
      replacements,
      replacedMs,
      returnedMs,
      missing: await this.findMissing(load.acknowledged),
    };
  }

  closeClients(): void {
    for (const client of this.clients) client.close();
    this.clients = [];
  }

  async stopCluster(): Promise<void> {
    this.closeClients();
    await this.cluster?.stopAll(STOP_MS);
  }

  private async formCluster(): Promise<number> {
    const firstPort = await findFreePorts(2 * NODE_COUNT, this.random.fork("ports"));
    const cluster = await DemoCluster.create(this.io, this.options.directory, firstPort, NODE_COUNT);
    this.cluster = cluster;
    this.say(`starting ${NODE_COUNT} nodes as processes of their own, fsync on, data in ${this.options.directory}`);
    const startMs = this.io.nowMs();
    await Promise.all(cluster.nodes.map((node) => cluster.start(node.name)));
    await cluster.awaitOnDuty();
    const formedMs = this.io.nowMs() - startMs;
    this.say(`one cluster of ${NODE_COUNT} after ${seconds(formedMs)}`);
    return formedMs;
  }

  /** Through the command line, as a user would. */
  private async publishSlices(): Promise<void> {
    this.say(`building ${SLICES.join(", ")} from source and pushing them into the cluster`);
    for (const slice of SLICES) await this.cluster?.command("slice", "push", join(SHOP, slice));
  }

  private async applyBlueprint(): Promise<number> {
    const startMs = this.io.nowMs();
    await this.cluster?.command("blueprint", "apply", join(SHOP, "shop.yaml"));
    const shown = new Map<string, string>();
    for (;;) {
      const instances = await this.instances(this.apis[0]);
      this.showChanges(instances, shown);
      if (instances.length > 0 && (await this.isAllActive(this.apis[0]))) break;
      if (this.io.nowMs() - startMs > ACTIVE_MS_MAX) {
        throw new AetherError("E_TIMEOUT", `the instances are not ACTIVE after ${seconds(ACTIVE_MS_MAX)}`, {
          outcome: "none",
        });
      }
      await this.io.sleep(POLL_MS);
    }
    const activeMs = this.io.nowMs() - startMs;
    this.say(`all instances ACTIVE ${seconds(activeMs)} after apply`);
    return activeMs;
  }

  private async showOneCall(): Promise<void> {
    const client = connect({ nodes: this.apis });
    const input = { sku: "lamp", quantity: 2 };
    const { output } = await client.call({ slice: "orders", method: "place", input });
    client.close();
    this.say(`orders.place(${JSON.stringify(input)}) → ${JSON.stringify(output)}`);
  }

  private async chooseVictim(): Promise<Victim> {
    const { convener, leader } = await this.api(this.apis[0]).get(clusterSchema, "/v1/cluster");
    const choice: VictimChoice = this.options.victim ?? (this.random.next() < 0.5 ? "convener" : "leader");
    const node = choice === "convener" ? convener : choice === "leader" ? leader?.node : choice;
    if (node === undefined || node === null) {
      throw new AetherError("E_UNAVAILABLE", `there is no ${choice} now: run the demo again`);
    }
    this.cluster?.apiOf(node);
    const roles = [...(node === convener ? ["convener"] : []), ...(node === leader?.node ? ["leader"] : [])];
    const instances = (await this.instances(this.apis[0])).filter((instance) => instance.node === node).map(nameOf);
    return { node, roles, instances };
  }

  private killVictim({ node, roles, instances }: Victim): number {
    this.say(`kill -9 ${node} (${roles.join(" and ") || "no role"}), which runs ${instances.join(", ")}`);
    void this.cluster?.kill(node);
    return this.io.nowMs();
  }

  /** Waits until every slice has its full number of ACTIVE instances, none of them on the dead node. */
  private async awaitReplacements(
    victim: Victim,
    killedAtMs: number,
  ): Promise<Pick<DemoFindings, "replacedMs" | "replacements">> {
    const survivor = this.cluster?.nodes.find((node) => node.name !== victim.node)?.api;
    const before = new Set((await this.instances(survivor)).map(placeOf));
    for (;;) {
      const instances = await this.instances(survivor);
      const isBack = instances.every((instance) => instance.node !== victim.node) && (await this.isAllActive(survivor));
      const replacedMs = this.io.nowMs() - killedAtMs;
      if (isBack) {
        const replacements = instances.map(placeOf).filter((place) => !before.has(place));
        this.say(`lost instances are back after ${seconds(replacedMs)}: ${replacements.join(", ")}`);
        return { replacedMs, replacements };
      }
      if (replacedMs > 2 * REPLACEMENT_MS_MAX) return { replacedMs: undefined, replacements: undefined };
      await this.io.sleep(POLL_MS);
    }
  }

  private async bringBack(node: string): Promise<number> {
    this.say(`starting ${node} again on its data directory`);
    const startMs = this.io.nowMs();
    await this.cluster?.start(node);
    const returnedMs = this.io.nowMs() - startMs;
    this.say(`${node} is back and caught up after ${seconds(returnedMs)}`);
    return returnedMs;
  }

  /** Reads every node's own copy and counts what it lacks. */
  private async findMissing(acknowledged: ReadonlyMap<string, number>): Promise<Readonly<Record<string, number>>> {
    this.say(`comparing ${acknowledged.size} acknowledged writes with the copy of every node`);
    const missing: Record<string, number> = {};
    for (const node of this.cluster?.nodes ?? []) {
      const present = await this.readCopy(node.api);
      missing[node.name] = [...acknowledged].filter(([key, value]) => present.get(key) !== value).length;
    }
    return missing;
  }

  private async readCopy(url: string): Promise<ReadonlyMap<string, unknown>> {
    const copy = new Map<string, unknown>();
    for (let after = ""; ;) {
      const query = new URLSearchParams({ prefix: "data/demo/", limit: String(PAGE), consistency: "local" });
      if (after !== "") query.set("after", after);
      const page = await this.api(url).get(pageSchema, `/v1/kv?${query.toString()}`);
      for (const { key, value } of page.entries) copy.set(key, value);
      after = page.entries.at(-1)?.key ?? after;
      if (!page.more) return copy;
    }
  }

  private async instances(url: string | undefined): Promise<readonly Instance[]> {
    const { slices } = await this.status(url);
    return Object.values(slices).flatMap((slice) => slice.instances);
  }

  private async isAllActive(url: string | undefined): Promise<boolean> {
    const { slices } = await this.status(url);
    return Object.values(slices).every((slice) => slice.active >= slice.want);
  }

  private status(url: string | undefined): Promise<z.output<typeof statusSchema>> {
    return this.api(url).get(statusSchema, "/v1/blueprints/shop/status");
  }

  private showChanges(instances: readonly Instance[], shown: Map<string, string>): void {
    for (const instance of instances) {
      const place = placeOf(instance);
      if (shown.get(place) === instance.state) continue;
      shown.set(place, instance.state);
      if (instance.state === "ACTIVE" || instance.state === "FAILED") this.say(`  ${place}: ${instance.state}`);
    }
  }

  private api(url: string | undefined): HttpApi {
    return new HttpApi(this.io, url);
  }

  private async sleepUntil(atMs: number): Promise<void> {
    await this.io.sleep(Math.max(0, atMs - this.io.nowMs()));
  }

  private say(text: string): void {
    this.io.print(text);
  }
}

function rotate<T>(items: readonly T[], by: number): readonly T[] {
  return [...items.slice(by), ...items.slice(0, by)];
}

function nameOf(instance: Instance): string {
  return `${instance.artifact}/${instance.instance}`;
}

function placeOf(instance: Instance): string {
  return `${nameOf(instance)} on ${instance.node}`;
}
