// Owns: a cluster in a simulated world as a test sees it: calls to slices, broken nodes and cables, time that passes.
// Does not own: what a node is (sim-node.ts), when the world moves (world-pump.ts), one call (test-client.ts).
import { present } from "../base/assert.ts";
import { createDeferred, type Deferred } from "../base/deferred.ts";
import { AetherError } from "../base/errors.ts";
import { parseNodeId, type NodeId } from "../base/ids.ts";
import { MINUTE_MS, SECOND_MS } from "../base/units.ts";
import { parseKey, prefixOf } from "../kvstore/core/key.ts";
import type { BlueprintInput } from "../sdk/blueprint.ts";
import type { Client, Contract } from "../sdk/contract.ts";
import { parseDuration, type Duration } from "../sdk/duration.ts";
import type { Tool } from "../sdk/tool.ts";
import { decodeArchive } from "../slices/core/archive.ts";
import type { BlueprintStatus } from "../slices/core/blueprint-status.ts";
import { parseInstanceRow, type InstanceRowState } from "../slices/core/instance-row.ts";
import type { BlueprintRevision } from "../slices/blueprints/blueprint-store.ts";
import { listRows } from "../slices/list-rows.ts";
import type { JobsPorts } from "./ask-jobs.ts";
import { Machine, type ProcessEnv } from "./sim/machine.ts";
import { Outside } from "./sim/outside.ts";
import { SimNetwork } from "./sim/sim-network.ts";
import { formatTraceLine, type TraceLine } from "./sim/trace.ts";
import { World } from "./sim/world.ts";
import type { NodeSeams } from "./node-seams.ts";
import { openSimNode, type SimNode } from "./sim-node.ts";
import { testAgent, type AnyAgent, type TestAgent } from "./test-agents.ts";
import { createTestClient, type EntryNode } from "./test-client.ts";
import type { TestSlice } from "./test-slice.ts";
import { knownMock, toolMockOf, type KnownMock, type MockOptions, type MockTool, type ToolMock } from "./tool-mock.ts";
import { WorldPump } from "./world-pump.ts";

/** One instance, as the store says. */
export interface TestInstance {
  readonly node: string;
  readonly artifact: string;
  readonly index: number;
  readonly state: InstanceRowState;
}

/** A blueprint with the name it is applied under. */
export type NamedBlueprint = BlueprintInput & { readonly name: string };

export interface TestClientOptions {
  /** The node that the calls enter the cluster through. Default: each call takes any that runs. */
  readonly via?: string;
}

export interface TestClusterSetup {
  readonly seed: number;
  readonly nodes: readonly NodeId[];
  readonly labels: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** How wrong the wall clock of a node may be, either way. */
  readonly wallSkewMs: number;
  readonly seams: NodeSeams;
}

interface Running {
  readonly node: SimNode;
  readonly ended: Deferred<void>;
  /** Calls of clients under way through it. */
  clientCalls: number;
  /** It stops in order: clients go elsewhere. */
  isStopping: boolean;
}

/** Longest wait for what the cluster does by itself: forming, starting instances. */
const SETTLE_MS_MAX = 2 * MINUTE_MS;
/** Longest wait of `until` if the test says nothing else. */
const UNTIL_MS_MAX = 30 * SECOND_MS;
const POLL_MS = 10;
/** A node that stops waits so long for the calls of its clients, as its API does. */
const CLIENT_CALLS_MS_MAX = 3 * SECOND_MS;
/** What the log of a test keeps. */
const LOG_LINES_MAX = 500;
const LINES_SHOWN = 15;
/** Within this the leader looks at its wall clock again. */
const SKIP_SEEN_MS = 11 * SECOND_MS;
const REST_MS_MAX = 10 * SECOND_MS;

export class TestCluster implements AsyncDisposable {
  /** Names of the nodes: `n1`, `n2`, … */
  readonly nodes: readonly string[];
  readonly seed: number;
  private readonly world: World;
  private readonly network: SimNetwork;
  private readonly pump: WorldPump;
  private readonly machines: ReadonlyMap<NodeId, Machine>;
  private readonly running = new Map<NodeId, Running>();
  /** By the digests of their bundles. */
  private readonly slices = new Map<string, TestSlice>();
  private readonly lines: TraceLine[] = [];
  private readonly outside: Outside;
  private readonly mocks = new Map<string, KnownMock>();
  private readonly seams: NodeSeams;
  private lastId = 0;

