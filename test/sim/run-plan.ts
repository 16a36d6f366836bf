// Owns: one simulated run from its plan to its verdict: let cluster, faults and clients go, heal, wait for everything
// to be decided, judge the history.
import { present } from "../../src/base/assert.ts";
import type { KeyText } from "../../src/kvstore/core/key.ts";
import type { TraceLine } from "../../src/testkit/sim/trace.ts";
import { World } from "../../src/testkit/sim/world.ts";
import { checkAccounts } from "./checkers/account-checker.ts";
import { countOverlapping, type Operation } from "./checkers/history.ts";
import { checkLeaders, type LeaderStats } from "./checkers/leader-checker.ts";
import type { LeaseStats } from "./checkers/lease-checker.ts";
import { checkOnce } from "./checkers/once-checker.ts";
import type { ProtocolStats } from "./checkers/protocol-checker.ts";
import { checkRegister } from "./checkers/register-checker.ts";
import { registerHistoryOf } from "./checkers/register-history.ts";
import { checkStoreOrder, type StoreOrderStats } from "./checkers/store-order-checker.ts";
import { Violations, type Violation } from "./checkers/violations.ts";
import { WatchChecker, type WatchStats } from "./checkers/watch-checker.ts";
import { Cluster, SHORT_LOG } from "./cluster.ts";
import { Nemesis, type NemesisStats } from "./nemesis/nemesis.ts";
import type { RunPlan } from "./plan/run-plan.ts";
import { ALL_KEYS, isRegister } from "./workloads/actions.ts";
import { Clients, type ClientStats } from "./workloads/clients.ts";
import { Watchers } from "./workloads/watchers.ts";

export interface RunOptions {
  readonly onTraceLine?: ((line: TraceLine) => void) | undefined;
}

export interface RunStats extends ProtocolStats, NemesisStats, ClientStats, LeaseStats, WatchStats, LeaderStats {
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

export interface RunResult {
  readonly plan: RunPlan;
  readonly violation: Violation | undefined;
  readonly stats: RunStats;
  readonly traceHash: string;
  readonly lastLines: readonly TraceLine[];
}

/** The longest that faults and clients may take before healing. */
const TROUBLE_MS_MAX = 120_000;
/** After healing everything must be decided within this virtual time. */
const HEALING_MS_MAX = 60_000;
const LAST_LINES = 60;

export async function runPlan(plan: RunPlan, options: RunOptions = {}): Promise<RunResult> {
  const { onTraceLine } = options;
  const world = new World(plan.seed, onTraceLine === undefined ? {} : { onTraceLine });
  const run = new PlannedRun(world, plan);
  try {
    await run.play();
  } catch (error) {
    // Thrown outside of an event: by the harness itself.
    world.fail(error);
  }
  return run.finish();
}

class PlannedRun {
  private readonly world: World;
  private readonly plan: RunPlan;
  private readonly violations: Violations;
  private readonly cluster: Cluster;
  private readonly nemesis: Nemesis;
  private readonly clients: Clients;
  private readonly watches: WatchChecker;
  private readonly watchers: Watchers;
  private leaders: LeaderStats = { epochs: 0, ledWrites: 0, nodeEpochs: 0, nodeWrites: 0 };
  private unknown: StoreOrderStats = { unknownApplied: 0, unknownOpen: 0 };
  private inconclusive = 0;

  constructor(world: World, plan: RunPlan) {
    this.world = world;
    this.plan = plan;
    this.violations = new Violations(({ check, message }) => {
      world.note("VIOLATION", "", { kind: "text", text: `${check}: ${message}` });
    });
    const { nodeCount, standbyCount, windowSlots, pipelineSlots, planted, hasLeader } = plan;
    const limits = plan.isLogShort ? { logLimits: SHORT_LOG } : {};
    const config = { nodeCount, standbyCount, windowSlots, pipelineSlots, planted, hasLeader };
    this.cluster = new Cluster(world, { ...config, ...limits }, this.violations, {
      onMoment: (moment, node) => this.nemesis.onMoment(moment, node),
      onRestart: (node) => this.clients.nodeRestarted(node),
      isExcused: (node, code) => this.nemesis.isExcused(node, code),
      choicesOf: (node) => this.nemesis.choicesOf(node),
    });
    const { cluster } = this;
    const { network, machines, nodes } = cluster;
    this.nemesis = new Nemesis(
      {
        world,
        network,
        nodes,
        machines,
        isAdmitted: (node) => cluster.isAdmitted(node),
        directoryOf: (node) => cluster.directoryOf(node),
        isRemembered: (node, writes) => cluster.isRemembered(node, writes),
        writesOf: (node) => cluster.writesOf(node),
        canLose: () => cluster.canLose,
        change: (change, done) => cluster.changeMembership(change, done),
        isVoter: (node) => cluster.isAdmitted(node) && cluster.statusOf(node)?.role === "voter",
        isMember: (node) => cluster.members.includes(node),
        join: (node) => cluster.join(node),
      },
      plan.links,
    );
    const serviceOf = cluster.serviceOf.bind(cluster);
    const { streams } = cluster;
    this.watches = new WatchChecker(() => streams.log, this.violations);
    this.watchers = new Watchers(world, { scripts: plan.watchers, nodes, serviceOf, checker: this.watches });
    this.clients = new Clients(world, {
      scripts: plan.clients,
      nodes,
      serviceOf,
      violations: this.violations,
      isUnfenced: planted === "leader-unfenced",
    });
  }

