// Owns: the faults of a run of jobs, at their times or moments, and that everything is healed in the end.
import { HOUR_MS } from "../../../src/base/units.ts";
import type { ClusterParts } from "../../../src/testkit/node-seams.ts";
import type { LinkProfile } from "../../../src/testkit/sim/sim-network.ts";
import type { Machine } from "../../../src/testkit/sim/machine.ts";
import type { SimProcess } from "../../../src/testkit/sim/sim-process.ts";
import type { TestCluster } from "../../../src/testkit/test-cluster.ts";
import type { MomentNumbers } from "./job-observer.ts";
import type { JobFaultPlan, JobPlan } from "./job-plan.ts";

type Struck = Extract<JobFaultPlan, { readonly moment: number }>["fault"];

const LOSSY_LINKS: LinkProfile = {
  lossRate: 0.1, duplicateRate: 0.1, reorderRate: 0.2, delayMsMin: 0.5, delayMsMean: 8,
  tailRate: 0.05, tailMsMax: 1_500,
};
const SLOWNESS = 200;
/** Within it nodes have heard of each other's clocks. */
const HEARD_MS = 1_000;

export class JobNemesis {
  private readonly plan: JobPlan;
  private readonly parts: ClusterParts;
  private readonly cluster: TestCluster;
  private readonly down = new Set<string>();
  private readonly restarts: Promise<void>[] = [];
  /** Nodes whose wall clocks are wrong, and by how much. */
  private readonly wrong = new Map<Machine, number>();
  private readonly jumps: { readonly machine: Machine; readonly atMs: number; readonly byMs: number }[] = [];
  /** How far each wall clock was ahead of the run's time when it began. */
  private readonly aheadMs: ReadonlyMap<Machine, number>;
  private areFaultsOver = false;

  constructor(plan: JobPlan, cluster: TestCluster, parts: ClusterParts) {
    this.plan = plan;
    this.cluster = cluster;
    this.parts = parts;
    this.aheadMs = new Map(parts.machines.map((machine) => [machine, machine.hardwareClock.wallMs - cluster.nowMs]));
  }

  /** The latest that the wall clocks of most nodes showed then, or shortly before: so old may be what a node knows. */
  wallMsAt(atMs: number): number {
    const changes = this.jumps.map((jump) => jump.atMs).filter((when) => when <= atMs && when > atMs - HEARD_MS);
    return atMs + Math.max(...[atMs - HEARD_MS, ...changes, atMs].map((when) => this.medianAheadMs(when)));
  }

  private medianAheadMs(atMs: number): number {
    const ahead = [...this.aheadMs].map(([machine, beginningMs]) => this.jumps.reduce((sum, jump) =>
      (jump.machine === machine && jump.atMs <= atMs ? sum + jump.byMs : sum), beginningMs)).sort((a, b) => a - b);
    return ahead[Math.floor(ahead.length / 2)] ?? 0;
  }

  /** The faults that come at a time. */
  async run(): Promise<void> {
    await Promise.all(this.plan.faults.map((fault) => this.bring(fault)));
  }

  /** The faults that come at a moment. */
  strike(process: SimProcess, when: "before" | "after", numbers: MomentNumbers): void {
    for (const plan of this.plan.faults) {
      if (plan.at !== when || plan.moment !== numbers[plan.of] || this.areFaultsOver || !process.isAlive) continue;
      this.hit(process.node, plan.fault, plan.forMs);
    }
  }

  /** Nothing more happens; who is to be back is back. */
  async end(): Promise<void> {
    this.areFaultsOver = true;
    await Promise.all(this.restarts);
    await this.heal();
    // Timers that were set by a clock that was ahead.
    if (this.plan.faults.some(({ fault }) => fault === "clock ahead")) this.jumpAll(2 * HOUR_MS);
  }

