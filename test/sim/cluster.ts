// Owns: a simulated cluster: on every machine the real consensus driver and the real key-value state, and all checkers
// wired to them. Does not own: what goes wrong (nemesis) and what clients do (workloads).
import { decode } from "../../src/base/codec.ts";
import { AetherError } from "../../src/base/errors.ts";
import { parseNodeId, type NodeId, type NodeUid } from "../../src/base/ids.ts";
import { MiB } from "../../src/base/units.ts";
import type { TestChoices } from "../../src/consensus/observer.ts";
import type {
  ChangeOutcome,
  GroupStatus,
  MembershipChange,
  MembershipView,
  ProposeOutcome,
} from "../../src/consensus/group.ts";
import { LOG_LIMITS, type LogLimits } from "../../src/consensus/core/journal-index.ts";
import { GroupDriver } from "../../src/consensus/group-driver.ts";
import type { OrderedStore, StorePort } from "../../src/env/store.ts";
import { parseCommand } from "../../src/kvstore/core/command.ts";
import { KvGenerations } from "../../src/kvstore/kv-generations.ts";
import { openHistoryLog } from "../../src/kvstore/history-log.ts";
import { KvHistory, type HistorySizes } from "../../src/kvstore/kv-history.ts";
import { toKvChange } from "../../src/kvstore/core/watch-match.ts";
import { KvState } from "../../src/kvstore/kv-state.ts";
import { LeaseKeeper } from "../../src/kvstore/lease-keeper.ts";
import { WatchHub } from "../../src/kvstore/watch-hub.ts";
import { createOpBatch } from "../../src/storage/op-batch.ts";
import { Machine, type ProcessEnv } from "../../src/testkit/sim/machine.ts";
import { SimNetwork } from "../../src/testkit/sim/sim-network.ts";
import type { SimProcess } from "../../src/testkit/sim/sim-process.ts";
import { createSimTelemetry } from "../../src/testkit/sim/sim-telemetry.ts";
import type { World } from "../../src/testkit/sim/world.ts";
import { LeaseChecker } from "./checkers/lease-checker.ts";
import { ProtocolChecker } from "./checkers/protocol-checker.ts";
import { StreamChecker } from "./checkers/stream-checker.ts";
import type { Violations } from "./checkers/violations.ts";
import type { CrashMoment } from "./nemesis/faults.ts";
import { Leaderships } from "./leadership.ts";
import { NodeService } from "./node-service.ts";
import { logsWith } from "./planted-disk.ts";
import { plantedInside, type HarnessFault } from "./planted.ts";
import { ProcessObserver } from "./process-observer.ts";

export interface ClusterConfig {
  /** First voters. */
  readonly nodeCount: number;
  /** Nodes that join the cluster, and vote only when somebody promotes them. */
  readonly standbyCount: number;
  readonly windowSlots: number;
  readonly pipelineSlots: number;
  readonly planted: HarnessFault | undefined;
  /** Whether nodes lead, as the services above the store do. */
  readonly hasLeader?: boolean;
  /** How much of the applied log a node keeps; drawn when absent. */
  readonly logLimits?: LogLimits;
  /** Time between checkpoints, at most; 3 s when absent. */
  readonly checkpointMsMax?: number;
}

export interface ClusterHooks {
  onMoment(moment: CrashMoment, node: NodeId): void;
  /** A new process starts: whoever still waits for the previous one waits in vain. */
  onRestart(node: NodeId): void;
  /** The process stops itself, or does not start: true when that is right, after what was done to its disk. */
  isExcused(node: NodeId, code: string): boolean;
  choicesOf(node: NodeId): TestChoices | undefined;
}

/** A node that has opened its disks and runs. */
interface RunningNode {
  readonly process: SimProcess;
  readonly driver: GroupDriver;
  readonly kv: KvState;
  readonly service: NodeService;
}

const CHECKPOINT_MS_MAX = 3_000;

/** With it a node that was away gets a snapshot, because the log that it misses is gone. */
export const SHORT_LOG: LogLimits = { slotsKept: 8, bytesKept: MiB, slotsPinned: 64 };

/** Rows so small that a run has many of them, and most of the past is on the disk. */
const LONG_PAST: HistorySizes = {
  revisionsMax: 100_000,
  bytesMax: MiB,
  rowsForgotten: 1,
  rowBytes: 2_048,
  waitingBytes: MiB,
  recentRevisions: 16,
  recentBytes: 2_048,
};
/** Whoever was away for long comes too late. */
const SHORT_PAST: HistorySizes = { ...LONG_PAST, revisionsMax: 20 };

