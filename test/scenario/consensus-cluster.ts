// Owns: a cluster of real group drivers whose network, disks and clock a story moves by hand, under the protocol
// checker of the simulator. Nothing happens by itself: messages arrive, writes end and time passes when the story says
// so.
import { expect } from "vitest";
import { present } from "../../src/base/assert.ts";
import { decode, encode } from "../../src/base/codec.ts";
import { crc32 } from "../../src/base/digest.ts";
import type { AetherError } from "../../src/base/errors.ts";
import { type NodeId, parseNodeId } from "../../src/base/ids.ts";
import { SeededRandom } from "../../src/base/random.ts";
import type { Message } from "../../src/consensus/core/message.ts";
import { decodeMessages, encodeMessages } from "../../src/consensus/core/message-codec.ts";
import { GroupDriver } from "../../src/consensus/group-driver.ts";
import type { ProposeOutcome, ReadOutcome } from "../../src/consensus/group.ts";
import type { ConsensusObserver } from "../../src/consensus/observer.ts";
import type { CheckpointGate, ReplicatedStateMachine } from "../../src/consensus/state-machine.ts";
import type { PeerEvent, PeerMessaging } from "../../src/net/peer-messaging.ts";
import { OrderedAppendLog } from "../../src/storage/ordered-append-log.ts";
import { ProtocolChecker } from "../sim/checkers/protocol-checker.ts";
import { Violations } from "../sim/checkers/violations.ts";
import { SILENT_LOG } from "../support/local-kv.ts";
import { HandClock } from "./consensus-clock.ts";
import { HandDisk } from "./consensus-disk.ts";
import { Namer } from "./consensus-transcript.ts";

export interface Flight {
  readonly from: string;
  readonly to: string;
  readonly message: Message;
}

export type FlightFilter = (flight: Flight) => boolean;

interface Process {
  readonly driver: GroupDriver;
  receive: (from: NodeId, payload: Uint8Array) => void;
  onPeer: (event: PeerEvent) => void;
  readonly connected: Set<NodeId>;
}

/** One voter: its disk outlives its processes. */
export interface HandNode {
  readonly name: string;
  disk: HandDisk;
  life: number;
  process: Process | undefined;
  state: HandState;
  readonly fatal: AetherError[];
}

export interface StoryOptions {
  readonly windowSlots?: number;
  /** Makes the random ids of one story differ from those of another. */
  readonly seed?: number;
}

/** Rounds of delivery after which a story without time has gone in circles. */
const ROUNDS_MAX = 2_000;

export class HandCluster {
  readonly clock = new HandClock();
  readonly nodes: ReadonlyMap<string, HandNode>;
  readonly voters: readonly NodeId[];
  readonly outcomes = new Map<string, ProposeOutcome>();
  readonly reads = new Map<string, ReadOutcome>();
  /** What happened, one line each, in the words of people. */
  readonly transcript: string[] = [];
  readonly namer = new Namer();
  /** Every message that left, also those that were lost. */
  readonly sent: Flight[] = [];
  /** Payloads that left: the frames of a network that does not join them further. */
  frames = 0;
  /** Messages that leave and match are lost. */
  lose: FlightFilter = () => false;
  /** Messages that match stay under way until this changes. */
  hold: FlightFilter = () => false;
  /** What the next start finds as the mark of its stored state. */
  nextMark: Uint8Array | undefined;
  /** Why the stored state that the next start finds cannot be read. */
  nextDamage: AetherError | undefined;
  private flights: Flight[] = [];
  private readonly windowSlots: number;
  private readonly seed: number;
  private readonly violations = new Violations();
  private readonly checker: ProtocolChecker;

  constructor(names: readonly string[], options: StoryOptions = {}) {
    this.windowSlots = options.windowSlots ?? 16;
    this.seed = options.seed ?? 1;
    this.voters = names.map(parseNodeId);
    this.nodes = new Map(names.map((name) => [name, newNode(name)]));
    this.checker = new ProtocolChecker({ voters: this.voters, windowSlots: this.windowSlots }, this.violations);
  }

  /** A cluster that has formed and is quiet. */
  static async formed(names: readonly string[], options: StoryOptions = {}): Promise<HandCluster> {
    const cluster = new HandCluster(names, options);
    for (const name of names) await cluster.start(name);
    cluster.pass(1_000);
    for (const name of names) expect(cluster.driver(name).status().isReady).toBe(true);
    cluster.transcript.length = 0;
    return cluster;
  }

  node(name: string): HandNode {
    return present(this.nodes.get(name), `the story has no node ${name}`);
  }

  driver(name: string): GroupDriver {
    return present(this.node(name).process, `${name} is not running`).driver;
  }

  applied(name: string): number {
    return this.driver(name).replica.slots.applied;
  }

  // ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Starts a process on what the disk of `name` has. Rejects where the disk is refused. */
  async start(name: string, options: { readonly cluster?: string } = {}): Promise<void> {
    const node = this.node(name);
    node.life += 1;
    node.state = new HandState(this.nextMark, this.nextDamage);
    const process = { receive: nobody, onPeer: nobody, connected: new Set<NodeId>() };
    const wal = await OrderedAppendLog.open(node.disk);
    const opening = GroupDriver.open(
      {
        clock: this.clock,
        random: new SeededRandom(crc32(encode([this.seed, name, node.life]))),
        log: SILENT_LOG,
        messaging: this.messagingOf(name, process),
        wal,
        stateMachine: node.state,
        onFatal: (error) => {
          node.fatal.push(error);
        },
      },
      {
        cluster: options.cluster ?? "story",
        node: parseNodeId(name),
        voters: this.voters,
        address: `story://${name}`,
        windowSlots: this.windowSlots,
        pipelineSlots: 8,
        observer: this.observer(),
      },
    );
    this.checker.booted(parseNodeId(name), node.life);
    node.disk.endWritesSoon();
    const driver = await opening;
    this.namer.learn(driver.origin.uid, name);
    node.process = Object.assign(process, { driver });
    driver.start();
    for (const other of this.nodes.values()) {
      if (other !== node && other.process !== undefined) this.connect(name, other.name);
    }
    this.clock.settle();
  }

  /** The directory of `name` is empty. */
  wipe(name: string): void {
    this.node(name).disk = new HandDisk();
  }

  /** The process is gone, and with it everything that was not fsynced. */
  crash(name: string): void {
    const node = this.node(name);
    const { driver } = present(node.process, `${name} is not running`);
    node.process = undefined;
    void driver.close();
    node.disk.dropWaiting();
    this.flights = this.flights.filter((flight) => flight.from !== name && flight.to !== name);
    for (const other of this.nodes.values()) {
      other.process?.connected.delete(parseNodeId(name));
      other.process?.onPeer({ kind: "down", node: parseNodeId(name) });
    }
    this.clock.settle();
  }

  // ── clients ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Proposes `command`, a word that names it in `outcomes` and in the states. */
  put(name: string, command: string): void {
    this.driver(name).propose(encode(command), (outcome) => this.outcomes.set(command, outcome));
    this.clock.settle();
  }

  read(name: string, label: string): void {
    this.driver(name).readBarrier((outcome) => this.reads.set(label, outcome));
    this.clock.settle();
  }

  isAcknowledged(command: string): boolean {
    return this.outcomes.get(command)?.kind === "applied";
  }

  // ── the network, the disks and the clock ──────────────────────────────────────────────────────────────────────────

  /** Lets the messages under way arrive, then lets the writes end. False when there was nothing. */
  round(): boolean {
    const arriving = this.flights.filter((flight) => !this.hold(flight));
    this.flights = this.flights.filter((flight) => this.hold(flight));
    for (const { from, to, message } of arriving) {
      this.node(to).process?.receive(parseNodeId(from), encodeMessages([message]));
    }
    this.clock.settle();
    let didWrite = false;
    for (const node of this.nodes.values()) didWrite = node.disk.endWrites() || didWrite;
    this.clock.settle();
    this.check();
    return arriving.length > 0 || didWrite;
  }

  /** Rounds until nothing is under way any more. Returns how many. No time passes. */
  settle(): number {
    for (let rounds = 0; rounds < ROUNDS_MAX; rounds++) if (!this.round()) return rounds;
    throw new RangeError("messages go in circles");
  }

  /** Time passes, timer by timer; whatever a timer causes happens before the next one. */
  pass(durationMs: number): void {
    const untilMs = this.clock.nowMs() + durationMs;
    this.settle();
    while (this.clock.fireNext(untilMs)) this.settle();
  }

  /** Time passes in which no process gets any: then all timers that are due fire, before anything arrives. */
  standStill(durationMs: number): void {
    this.clock.standStill(durationMs);
    while (this.clock.fireNext(this.clock.nowMs()));
  }

  /** Time passes until the story has come to a point. Returns how long that took. */
  passUntil(isReached: () => boolean, limitMs = 10_000): number {
    const sinceMs = this.clock.nowMs();
    this.settle();
    while (!isReached()) {
      if (this.clock.nowMs() - sinceMs > limitMs) throw new RangeError(`not reached within ${limitMs} ms`);
      this.clock.fireNext();
      this.settle();
    }
    return this.clock.nowMs() - sinceMs;
  }

  /** Everything lost between these two, both ways, on top of what is lost already; the connection stays. */
  cut(one: string, other: string): void {
    const before = this.lose;
    this.lose = (flight) =>
      before(flight) || (flight.from === one && flight.to === other) || (flight.from === other && flight.to === one);
  }

  /** The connection of these two is gone: both know, and nothing passes. */
  partLink(one: string, other: string): void {
    this.cut(one, other);
    for (const [near, far] of [[one, other], [other, one]] as const) {
      const process = present(this.node(near).process, "both ends of a connection run");
      process.connected.delete(parseNodeId(far));
      process.onPeer({ kind: "down", node: parseNodeId(far) });
    }
    this.clock.settle();
  }

