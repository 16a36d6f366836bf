// Owns: one chaos run from the first node's start to the verdict. Whatever happens, no process and no mount
// outlives it.
import { join } from "node:path";
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { SeededRandom } from "../../src/base/random.ts";
import { type AetherProcess, NodeFleet } from "../support/node-fleet.ts";
import type { FaultKind, FaultPorts } from "./faults.ts";
import { History } from "./history.ts";
import { Nemesis, type FaultRecord, type NemesisPace } from "./nemesis.ts";
import type { ChaosNetwork } from "./network/chaos-network.ts";
import type { ChaosResult } from "./report.ts";
import { SmallDisk } from "./small-disk.ts";
import { judge, type Verdict } from "./verdict.ts";
import { Workload } from "./workload.ts";

export const NODES = ["n1", "n2", "n3"] as const;
const NS_PER_MS = 1e6;
const WARM_UP_MS = 1_000;

export interface ChaosOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly pace: NemesisPace;
  readonly network: ChaosNetwork;
  readonly kinds: readonly FaultKind[];
  readonly say: (line: string) => void;
  /** Whether to try for a disk that can be filled. */
  readonly disk: "small" | "none";
}

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { seed, network, say } = options;
  const fleet = await NodeFleet.create({
    names: NODES,
    cluster: "chaos",
    addresses: network,
    launchOf: (node) => network.launchOf(node),
  });
  const disk = options.disk === "small" ? await mountDisk() : "not asked for in a short run";
  const skipped = [
    ...network.limits,
    ...(typeof disk === "string" ? [`no full disk: ${disk}`] : []),
  ];
  try {
    const run = new Run(fleet, options, typeof disk === "string" ? undefined : disk);
    await run.start();
    const history = new History();
    const standstill = monitorEventLoopDelay({ resolution: 10 });
    standstill.enable();
    const verdict = await run.play(history);
    standstill.disable();
    const durationMs = performance.now() - history.startedMs;
    const { faults } = run;
    const violations = [...run.violations, ...(verdict?.violations ?? [])];
    const standstillMs = standstill.max / NS_PER_MS;
    const what = { seed, network: network.description, durationMs, skipped };
    return { ...what, history, faults, standstillMs, violations, verdict, logs: run.logs };
  } finally {
    await network.heal();
    await fleet.close();
    if (typeof disk !== "string") await disk.unmount();
    await network.close();
    say("all nodes ended");
  }
}

/** The disk, or why there is none. */
async function mountDisk(): Promise<SmallDisk | string> {
  try {
    return await SmallDisk.mount();
  } catch (error) {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error);
    return said.trim().split("\n")[0] ?? "mounting failed";
  }
}

class Run {
  readonly violations: string[] = [];
  private readonly fleet: NodeFleet;
  private readonly options: ChaosOptions;
  private readonly disk: SmallDisk | undefined;
  private readonly random: SeededRandom;
  private readonly endsExpected = new Set<number>();
  private readonly started: { readonly node: string; readonly process: AetherProcess }[] = [];
  private records: readonly FaultRecord[] = [];

  constructor(fleet: NodeFleet, options: ChaosOptions, disk: SmallDisk | undefined) {
    this.fleet = fleet;
    this.options = options;
    this.disk = disk;
    this.random = new SeededRandom(options.seed);
  }

  get faults(): readonly FaultRecord[] {
    return this.records;
  }

  async start(): Promise<void> {
    await Promise.all(this.fleet.names.map((node) => this.launch(node)));
    await Promise.all(this.fleet.names.map((node) => this.fleet.process(node).ready()));
  }

  async play(history: History): Promise<Verdict | undefined> {
    const { fleet, options } = this;
    const workload = new Workload(fleet.apis, history, this.random.fork("workload"));
    const nemesis = new Nemesis(this.ports(), this.kinds(), options.pace, this.random.fork("nemesis"));
    this.records = nemesis.records;
    workload.start();
    const beganMs = performance.now();
    try {
      await nemesis.run(beganMs + Math.max(WARM_UP_MS, options.durationMs), ({ text, fromMs }) => {
        options.say(`${((fromMs - beganMs) / 1_000).toFixed(1).padStart(6)} s  ${text}`);
      });
      await workload.stop();
      return await judge(fleet, history);
    } catch (error) {
      await options.network.heal();
      await workload.stop();
      this.violations.push(`the cluster does not come back: ${describe(error)}`, ...this.lastWords());
      return undefined;
    }
  }

  private kinds(): readonly FaultKind[] {
    return this.options.kinds.filter((kind) => kind !== "disk full" || this.disk !== undefined);
  }

  private ports(): FaultPorts {
    const { fleet, disk } = this;
    return {
      fleet,
      network: this.options.network,
      disk,
      launch: (node) => this.launch(node),
      expectEnd: (node) => void this.endsExpected.add(fleet.process(node).pid),
      report: (violation) => void this.violations.push(violation),
    };
  }

  /** A node that ends without being told to is a violation by itself. */
  private async launch(node: string): Promise<void> {
    const isOnSmallDisk = this.disk !== undefined && node === NODES.at(-1);
    const started = await this.fleet.launch(node, isOnSmallDisk ? { dataDir: join(this.disk.directory, node) } : {});
    this.started.push({ node, process: started });
    void started.ended.then(() => {
      if (this.endsExpected.has(started.pid) || this.fleet.isClosing) return;
      this.violations.push(`${node} ended by itself: ${started.transcript()}`);
    });
  }

  /** What each node has logged, life after life. */
  get logs(): ReadonlyMap<string, readonly string[]> {
    return new Map(this.fleet.names.map((node) => {
      const lives = this.started.filter((life) => life.node === node);
      return [node, lives.flatMap(({ process }) => [`process ${process.pid}`, ...process.stdout, ...process.stderr])];
    }));
  }

  private lastWords(): readonly string[] {
    return this.fleet.names.map((node) => `${node}: ${this.fleet.process(node).transcript()}`);
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message} (${describe(error.cause)})`;
}