export class Cluster {
  /** First voters, then those that join. */
  readonly nodes: readonly NodeId[];
  readonly machines: ReadonlyMap<NodeId, Machine>;
  readonly network: SimNetwork;
  readonly protocol: ProtocolChecker;
  readonly streams: StreamChecker;
  readonly leases: LeaseChecker;
  readonly leaderships: Leaderships;
  private readonly world: World;
  private readonly config: ClusterConfig;
  private readonly violations: Violations;
  private readonly hooks: ClusterHooks;
  private readonly running = new Map<NodeId, RunningNode>();
  private readonly logLimits: LogLimits;
  private readonly firstVoters: readonly NodeId[];
  /** Nodes that are started with `join`. */
  private readonly joining: Set<NodeId>;

  constructor(world: World, config: ClusterConfig, violations: Violations, hooks: ClusterHooks) {
    this.world = world;
    this.config = config;
    this.violations = violations;
    this.hooks = hooks;
    this.network = new SimNetwork(world);
    const { nodeCount, standbyCount, windowSlots } = config;
    this.nodes = Array.from({ length: nodeCount + standbyCount }, (_, index) => parseNodeId(`n${index + 1}`));
    this.firstVoters = this.nodes.slice(0, nodeCount);
    this.joining = new Set(this.nodes.slice(nodeCount));
    this.protocol = new ProtocolChecker({ voters: this.firstVoters, windowSlots }, violations);
    this.streams = new StreamChecker(violations);
    const clockMs = (node: NodeId): number => this.machines.get(node)?.hardwareClock.nowMs ?? 0;
    const isQuorum = (nodes: ReadonlySet<NodeId>): boolean => this.protocol.wereQuorum(nodes);
    this.leases = new LeaseChecker({ nodes: this.nodes, clockMs, isQuorum }, violations);
    this.leaderships = new Leaderships(world, config.planted);
    this.logLimits = config.logLimits ?? LOG_LIMITS;
    const boot = (env: ProcessEnv): Promise<void> => this.bootNode(env);
    this.machines = new Map(this.nodes.map((node) => [node, new Machine(world, this.network, node, boot)]));
    for (const [node, machine] of this.machines) {
      machine.onWrite = (store, stage) => {
        if (store === "wal" && stage === "queued") hooks.onMoment("journal-queued", node);
        if (store.startsWith("kv")) hooks.onMoment(`checkpoint-${stage}`, node);
      };
    }
  }

  start(): void {
    for (const machine of this.machines.values()) machine.boot();
  }

  serviceOf(node: NodeId): NodeService | undefined {
    return this.runningOn(node)?.service;
  }

  statusOf(node: NodeId): GroupStatus | undefined {
    return this.runningOn(node)?.driver.status();
  }

  /** Whether the process that runs on the node takes part: the others have accepted it and its disk. */
  isAdmitted(node: NodeId): boolean {
    return this.runningOn(node)?.driver.replica.admission.isAdmitted ?? false;
  }

  /** The last durable write of the node's disk that its process knows of. */
  writesOf(node: NodeId): number {
    return this.runningOn(node)?.driver.journaledWrites ?? 0;
  }

  /** Whether all other nodes run and have heard of a later write of this one. */
  isRemembered(node: NodeId, writes: number): boolean {
    const others = this.nodes.filter((other) => other !== node);
    return others.every((other) => {
      const peer = this.runningOn(other)?.driver.replica.peers.get(node);
      return peer !== undefined && peer.writeNumber > writes;
    });
  }

  /** From now on the node is started with `join`, as an empty directory must be. */
  join(node: NodeId): void {
    this.joining.add(node);
  }

  /** Asks a node that takes part for a change of the members. False when there is none now. */
  changeMembership(change: MembershipChange, done: (outcome: ChangeOutcome) => void): boolean {
    const asked = this.nodes.find((node) => node !== change.node && this.isAdmitted(node));
    const running = asked === undefined ? undefined : this.runningOn(asked);
    running?.driver.changeMembership(change, done);
    return running !== undefined;
  }

  /** The members' nodes, as the node knows that has applied most. */
  get members(): NodeId[] {
    return this.membership?.members.map(({ node }) => node) ?? [...this.firstVoters];
  }

  /** The data directory that the members' list has for the node, as far as a node that runs knows. */
  directoryOf(node: NodeId): NodeUid | undefined {
    const named = this.membership?.members.filter((member) => member.node === node) ?? [];
    return (named.find((member) => !member.isLost) ?? named[0])?.uid;
  }