  private constructor({ seed, nodes, labels, wallSkewMs, seams }: TestClusterSetup) {
    this.nodes = nodes;
    this.seed = seed;
    this.seams = seams;
    this.world = new World(seed, { onTraceLine: (line) => this.keepLine(line) });
    this.network = new SimNetwork(this.world);
    this.pump = new WorldPump(this.world);
    this.outside = new Outside(this.world);
    this.machines = new Map(nodes.map((node) => {
      const boot = (env: ProcessEnv): Promise<void> => this.boot(env, labels[node] ?? {});
      return [node, new Machine(this.world, this.network, node, boot, wallSkewMs)];
    }));
    const { network, machines } = this;
    const nodeOf = (name: string): SimNode => present(this.running.get(this.machine(name).node), "the node runs").node;
    seams.parts?.({
      network,
      machines: [...machines.values()],
      jobs: (via) => this.jobsPorts(via),
      events: (node) => nodeOf(node).events,
      metrics: (node) => nodeOf(node).metrics,
      alerts: (node) => nodeOf(node).alerts,
      // One that does not run refuses, as a promise does.
      backup: (node) => this.drive(async () => await nodeOf(node).backup(), `backup through ${node}`),
    });
  }

  /** Starts every node, and waits until all are on duty under a leader. */
  static async form(setup: TestClusterSetup): Promise<TestCluster> {
    const cluster = new TestCluster(setup);
    for (const machine of cluster.machines.values()) machine.boot();
    const isFormed = (): boolean =>
      cluster.leader() !== undefined && setup.nodes.every((node) => cluster.isOnDuty(node));
    await cluster.until(isFormed, SETTLE_MS_MAX);
    return cluster;
  }

  /** Milliseconds of virtual time since the cluster was made. */
  get nowMs(): number {
    return this.world.nowMs;
  }

  /** Equal for equal runs: the same seed, slices and test. */
  get traceHash(): string {
    return this.world.trace.hash;
  }

  /** The typed methods of a slice, called from outside of the cluster. */
  slice<C extends Contract>(contract: C, { via }: TestClientOptions = {}): Client<C> {
    const entry = via === undefined ? undefined : this.machine(via).node;
    return createTestClient(contract, {
      world: this.world,
      pump: this.pump,
      findEntry: () => this.findEntry(entry),
    });
  }

  /** Jobs of an agent, started and asked about from outside of the cluster. */
  agent<A extends AnyAgent>(agent: A, { via }: TestClientOptions = {}): TestAgent<A> {
    return testAgent(agent, this.jobsPorts(via));
  }

  /**
   * Plays the other side of a tool, in all agents that have a tool of this name: from now on its calls go there
   * instead of to its `execute`, and its `reconcile`, if it has one, answers what became of them.
   */
  mockTool<T extends Tool>(tool: T, behave: MockTool<T>, options: MockOptions = {}): ToolMock {
    this.mocks.set(tool.name, knownMock(tool, this.outside, behave, options));
    return toolMockOf(this.outside, tool.name);
  }

  /** What has come about at the other sides of tools, other than reads: one text for each time that it has. */
  get effects(): readonly string[] {
    return this.outside.effects;
  }

  /**
   * Lets jobs go on until they wait for something, for 10 s at most; then the wall clocks of all nodes jump, and jobs
   * that sleep until then go on. Only some seconds of virtual time pass: a week costs no more than a minute does.
   */
  async skip(duration: Duration): Promise<void> {
    const byMs = parseDuration(duration);
    for (const endMs = this.nowMs + REST_MS_MAX; this.nowMs < endMs && !(await this.areJobsAtRest());) {
      await this.advance(POLL_MS);
    }
    for (const { hardwareClock } of this.machines.values()) hardwareClock.jumpWall(byMs);
    await this.advance(SKIP_SEEN_MS);
  }

  /** Lets so many milliseconds of virtual time pass. */
  advance(durationMs: number): Promise<void> {
    const pass = (): Promise<void> => new Promise((resolve) => {
      this.world.schedule({ delayMs: durationMs, kind: "test" }, resolve);
    });
    return this.pump.drive(pass, durationMs + SECOND_MS, `letting ${durationMs} ms pass`);
  }

  /** Lets time pass until the condition holds. @throws AetherError E_TIMEOUT after `limitMs` of virtual time */
  async until(isReached: () => boolean | Promise<boolean>, limitMs = UNTIL_MS_MAX): Promise<void> {
    const endMs = this.nowMs + limitMs;
    while (!(await isReached())) {
      if (this.nowMs >= endMs) throw this.notReached(limitMs);
      await this.advance(Math.min(POLL_MS, endMs - this.nowMs));
    }
  }

