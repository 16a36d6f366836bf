// Owns: one simulated run from its seed to its verdict: draw the cluster, the faults and the workload, let them go,
// heal, wait for everything to be decided, judge the history.
import type { PlantedFault } from "../../src/consensus/observer.ts";
import type { Random } from "../../src/base/random.ts";
import { present } from "../../src/base/assert.ts";
import type { KeyText } from "../../src/kvstore/core/key.ts";
import { World } from "../../src/testkit/sim/world.ts";
import type { TraceLine } from "../../src/testkit/sim/trace.ts";
import { Cluster } from "./cluster.ts";
import { countOverlapping, type Operation } from "./checkers/history.ts";
import type { ProtocolStats } from "./checkers/protocol-checker.ts";
import { checkRegister } from "./checkers/register-checker.ts";
import { registerHistoryOf } from "./checkers/register-history.ts";
import { checkStoreOrder, type StoreOrderStats } from "./checkers/store-order-checker.ts";
import { Violations, type Violation } from "./checkers/violations.ts";
import { drawBaseProfile, planFaults } from "./nemesis/faults.ts";
import { Nemesis, type NemesisStats } from "./nemesis/nemesis.ts";
import { ALL_KEYS, isRegister, WORKLOADS, type WorkloadName } from "./workloads/actions.ts";
import { Clients } from "./workloads/clients.ts";

export interface SeedOptions {
  /** Overrides what the seed would draw. */
  readonly nodeCount?: number;
  readonly workload?: WorkloadName;
  readonly planted?: PlantedFault;
  readonly readMode?: "linearizable" | "local";
  readonly onTraceLine?: (line: TraceLine) => void;
}

export interface SeedStats extends ProtocolStats, NemesisStats {
  nodeCount: number;
  commands: number;
  answered: number;
  failed: number;
  unknown: number;
  /** Of the unknown ones, those that took effect and those that did not (yet). */
  unknownApplied: number;
  unknownOpen: number;
  overlapping: number;
  /** Keys whose history the register checker gave up on. */
  inconclusive: number;
  events: number;
  virtualMs: number;
}

export interface SeedResult {
  readonly seed: number;
  readonly violation: Violation | undefined;
  readonly stats: SeedStats;
  readonly traceHash: string;
  readonly lastLines: readonly TraceLine[];
}

const COMMANDS_MIN = 200;
const CLIENTS_MIN = 5;
const CLIENTS_SPAN = 6;
/** The longest that faults and workload may take before healing. */
const TROUBLE_MS_MAX = 120_000;
/** After healing everything must be decided within this virtual time. */
const HEALING_MS_MAX = 60_000;
const LAST_LINES = 60;

export async function runSeed(seed: number, options: SeedOptions = {}): Promise<SeedResult> {
  const world = new World(seed, options.onTraceLine === undefined ? {} : { onTraceLine: options.onTraceLine });
  const run = new SeedRun(world, options);
  try {
    await run.play();
  } catch (error) {
    // Thrown outside of an event: by the harness itself.
    world.fail(error);
  }
  return run.finish();
}

class SeedRun {
  private readonly world: World;
  private readonly violations: Violations;
  private readonly cluster: Cluster;
  private readonly nemesis: Nemesis;
  private readonly clients: Clients;
  private readonly random: Random;
  private unknown: StoreOrderStats = { unknownApplied: 0, unknownOpen: 0 };
  private inconclusive = 0;

  constructor(world: World, options: SeedOptions) {
    this.world = world;
    this.random = world.random.fork("plan");
    this.violations = new Violations(({ check, message }) => {
      world.note("VIOLATION", "", { kind: "text", text: `${check}: ${message}` });
    });
    const windowSlots = pick(this.random, [4, 8, 16, 64]);
    const pipelineSlots = Math.min(windowSlots, pick(this.random, [1, 2, 8]));
    const nodeCount = options.nodeCount ?? pick(this.random, [3, 3, 3, 3, 3, 3, 5, 5, 2, 1]);
    const workload = options.workload ?? pick(this.random, WORKLOADS);
    const { planted, readMode = "linearizable" } = options;
    const config = { nodeCount, windowSlots, pipelineSlots, planted, readMode };
    this.cluster = new Cluster(world, config, this.violations, {
      onMoment: (moment, node) => this.nemesis.onMoment(moment, node),
      onRestart: (node) => this.clients.nodeRestarted(node),
    });
    const { network, machines, nodes } = this.cluster;
    this.nemesis = new Nemesis({ world, network, machines }, drawBaseProfile(this.random));
    this.clients = new Clients(world, {
      clientCount: CLIENTS_MIN + this.random.below(CLIENTS_SPAN),
      workload,
      nodes,
      serviceOf: (node) => this.cluster.serviceOf(node),
      isStopping: () => this.isTroubleOver,
    });
    world.note("plan", "", { kind: "text", text: JSON.stringify({ nodeCount, windowSlots, pipelineSlots, workload }) });
  }