  private get membership(): MembershipView | undefined {
    let furthest: GroupDriver | undefined;
    for (const { driver, process } of this.running.values()) {
      if (!process.isAlive) continue;
      if (furthest === undefined || driver.status().applied > furthest.status().applied) furthest = driver;
    }
    return furthest?.membership();
  }

  /** How many more voters may lose their disks for ever while the others are a quorum. */
  get canLose(): number {
    const views = this.nodes.flatMap((node) => this.runningOn(node)?.driver.membership() ?? []);
    const left = views.map(({ voters, pending, members }) => {
      // The list that still rules may have a voter whose disk is gone and whom the next list has no more.
      if (pending !== undefined) return 0;
      return Math.ceil(voters.length / 2) - 1 - members.filter((member) => member.isLost).length;
    });
    return Math.min(Math.ceil(this.firstVoters.length / 2) - 1, ...left);
  }

  /** Every node is a member, unless it may be away; every member is ready and has applied all; all states are equal. */
  isConverged(mayBeAway: (node: NodeId) => boolean = () => false): boolean {
    const { members } = this;
    if (!this.nodes.every((node) => members.includes(node) || mayBeAway(node))) return false;
    const statuses = members.map((node) => this.statusOf(node));
    const first = statuses[0];
    const isEqual = statuses.every((status) => {
      if (status?.isReady !== true) return false;
      return status.applied === status.decided && status.applied === first?.applied;
    });
    // Slots may be under way that nobody knows to be decided, for example after all nodes forgot it in a crash.
    return isEqual && members.every((node) => this.runningOn(node)?.driver.replica.slots.inFlight === 0);
  }

  /** Where nodes lead: one does, and all members know it. */
  get hasSettledLeader(): boolean {
    return this.config.hasLeader !== true || this.leaderships.isSettled(this.members);
  }

  /** Commands and reads whose callback is owed by a living node. */
  get owedCallbacks(): number {
    return this.nodes.reduce((sum, node) => sum + (this.runningOn(node)?.service.owed ?? 0), 0);
  }

  /** After healing: all replicas hold the same. */
  checkEnd(): void {
    const { members } = this;
    this.protocol.checkEnd((node) => this.statusOf(node)?.applied ?? -1, members);
    const states = members.map((node) => this.runningOn(node)?.kv);
    const hashes = new Set(states.map((state) => state?.stateHash));
    if (hashes.size > 1) this.violations.report("C7", `C7: state hashes differ at the end: ${[...hashes].join(", ")}`);
    for (const [index, state] of states.entries()) {
      const revision = state?.revision ?? -1;
      if (revision === this.streams.log.length) continue;
      const shown = `the streams show ${this.streams.log.length}`;
      this.violations.report("C7", `C7: ${members[index] ?? "?"} ends at revision ${revision}, ${shown}`);
    }
  }

  private runningOn(node: NodeId): RunningNode | undefined {
    const running = this.running.get(node);
    return running?.process.isAlive === true ? running : undefined;
  }

  private async bootNode(env: ProcessEnv): Promise<void> {
    const { process } = env;
    const onFatal = (error: AetherError): void => this.stopped(process, error);
    try {
      await this.openNode(env, onFatal);
    } catch (error) {
      if (!(error instanceof AetherError)) throw error;
      onFatal(error);
    }
  }

  /** A process that stops itself is gone, and its machine stands idle until somebody starts it again. */
  private stopped(process: SimProcess, error: AetherError): void {
    if (!process.isAlive || process.isStopping) return;
    process.isStopping = true;
    const { node } = process;
    this.world.note("stops", node, { kind: "text", text: `${error.code} ${error.message}` });
    if (!this.hooks.isExcused(node, error.code)) {
      this.violations.report("fatal", `${node} stops itself: ${error.code} ${error.message}`);
    }
    // The event that found the error goes on to its end first.
    this.world.schedule({ delayMs: 0, kind: "exit", process }, () => this.machines.get(node)?.crash());
  }