  /** Makes a slice available to blueprints, as `aether slice push` does. */
  async push(slice: TestSlice): Promise<void> {
    this.slices.set(decodeArchive(slice.archive).manifest.digest, slice);
    await this.ask(`pushing ${slice.artifact}`, (node) => node.artifacts.push(slice.archive));
  }

  /** Applies a blueprint and waits until it runs as it says. */
  async apply(blueprint: NamedBlueprint): Promise<BlueprintRevision> {
    const { name } = blueprint;
    const applied = await this.ask(`applying ${name}`, (node) => node.blueprints.apply(name, blueprint));
    const endMs = this.nowMs + SETTLE_MS_MAX;
    for (;;) {
      const status = await this.ask("its status", (node) => node.blueprints.status(name));
      if (runsAsWanted(status)) return applied;
      if (this.nowMs >= endMs || hasFailedForGood(status)) throw doesNotRun(status, this.seed);
      await this.advance(POLL_MS);
    }
  }

  /** The instances of a slice, in whatever state, by their nodes. */
  async instances(slice: string): Promise<readonly TestInstance[]> {
    const rows = await this.ask("listing instances", (node) => listRows(node.kv, prefixOf({ kind: "slices" })));
    return rows.flatMap(({ key, value }): TestInstance[] => {
      const place = parseKey(key);
      const row = parseInstanceRow(value);
      if (place.kind !== "slice" || row.slice !== slice) return [];
      return [{ node: place.node, artifact: place.artifact, index: place.instance, state: row.state }];
    });
  }

  /** The node that leads by its own account; undefined while none does. */
  leader(): string | undefined {
    return this.living().find((node) => node.cluster.leadership.isLeader)?.process.node;
  }

  /** Cuts the power of a node: what runs there is gone, what was synced to its disk stays. */
  kill(node: string): void {
    const machine = this.machine(node);
    machine.crash();
    this.running.get(machine.node)?.ended.resolve();
    this.running.delete(machine.node);
  }

  /** Stops a node as SIGTERM does: its calls are answered, its instances end. */
  async stop(node: string): Promise<void> {
    const running = this.running.get(this.machine(node).node);
    if (running !== undefined) {
      running.isStopping = true;
      await this.drive(() => running.node.drain(), `stopping ${node}`);
      const endMs = this.nowMs + CLIENT_CALLS_MS_MAX;
      while (running.clientCalls > 0 && this.nowMs < endMs) await this.advance(POLL_MS);
    }
    this.kill(node);
  }

  /** Starts a node that was killed or stopped, and waits until it is on duty. */
  async start(node: string): Promise<void> {
    const machine = this.machine(node);
    if (machine.isUp) throw new AetherError("E_CONFLICT", `${node} runs already: kill or stop it first`);
    machine.boot();
    await this.until(() => this.isOnDuty(machine.node), SETTLE_MS_MAX);
  }

  /** The node stands still for so long, and loses nothing, like a process that is swapped out. */
  pause(node: string, durationMs: number): void {
    this.machine(node).pause(durationMs);
  }

  /** Cuts every cable between nodes of different groups. Nodes that no group names are a group of their own. */
  partition(...groups: readonly (readonly string[])[]): void {
    const groupOf = new Map(groups.flatMap((group, index) => group.map((node) => [this.machine(node).node, index])));
    for (const one of this.machines.keys()) {
      for (const other of this.machines.keys()) {
        if (groupOf.get(one) !== groupOf.get(other)) this.network.block(one, other);
      }
    }
  }

  /** Mends every cable. */
  heal(): void {
    this.network.unblockAll();
  }

  /** What the nodes and slices logged, and what happened to the nodes: the last 500 lines. */
  log(): readonly string[] {
    return this.lines.map((line) => formatTraceLine(line, () => ""));
  }