  async heal(): Promise<void> {
    this.parts.network.calm();
    for (const [machine, byMs] of this.wrong) this.jump(machine, -byMs);
    this.wrong.clear();
    for (const node of [...this.down]) {
      this.down.delete(node);
      // ignored: that it never comes back shows in the jobs that do not end.
      await this.cluster.start(node).catch(() => undefined);
    }
  }

  private async bring(plan: JobFaultPlan): Promise<void> {
    if (plan.at !== "time") return;
    const { atMs, fault, forMs, node: index } = plan;
    const { cluster, parts: { network } } = this;
    await cluster.advance(atMs);
    const machine = this.parts.machines[index];
    if (machine === undefined) return;
    const { node } = machine;
    const others = this.parts.machines.filter((other) => other !== machine).map((other) => other.node);
    switch (fault) {
      case "crash":
      case "crash all":
      case "pause":
      case "cut all":
        return this.hit(node, fault, forMs);
      case "stop":
        return await this.stop(node, forMs);
      case "stop all":
        await Promise.all(cluster.nodes.map((one) => this.stop(one, forMs)));
        return;
      case "cut off":
        return await this.cutOff([node], forMs);
      case "deaf":
        for (const other of others) network.block(other, node);
        break;
      case "mute":
        for (const other of others) network.block(node, other);
        break;
      case "lossy links":
        network.profile = LOSSY_LINKS;
        break;
      case "slow links":
        for (const other of others) network.slow(node, other, SLOWNESS);
        break;
      case "clock ahead":
        return await this.setWrong(machine, HOUR_MS, forMs);
      case "clock behind":
        return await this.setWrong(machine, -HOUR_MS, forMs);
      case "all clocks ahead":
        return this.jumpAll(HOUR_MS);
    }
    await cluster.advance(forMs);
    network.calm();
  }

  private hit(node: string, fault: Struck, forMs: number): void {
    if (fault === "pause") return this.cluster.pause(node, forMs);
    if (fault === "cut all") return void this.restarts.push(this.cutOff(this.cluster.nodes, forMs));
    for (const one of fault === "crash" ? [node] : this.cluster.nodes) {
      if (this.down.has(one)) continue;
      this.down.add(one);
      this.cluster.kill(one);
      this.restarts.push(this.restartLater(one, forMs));
    }
  }

  private async cutOff(nodes: readonly string[], forMs: number): Promise<void> {
    const { network, machines } = this.parts;
    for (const one of nodes.map((name) => machines.find(({ node }) => node === name))) {
      const others = machines.filter((other) => other !== one);
      for (const other of others) if (one !== undefined) network.block(one.node, other.node);
      for (const other of others) if (one !== undefined) network.block(other.node, one.node);
    }
    await this.cluster.advance(forMs);
    network.calm();
  }

  private async stop(node: string, forMs: number): Promise<void> {
    if (this.down.has(node)) return;
    this.down.add(node);
    // A node that cannot end in order, because the others are away, is killed.
    await this.cluster.stop(node).catch(() => this.cluster.kill(node));
    await this.restartLater(node, forMs);
  }

  private async restartLater(node: string, afterMs: number): Promise<void> {
    await this.cluster.advance(afterMs);
    this.down.delete(node);
    // ignored: the others may not let it in while they are away; it is up all the same.
    await this.cluster.start(node).catch(() => undefined);
  }

  private async setWrong(machine: Machine, byMs: number, forMs: number): Promise<void> {
    if (this.wrong.has(machine)) return;
    this.wrong.set(machine, byMs);
    this.jump(machine, byMs);
    await this.cluster.advance(forMs);
    if (this.wrong.delete(machine)) this.jump(machine, -byMs);
  }

  jumpAll(byMs: number): void {
    for (const machine of this.parts.machines) this.jump(machine, byMs);
  }

  private jump(machine: Machine, byMs: number): void {
    this.jumps.push({ machine, atMs: this.cluster.nowMs, byMs });
    machine.hardwareClock.jumpWall(byMs);
  }
}