  private async openNode(env: ProcessEnv, onFatal: (error: AetherError) => void): Promise<void> {
    const { process, clock, log, random, messaging } = env;
    const { node } = process;
    this.hooks.onRestart(node);
    const store = this.config.planted === "requests-not-stored" ? withoutRequests(env.store) : env.store;
    const generations = await KvGenerations.open(store);
    const kv = KvState.open({ generations, clock, log, cluster: "sim", onFatal });
    if (!process.isAlive) return;
    this.streams.booted(node, kv.revision);
    kv.onChanges((revision, changes) => {
      this.streams.changed(node, { revision, changes: changes.map(toKvChange) });
    });
    kv.onReset((revision) => this.streams.booted(node, revision));
    kv.onLeases((result) => this.leases.applied(node, result));
    // Before the group: what it applies from its journal belongs to the history too.
    const sizes = this.logLimits === SHORT_LOG ? SHORT_PAST : LONG_PAST;
    const disk = await openHistoryLog(env, log);
    const history = KvHistory.open({ state: kv, disk, log, cluster: "sim", sizes });
    const { windowSlots, pipelineSlots } = this.config;
    const wal = await logsWith(this.config.planted, env, this.world).open("wal");
    const planted = plantedInside(this.config.planted);
    const choices = this.hooks.choicesOf(node);
    const observer = new ProcessObserver(process, this.protocol, this.hooks);
    const driver = await GroupDriver.open(
      {
        clock,
        random,
        log,
        messaging,
        wal,
        stateMachine: kv,
        onFatal,
        track: (task) => this.world.spawn(process, () => task),
      },
      {
        cluster: "sim",
        node,
        voters: this.joining.has(node) ? [] : this.firstVoters,
        address: `sim://${node}`,
        windowSlots,
        pipelineSlots,
        logLimits: this.logLimits,
        observer,
        ...(planted === undefined ? {} : { planted }),
        ...(choices === undefined ? {} : { choices }),
      },
    );
    if (!process.isAlive) return;
    observer.opened(driver, kv.stateHash);
    driver.start();
    this.startKeeper(env, driver, kv);
    const { world, leases, violations } = this;
    const hub = new WatchHub(clock, history);
    const { planted: fault } = this.config;
    const service = new NodeService({ world, process, driver, kv, hub, leases, violations, planted: fault });
    this.running.set(node, { process, driver, kv, service });
    if (this.config.hasLeader === true) this.leaderships.open({ env, driver, kv, history });
    this.checkpointNowAndThen(process, kv);
  }

  private startKeeper({ process, clock, log, messaging }: ProcessEnv, driver: GroupDriver, kv: KvState): void {
    const { node } = process;
    const group = {
      propose: (command: Uint8Array, done: (outcome: ProposeOutcome) => void): void => {
        const parsed = parseCommand(decode(command, command.byteLength));
        if (parsed.kind === "expire") this.leases.proposed(node, parsed.leases);
        driver.propose(command, done);
      },
      membership: (): MembershipView => {
        const view = driver.membership();
        return this.config.planted === "lease-by-own-clock" ? { ...view, voters: [node], pending: undefined } : view;
      },
    };
    const state = {
      onLeases: kv.onLeases.bind(kv),
      onReset: kv.onReset.bind(kv),
      leaseWeight: kv.leaseWeight.bind(kv),
      leases: (): ReturnType<KvState["leases"]> => {
        const leases = kv.leases();
        const settled = (): void => undefined;
        this.world.spawn(process, () => leases.then(settled, settled));
        return leases;
      },
    };
    const telemetry = createSimTelemetry(log);
    new LeaseKeeper({ clock, telemetry }, { state, group, messaging }, node).start();
  }

  /** Checkpoints are rare in a short run; a restart is to find them at any distance from the end of the log. */
  private checkpointNowAndThen(process: SimProcess, kv: KvState): void {
    const random = this.world.random.fork(`checkpoints ${process.node} ${process.life}`);
    const { checkpointMsMax = CHECKPOINT_MS_MAX } = this.config;
    const next = (): void => {
      this.world.schedule({ delayMs: random.next() * checkpointMsMax, kind: "checkpoint", process }, () => {
        this.world.spawn(process, () => kv.checkpoint());
        next();
      });
    };
    next();
  }
}

const REQUEST_ROWS = "\u0001requests/";

/** A planted fault: what sessions remember of their requests is kept in memory only. */
function withoutRequests(port: StorePort): StorePort {
  return {
    ...port,
    open: async (name) => {
      const store = await port.open(name);
      const isKept = (key: Uint8Array): boolean => !Buffer.from(key).toString("latin1").startsWith(REQUEST_ROWS);
      const filtered: OrderedStore = {
        getSync: (key) => store.getSync(key),
        entries: (range) => store.entries(range),
        write: (ops, done) => store.write(ops.filter(({ key }) => isKept(key)), done),
        begin: () => createOpBatch(filtered),
        close: () => store.close(),
      };
      return filtered;
    },
  };
}