  /** The world stands still for good. Idempotent. */
  close(): Promise<void> {
    this.pump.end(new AetherError("E_UNAVAILABLE", "this test cluster is closed"));
    for (const node of this.nodes) this.kill(node);
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async boot(env: ProcessEnv, labels: Readonly<Record<string, string>>): Promise<void> {
    const { process } = env;
    // Most of what a node does waits for promises: they settle between any two events.
    this.world.spawn(process, () => new Promise(() => undefined));
    const node = await openSimNode(env, {
      world: this.world,
      voters: [...this.machines.keys()],
      labels,
      slices: this.slices,
      outside: this.outside,
      findMock: (tool) => this.mocks.get(tool),
      seams: this.seams,
      onFatal: (error) => {
        if (process.isAlive) this.world.fail(error);
      },
    });
    if (node === undefined) return;
    this.running.set(process.node, { node, ended: createDeferred(), clientCalls: 0, isStopping: false });
  }

  private jobsPorts(via: string | undefined): JobsPorts {
    const entry = via === undefined ? undefined : this.machine(via).node;
    return {
      world: this.world,
      pump: this.pump,
      findEntry: () => this.findEntry(entry),
      drawId: () => `job-${(this.lastId += 1)}`,
    };
  }

  private async areJobsAtRest(): Promise<boolean> {
    const busy = await Promise.all((["pending", "running"] as const).map((status) =>
      this.ask("looking at jobs", (node) => node.jobs.list({ status, limit: 1 }))));
    return busy.every(({ jobs }) => jobs.length === 0);
  }

  private machine(node: string): Machine {
    const machine = this.machines.get(parseNodeId(node));
    if (machine !== undefined) return machine;
    throw new AetherError("E_NOT_FOUND", `this test cluster has no node ${node}: it has ${this.nodes.join(", ")}`);
  }

  /** In the order of their names. */
  private living(): readonly SimNode[] {
    return [...this.machines.keys()].flatMap((node) => this.running.get(node)?.node ?? []);
  }

  /** This life of the node says so, and everybody who runs has heard it. */
  private isOnDuty(node: NodeId): boolean {
    const running = this.running.get(node)?.node;
    const row = running?.cluster.membership.rowOf(node)?.value;
    if (row?.state !== "on-duty" || row.incarnation !== running?.group.origin.incarnation) return false;
    return this.living().every((other) => other.cluster.membership.isServing(node));
  }

  private findEntry(via: NodeId | undefined): EntryNode | undefined {
    const open = [...this.machines.keys()].flatMap((node) => {
      const running = this.running.get(node);
      return running === undefined || running.isStopping || node !== (via ?? node) ? [] : running;
    });
    const found = open[this.world.random.below(open.length)];
    return found === undefined ? undefined : entryOf(found);
  }

  /** Asks a node that sees a quorum; which one does not matter, as for a client that tries one after the other. */
  private async ask<T>(what: string, act: (node: SimNode) => Promise<T>): Promise<T> {
    await this.until(() => this.living().some((node) => node.group.status().isReady), SETTLE_MS_MAX);
    const ready = this.living().find((node) => node.group.status().isReady);
    return await this.drive(() => act(present(ready, "the condition held in this moment")), what);
  }

  private drive<T>(work: () => Promise<T>, what: string): Promise<T> {
    return this.pump.drive(work, SETTLE_MS_MAX, what);
  }

  private notReached(limitMs: number): AetherError {
    const last = this.log().slice(-LINES_SHOWN);
    const message = `the condition did not come to hold within ${limitMs} ms of virtual time (seed ${this.seed})`;
    return new AetherError("E_TIMEOUT", message, { outcome: "none", details: { seed: this.seed, last } });
  }

  /** Messages are too many to be of use to anybody. */
  private keepLine(line: TraceLine): void {
    if (line.kind === "message") return;
    this.lines.push(line);
    if (this.lines.length > LOG_LINES_MAX) this.lines.shift();
  }
}

function entryOf(running: Running): EntryNode {
  const call: EntryNode["call"] = async (request, signal) => {
    running.clientCalls += 1;
    try {
      return await running.node.invoker.call(request, signal);
    } finally {
      running.clientCalls -= 1;
    }
  };
  return { call, jobs: running.node.jobs, ended: running.ended.promise };
}

function hasFailedForGood({ slices }: BlueprintStatus): boolean {
  return Object.values(slices).some(({ instances }) => instances.some(({ error }) => error?.fatal === true));
}

function doesNotRun({ name, slices }: BlueprintStatus, seed: number): AetherError {
  const stuck = Object.values(slices).flatMap(({ instances }) => instances.filter(({ state }) => state !== "ACTIVE"));
  const shown = stuck.map(({ artifact, instance, node, state, error }) => {
    const reason = error === undefined ? "" : ` (${error.code}: ${error.message})`;
    return `${artifact}/${instance} on ${node} is ${state}${reason}`;
  });
  const found = shown.length === 0 ? "some instances have no node" : shown.join("; ");
  const message = `blueprint ${name} does not run as it says (seed ${seed}): ${found}`;
  return new AetherError("E_TIMEOUT", message, { details: { seed } });
}

function runsAsWanted({ slices }: BlueprintStatus): boolean {
  return Object.values(slices).every(({ want, active, instances }) => active === want && instances.length === want);
}
