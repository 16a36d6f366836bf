// Owns: ending leases that nobody renews. A lease ends by a command, and that is proposed only when a quorum of voters,
// this one included, has seen it idle for its whole time, each by its own clock: one clock that runs wild ends nothing.
// Does not own: what ending does (core/state-machine.ts), renewals (lease-calls.ts).
//
// What a voter agrees to stays true: the lease as it was renewed then can only end or be renewed again, and the command
// names the renewal. So answers never grow old, and who asks, how often, or twice at once is a matter of speed only.
import { type AetherError, toAetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import { MINUTE_MS, SECOND_MS } from "../base/units.ts";
import type { Group, GroupMembership, ProposeOutcome } from "../consensus/group.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Counter, Gauge, Telemetry } from "../env/telemetry.ts";
import type { Channel, PeerMessaging } from "../net/peer-messaging.ts";
import { encodeExpire, LEASES_PER_COMMAND_MAX, type SeenLease } from "./core/command.ts";
import { LeaseClock } from "./core/lease-clock.ts";
import { encodeLeaseMessage, parseLeaseMessage } from "./core/lease-message.ts";
import type { LeaseId } from "./core/schema.ts";
import type { KvState, LeaseResult } from "./kv-state.ts";

export interface LeaseKeeperPorts {
  readonly state: Pick<KvState, "leases" | "onLeases" | "onReset" | "leaseWeight">;
  readonly group: Pick<Group, "propose"> & Pick<GroupMembership, "membership">;
  readonly messaging: PeerMessaging;
}

/** Leases are looked at this often. */
const LOOK_EVERY_MS = SECOND_MS / 2;
/** A voter leaves a lease to the live ones before it for so long each: they may be slow, or their clocks. */
const RANK_PATIENCE_MS = 2 * SECOND_MS;
/** Rows that one command may remove: more would hold up the node. */
const ROWS_PER_COMMAND_MAX = 4_096;
/** Leases that could not be read are read again, as when no descriptor was left. Until then this node ends none. */
const READ_AGAIN_MS = 10 * SECOND_MS;
/** A proposal without an answer is forgotten after this: then it is made again, which does no harm. */
const PROPOSAL_PATIENCE_MS = MINUTE_MS;

interface Candidate {
  readonly renewals: number;
  readonly agreed: Set<NodeId>;
  /** When it was proposed, undefined before. */
  proposedAtMs: number | undefined;
}

export class LeaseKeeper {
  private readonly clock: Clock;
  private readonly self: NodeId;
  private readonly ports: LeaseKeeperPorts;
  private readonly telemetry: Telemetry;
  private readonly channel: Channel;
  private readonly leases = new LeaseClock();
  private readonly metrics: { readonly leases: Gauge; readonly expired: Counter; readonly garbled: Counter };
  private readonly stops: (() => void)[];
  private candidates = new Map<LeaseId, Candidate>();
  /** What happened while the leases are read: it is newer than what is read. */
  private pending: LeaseResult[] | undefined;
  private loads = 0;
  private timer: Timer | undefined;
  private readAgain: Timer | undefined;
  private isClosed = false;

  /** Attaches to the channel "leases"; nothing is asked or proposed before `start`. */
  constructor(env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: LeaseKeeperPorts, self: NodeId) {
    this.clock = env.clock;
    this.telemetry = env.telemetry;
    this.ports = ports;
    this.self = self;
    this.metrics = declareMetrics(env.telemetry);
    this.channel = ports.messaging.channel("leases");
    this.channel.onMessage((from, payload) => this.receive(from, payload));
    this.stops = [ports.state.onLeases((result) => this.hear(result)), ports.state.onReset(() => this.load())];
  }

  start(): void {
    this.load();
    this.look();
  }

  close(): void {
    this.isClosed = true;
    this.timer?.cancel();
    this.readAgain?.cancel();
    for (const stop of this.stops) stop();
  }

  private load(): void {
    const load = ++this.loads;
    this.readAgain?.cancel();
    this.pending = [];
    this.ports.state.leases().then(
      (leases) => this.loaded(load, leases),
      (error: unknown) => this.unread(load, toAetherError(error)),
    );
  }

  /** A state that is damaged stops the node by itself. */
  private unread(load: number, { code, message }: AetherError): void {
    if (load !== this.loads || this.isClosed) return;
    this.telemetry.log.error({ event: "kv.leases-unread", code, reason: message });
    this.readAgain = this.clock.setTimer(READ_AGAIN_MS, () => this.load());
  }

  private loaded(load: number, leases: readonly (SeenLease & { readonly ttlMs: number })[]): void {
    // Another state has taken the place of the one that was read.
    if (load !== this.loads) return;
    const missed = this.pending ?? [];
    this.pending = undefined;
    this.candidates = new Map();
    this.leases.reset(leases, this.clock.nowMs());
    for (const result of missed) this.hear(result);
    this.metrics.leases.set(this.leases.size);
  }

  private hear(result: LeaseResult): void {
    if (this.pending !== undefined) {
      this.pending.push(result);
      return;
    }
    const nowMs = this.clock.nowMs();
    switch (result.kind) {
      case "granted":
        this.leases.granted(result.lease, result.ttlMs, nowMs);
        break;
      case "renewed":
        this.leases.renewed(result.leases, nowMs);
        for (const { lease } of result.leases) this.candidates.delete(lease);
        break;
      case "ended":
        this.leases.ended(result.leases);
        for (const lease of result.leases) this.candidates.delete(lease);
        break;
    }
    this.metrics.leases.set(this.leases.size);
  }

  private look(): void {
    if (this.isClosed) return;
    this.timer = this.clock.setTimer(LOOK_EVERY_MS, () => this.look());
    if (this.pending !== undefined || this.leases.size === 0) return;
    const { voters } = this.ports.group.membership();
    const rank = voters.filter((node) => node === this.self || this.isConnected(node)).indexOf(this.self);
    if (rank < 0) return;
    const nowMs = this.clock.nowMs();
    const idle = this.leases.idle(nowMs, rank * RANK_PATIENCE_MS, LEASES_PER_COMMAND_MAX);
    const open = idle.filter((seen) => this.isOpen(seen, nowMs));
    if (open.length === 0) return;
    for (const seen of open) this.agree(seen, this.self);
    const payload = encodeLeaseMessage({ kind: "ask", leases: open });
    for (const node of voters) if (node !== this.self) this.channel.send(node, payload);
    this.proposeAgreed();
  }

  /** Not proposed, or so long ago that nothing came of it. */
  private isOpen({ lease }: SeenLease, nowMs: number): boolean {
    const candidate = this.candidates.get(lease);
    return candidate?.proposedAtMs === undefined || nowMs - candidate.proposedAtMs >= PROPOSAL_PATIENCE_MS;
  }

  private receive(from: NodeId, payload: Uint8Array): void {
    const message = parseLeaseMessage(payload);
    if (message === undefined) {
      this.metrics.garbled.add(1);
      return;
    }
    // Nothing is known while the leases are read.
    if (this.pending !== undefined) return;
    if (message.kind === "ask") this.answer(from, message.leases);
    else {
      for (const seen of message.leases) this.agree(seen, from);
      this.proposeAgreed();
    }
  }

  private answer(from: NodeId, asked: readonly SeenLease[]): void {
    const nowMs = this.clock.nowMs();
    const leases = asked.filter((seen) => this.leases.isIdle(seen, nowMs));
    if (leases.length > 0) this.channel.send(from, encodeLeaseMessage({ kind: "agree", leases }));
  }

  private agree(seen: SeenLease, node: NodeId): void {
    // Only what this node has asked for: it agrees itself, by its own clock.
    if (node !== this.self && this.candidates.get(seen.lease)?.renewals !== seen.renewals) return;
    const known = this.candidates.get(seen.lease);
    const candidate =
      known?.renewals === seen.renewals
        ? known
        : { renewals: seen.renewals, agreed: new Set<NodeId>(), proposedAtMs: undefined };
    candidate.agreed.add(node);
    this.candidates.set(seen.lease, candidate);
  }

  private proposeAgreed(): void {
    const { voters, pending } = this.ports.group.membership();
    const nowMs = this.clock.nowMs();
    let leases: SeenLease[] = [];
    let rows = 0;
    for (const [lease, candidate] of this.candidates) {
      if (candidate.proposedAtMs !== undefined && nowMs - candidate.proposedAtMs < PROPOSAL_PATIENCE_MS) continue;
      if (!isQuorum(voters, candidate.agreed) || !isQuorum(pending?.voters ?? voters, candidate.agreed)) continue;
      candidate.proposedAtMs = nowMs;
      const weight = this.ports.state.leaseWeight(lease);
      const isFull = leases.length === LEASES_PER_COMMAND_MAX || rows + weight > ROWS_PER_COMMAND_MAX;
      if (leases.length > 0 && isFull) {
        this.propose(leases);
        leases = [];
        rows = 0;
      }
      leases.push({ lease, renewals: candidate.renewals });
      rows += weight;
    }
    if (leases.length > 0) this.propose(leases);
  }

  private propose(leases: readonly SeenLease[]): void {
    this.ports.group.propose(encodeExpire(leases), (outcome) => this.onProposed(leases, outcome));
  }

  private onProposed(leases: readonly SeenLease[], outcome: ProposeOutcome): void {
    // What ended is out of the tables already; the rest was renewed, or is tried again.
    for (const { lease, renewals } of leases) {
      const candidate = this.candidates.get(lease);
      if (candidate?.renewals === renewals) candidate.proposedAtMs = undefined;
    }
    if (outcome.kind === "applied") this.metrics.expired.add(endedBy(outcome.result));
  }

  private isConnected(node: NodeId): boolean {
    return this.ports.messaging.connected.has(node);
  }
}

function isQuorum(voters: readonly NodeId[], agreed: ReadonlySet<NodeId>): boolean {
  return voters.filter((node) => agreed.has(node)).length * 2 > voters.length;
}

/** The group hands back what the state machine of this process gave it. */
function endedBy(result: unknown): number {
  const ended = result as { readonly kind: string; readonly leases?: readonly LeaseId[] };
  return ended.kind === "ended" ? (ended.leases?.length ?? 0) : 0;
}

function declareMetrics(telemetry: Telemetry) {
  return {
    leases: telemetry.gauge({ name: "aether_leases", help: "Leases that are held, sessions included." }),
    expired: telemetry.counter({
      name: "aether_leases_expired_total",
      help: "Leases that ended because nobody renewed them, by proposals of this node.",
    }),
    garbled: telemetry.counter({
      name: "aether_leases_garbled_total",
      help: "Messages of peers about leases that did not parse and were dropped.",
    }),
  };
}