  async play(): Promise<void> {
    const { cluster, nemesis, clients, violations } = this;
    cluster.start();
    nemesis.start(planFaults(this.random, cluster.nodes));
    clients.start();
    const isBroken = (): boolean => violations.first !== undefined;
    await this.world.run(() => isBroken() || this.isTroubleOver, TROUBLE_MS_MAX);
    if (isBroken() || this.world.failure !== undefined) return;
    if (!this.isTroubleOver) {
      violations.report("liveness", `only ${clients.issued} commands could be begun in ${TROUBLE_MS_MAX} ms`);
      return;
    }
    nemesis.heal();
    await this.settle();
    if (isBroken() || this.world.failure !== undefined) return;
    this.readEverything();
    // A batch of a node that died may still come in meanwhile, so this settles for itself.
    await this.settle();
    if (isBroken() || this.world.failure !== undefined) return;
    cluster.checkEnd();
    this.judgeHistory();
  }

  /** Until every client has its answer and every node has applied everything that is decided. */
  private async settle(): Promise<void> {
    const { cluster, clients, violations } = this;
    const isDone = (): boolean => {
      if (violations.first !== undefined) return true;
      return clients.isIdle && cluster.owedCallbacks === 0 && cluster.isConverged;
    };
    const isInTime = await this.world.run(isDone, this.world.nowMs + HEALING_MS_MAX);
    if (!isInTime && this.world.failure === undefined) violations.report("liveness", this.describeStuck());
  }

  finish(): SeedResult {
    const { failure } = this.world;
    if (failure !== undefined) {
      const check = failure instanceof Error && failure.name === "AssertionError" ? "assertion" : "fatal";
      const text = failure instanceof Error ? (failure.stack ?? failure.message) : JSON.stringify(failure);
      this.violations.report(check, text);
    }
    const { history } = this.clients;
    const count = (kind: Operation["kind"]): number => history.filter((operation) => operation.kind === kind).length;
    return {
      seed: this.world.seed,
      violation: this.violations.first,
      stats: {
        ...this.cluster.protocol.stats,
        ...this.nemesis.stats,
        nodeCount: this.cluster.nodes.length,
        commands: history.length,
        answered: count("ok"),
        failed: count("failed"),
        unknown: count("unknown"),
        ...this.unknown,
        overlapping: countOverlapping(history),
        inconclusive: this.inconclusive,
        events: this.world.trace.eventCount,
        virtualMs: this.world.nowMs,
      },
      traceHash: this.world.trace.hash,
      lastLines: this.world.trace.lastLines(LAST_LINES),
    };
  }

  private get isTroubleOver(): boolean {
    return this.nemesis.isDone && this.clients.issued >= COMMANDS_MIN;
  }

  /** A last linearizable read of every key, each on some node. */
  private readEverything(): void {
    const { nodes } = this.cluster;
    for (const [index, key] of ALL_KEYS.entries()) {
      const node = present(nodes[index % nodes.length], "a simulated cluster has nodes");
      this.clients.perform(node, { kind: "read", key });
    }
  }

  private judgeHistory(): void {
    const { history } = this.clients;
    const { log } = this.cluster.streams;
    this.unknown = checkStoreOrder(history, log, this.violations);
    for (const key of ALL_KEYS) if (isRegister(key)) this.judgeRegister(key, history);
  }

  private judgeRegister(key: KeyText, history: readonly Operation[]): void {
    const verdict = checkRegister(registerHistoryOf(key, history));
    if (verdict.kind === "inconclusive") this.inconclusive += 1;
    if (verdict.kind === "violation") {
      this.violations.report("C11", `C11: the history of ${key} is not linearizable: ${verdict.message}`);
    }
  }

  private describeStuck(): string {
    const { cluster, clients } = this;
    const statuses = cluster.nodes.map((node) => {
      const status = cluster.statusOf(node);
      if (status === undefined) return `${node}: down`;
      return `${node}: applied ${status.applied} of ${status.decided}, ${status.notReadyReason ?? "ready"}`;
    });
    const owed = `${cluster.owedCallbacks} callbacks are owed, ${clients.isIdle ? "no" : "some"} client waits`;
    return `${HEALING_MS_MAX} ms after healing the cluster has not settled: ${statuses.join("; ")}; ${owed}`;
  }
}

function pick<T>(random: Random, items: readonly T[]): T {
  return present(items[random.below(items.length)], "there is something to pick from");
}