  /** A new connection; what is still lost stays lost. */
  joinLink(one: string, other: string): void {
    this.connect(one, other);
    this.clock.settle();
  }

  /** Loses what is under way and matches. */
  drop(filter: FlightFilter): void {
    this.flights = this.flights.filter((flight) => !filter(flight));
  }

  /** A message appears on the network, as from `from`. */
  inject(flight: Flight): void {
    this.flights.push(flight);
  }

  heal(): void {
    this.lose = () => false;
    this.hold = () => false;
  }

  /** Every running replica has applied the same commands; nobody has broken a rule or stopped. Returns the commands. */
  expectAgreement(): readonly string[] {
    this.check();
    const running = [...this.nodes.values()].filter((node) => node.process !== undefined);
    const states = running.map((node) => node.state.commands);
    for (const state of states) expect(state).toEqual(states[0]);
    return states[0] ?? [];
  }

  private check(): void {
    expect(this.violations.first).toBeUndefined();
  }

  private connect(one: string, other: string): void {
    for (const [near, far] of [[one, other], [other, one]] as const) {
      const process = present(this.node(near).process, "both ends of a connection run");
      process.connected.add(parseNodeId(far));
      process.onPeer({ kind: "up", node: parseNodeId(far) });
    }
  }

  private messagingOf(name: string, process: Omit<Process, "driver">): PeerMessaging {
    return {
      connected: process.connected,
      onPeer: (listener) => {
        process.onPeer = listener;
      },
      channel: () => ({
        send: (to, payload) => this.send(name, to, payload),
        onMessage: (receive) => {
          process.receive = receive;
        },
        refuse: () => undefined,
      }),
    };
  }

  private send(from: string, to: NodeId, payload: Uint8Array): boolean {
    if (this.node(to).process === undefined) return false;
    this.frames += 1;
    for (const message of present(decodeMessages(payload), "a node sends what others can read")) {
      const flight = { from, to, message };
      this.sent.push(flight);
      if (this.lose(flight)) continue;
      this.note(`${from} -> ${to}  ${this.namer.message(message)}`, message.kind);
      this.flights.push(flight);
    }
    return true;
  }

  private observer(): ConsensusObserver {
    const { checker } = this;
    return {
      sent: (from, to, message) => checker.sent(from, to, message),
      durable: (node, ballots, batches) => {
        checker.durable(node, ballots, batches);
      },
      decided: (node, slot, outcome, phase) => {
        const how = phase === "told" ? phase : `phase ${phase}`;
        this.note(`${node}  decides ${slot} ${this.namer.choice(outcome)} (${how})`);
        checker.decided(node, slot, outcome, phase);
      },
      applied: (node, slot, outcome, ran, stateHash) => checker.applied(node, slot, outcome, ran, stateHash),
      installed: (node, applied, stateHash) => {
        this.note(`${node}  has the state of another node through ${applied - 1}`);
        checker.installed(node, applied, stateHash);
      },
      acknowledged: (node, slot, batch) => {
        this.note(`${node}  acknowledges ${this.namer.batch(batch)}`);
        checker.acknowledged(node, slot, batch);
      },
    };
  }

  /** Chatter that carries no ballot would hide the story. */
  private note(line: string, kind?: Message["kind"]): void {
    if (kind === "status" || kind === "hello" || kind === "hello-reply") return;
    this.transcript.push(line);
  }
}

/** What a store does with commands: remembers them, in order. */
export class HandState implements ReplicatedStateMachine {
  readonly loadedMark: Uint8Array | undefined;
  readonly loadedGeneration = 0;
  readonly seedDigest = undefined;
  readonly damage: AetherError | undefined;
  needsSnapshot = false;
  readonly commands: string[] = [];
  stateHash = 0;
  gate: CheckpointGate | undefined;

  constructor(loadedMark?: Uint8Array, damage?: AetherError) {
    this.loadedMark = loadedMark;
    this.damage = damage;
  }

  applyBatch(batch: Uint8Array): readonly unknown[] {
    return (decode(batch, batch.byteLength) as string[]).map((command) => {
      this.commands.push(command);
      this.stateHash = crc32(encode(command), this.stateHash);
      return this.commands.length;
    });
  }

  endSlot(): void {
    // Nothing is kept on disk: every life replays its journal.
  }

  onCheckpoint(): void {
    // There are none.
  }

  openSnapshot(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  beginInstall(): never {
    throw new RangeError("a state in memory installs no snapshot");
  }

  setAside(): Promise<void> {
    this.needsSnapshot = true;
    this.commands.length = 0;
    return Promise.resolve();
  }

  gateCheckpoints(gate: CheckpointGate): void {
    this.gate = gate;
  }
}

function newNode(name: string): HandNode {
  return { name, disk: new HandDisk(), life: 0, process: undefined, state: new HandState(), fatal: [] };
}

function nobody(): void {
  // Replaced when the driver attaches.
}
