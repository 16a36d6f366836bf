// Owns: small runs whose steps a test writes down, with all checkers on: a fixed number of puts on a calm network, and
// whatever the test does to machines meanwhile.
import { present } from "../../src/base/assert.ts";
import type { NodeId } from "../../src/base/ids.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import type { Machine } from "../../src/testkit/sim/machine.ts";
import { World } from "../../src/testkit/sim/world.ts";
import { checkStoreOrder } from "./checkers/store-order-checker.ts";
import { Violations, type Violation } from "./checkers/violations.ts";
import { Cluster, type ClusterConfig } from "./cluster.ts";
import { Clients } from "./workloads/clients.ts";

const WINDOW_SLOTS = 8;
const FORMING_MS_MAX = 5_000;
const SETTLING_MS_MAX = 60_000;
const PUT_GAP_MS = 2;
const DOWN_MS = 5;
const RESTING_MS = 200;

export class ScriptedRun {
  readonly world: World;
  readonly cluster: Cluster;
  /** How often the protocol proposed, wrote a ballot, decided, applied or acknowledged. */
  moments = 0;
  private readonly violations = new Violations();
  private readonly clients: Clients;
  private readonly onMoment: (moment: number) => void;

  constructor(
    seed: number,
    nodeCount: number,
    onMoment: (moment: number) => void = () => undefined,
    limits: Pick<ClusterConfig, "logLimits" | "checkpointMsMax"> = {},
  ) {
    this.world = new World(seed);
    this.onMoment = onMoment;
    const config = { nodeCount, standbyCount: 0, windowSlots: WINDOW_SLOTS, pipelineSlots: 4, planted: undefined };
    this.cluster = new Cluster(this.world, { ...config, ...limits }, this.violations, {
      onMoment: () => {
        this.moments += 1;
        this.onMoment(this.moments);
      },
      onRestart: (node) => this.clients.nodeRestarted(node),
      isExcused: () => false,
      choicesOf: () => undefined,
    });
    this.clients = new Clients(this.world, {
      scripts: [],
      nodes: this.cluster.nodes,
      serviceOf: (node) => this.cluster.serviceOf(node),
      violations: this.violations,
    });
  }

  /** Starts all machines and waits until they are one cluster. */
  async form(): Promise<void> {
    this.cluster.start();
    await this.world.run(() => this.cluster.isConverged(), FORMING_MS_MAX);
  }

  /** Puts `count` values, each through the next node that is up; gives the longest time without an acknowledgement. */
  async put(count: number, valueBytes = 0): Promise<number> {
    let [lastMs, acknowledged, longestMs] = [this.world.nowMs, this.acknowledged, 0];
    for (let index = 0; index < count; index += 1) {
      const key = formatKey({ kind: "data", path: `x/${index % 3}` });
      const value = `v${this.clients.issued}`.padEnd(valueBytes, "-");
      const txn = { compare: [], then: [{ kind: "put", key, value } as const], else: [] };
      this.clients.perform(this.nextUp(index), { kind: "txn", txn });
      await this.world.run(() => false, this.world.nowMs + PUT_GAP_MS);
      if (this.acknowledged === acknowledged) continue;
      longestMs = Math.max(longestMs, this.world.nowMs - lastMs);
      [lastMs, acknowledged] = [this.world.nowMs, this.acknowledged];
    }
    return Math.max(longestMs, this.world.nowMs - lastMs);
  }

  /** Cuts the power of these machines between this event and the next one, and starts them again a little later. */
  crashSoon(nodes: readonly NodeId[]): void {
    this.world.schedule({ delayMs: 0, kind: "crash" }, () => {
      for (const node of nodes) this.machine(node).crash();
    });
    this.world.schedule({ delayMs: DOWN_MS, kind: "boot" }, () => {
      for (const node of nodes) this.machine(node).boot();
    });
  }

  /** Lets slow disks and links come to rest. */
  async rest(): Promise<void> {
    await this.world.run(() => false, this.world.nowMs + RESTING_MS);
  }

  /** Until every command has its answer and all nodes are equal; then everything is judged. */
  async settleAndJudge(): Promise<Violation | undefined> {
    const isSettled = (): boolean => {
      return this.clients.isIdle && this.cluster.owedCallbacks === 0 && this.cluster.isConverged();
    };
    const isBroken = (): boolean => this.violations.first !== undefined;
    const isInTime = await this.world.run(() => isBroken() || isSettled(), this.world.nowMs + SETTLING_MS_MAX);
    const { failure } = this.world;
    if (failure !== undefined) {
      this.violations.report("assertion", failure instanceof Error ? failure.message : JSON.stringify(failure));
    }
    if (!isInTime) this.violations.report("liveness", "the cluster does not settle");
    if (isBroken()) return this.violations.first;
    this.cluster.checkEnd();
    const { leases, streams } = this.cluster;
    const { log } = streams;
    checkStoreOrder({ operations: this.clients.history, log, endings: leases.endings }, this.violations);
    return this.violations.first;
  }

  get violation(): Violation | undefined {
    return this.violations.first;
  }

  get acknowledged(): number {
    return this.clients.answered;
  }

  machine(node: NodeId): Machine {
    return present(this.cluster.machines.get(node), "every node has a machine");
  }

  nodeAt(index: number): NodeId {
    const { nodes } = this.cluster;
    return present(nodes[index % nodes.length], "a simulated cluster has nodes");
  }

  private nextUp(index: number): NodeId {
    const rotated = this.cluster.nodes.map((_, offset) => this.nodeAt(index + offset));
    return rotated.find((node) => this.cluster.serviceOf(node) !== undefined) ?? this.nodeAt(index);
  }
}