  async play(): Promise<void> {
    const { cluster, nemesis, clients, violations, plan } = this;
    cluster.start();
    nemesis.start(plan.faults);
    clients.start();
    this.watchers.start();
    const isTroubleOver = (): boolean => nemesis.isDone && clients.isDone;
    await this.world.run(() => this.isBroken || isTroubleOver(), TROUBLE_MS_MAX);
    if (this.isBroken) return;
    if (!isTroubleOver()) {
      violations.report("liveness", `only ${clients.issued} commands could be begun in ${TROUBLE_MS_MAX} ms`);
      return;
    }
    nemesis.heal();
    await this.settle();
    if (this.isBroken) return;
    this.readEverything();
    // A batch of a node that died may still come in meanwhile, so this settles for itself.
    await this.settle();
    if (this.isBroken) return;
    cluster.checkEnd();
    this.judgeHistory();
  }

  private get isBroken(): boolean {
    return this.violations.first !== undefined || this.world.failure !== undefined;
  }

  /** Until every client has its answer and every node has applied everything that is decided. */
  private async settle(): Promise<void> {
    const { cluster, clients, nemesis, violations } = this;
    const isDone = (): boolean => {
      if (violations.first !== undefined) return true;
      if (!clients.isIdle || nemesis.operator.isBusy || cluster.owedCallbacks > 0) return false;
      // Nobody renews any more.
      if (cluster.leases.held.length > 0 || !this.watchers.isComplete || !cluster.hasSettledLeader) return false;
      return cluster.isConverged((node) => nemesis.operator.removed.has(node));
    };
    const isInTime = await this.world.run(isDone, this.world.nowMs + HEALING_MS_MAX);
    if (!isInTime && this.world.failure === undefined) violations.report("liveness", this.describeStuck());
  }

  finish(): RunResult {
    const { failure } = this.world;
    if (failure !== undefined) {
      const check = failure instanceof Error && failure.name === "AssertionError" ? "assertion" : "fatal";
      const text = failure instanceof Error ? (failure.stack ?? failure.message) : JSON.stringify(failure);
      this.violations.report(check, text);
    }
    const { history } = this.clients;
    const count = (kind: Operation["kind"]): number => history.filter((operation) => operation.kind === kind).length;
    return {
      plan: this.plan,
      violation: this.violations.first,
      stats: {
        ...this.cluster.protocol.stats,
        ...this.nemesis.stats,
        ...this.clients.stats,
        ...this.cluster.leases.stats,
        ...this.watches.stats,
        ...this.leaders,
        nodeCount: this.plan.nodeCount,
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
    const { streams, leases, leaderships } = this.cluster;
    const { log } = streams;
    const operations = [...history, ...leaderships.history];
    checkOnce(log, this.violations);
    this.leaders = checkLeaders(log, this.violations);
    this.unknown = checkStoreOrder({ operations, log, endings: leases.endings }, this.violations);
    checkAccounts(history, this.violations);
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
    if (this.nemesis.operator.isBusy) statuses.push("a change of the members is not finished");
    const { held } = cluster.leases;
    if (held.length > 0) statuses.push(`leases ${held.join()} have not ended`);
    if (!cluster.hasSettledLeader) statuses.push("there is no leader that all know");
    if (!this.watchers.isComplete) statuses.push("a watcher has not seen all there is");
    const owed = `${cluster.owedCallbacks} callbacks are owed, ${clients.isIdle ? "no" : "some"} client waits`;
    return `${HEALING_MS_MAX} ms after healing the cluster has not settled: ${statuses.join("; ")}; ${owed}`;
  }
}
