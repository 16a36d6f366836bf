// Owns: which nodes this one suspects, what the others say about it, and whether a node may be written `gone`.
// Does not own: sockets, gossip, rows. Clocks are used for patience, never for safety: a node that is suspected or
// gone by mistake is merely skipped or emptied, and fenced by compares on the rows it wants to write.
import { unreachable } from "../../../base/assert.ts";
import type { NodeId } from "../../../base/ids.ts";
import { SECOND_MS } from "../../../base/units.ts";

export interface FailureDetectorConfig {
  readonly self: NodeId;
  /** Silence after which a node is suspected. */
  readonly silenceMs: number;
  /** How long a majority of voters must suspect a node without a break before it may be written gone. */
  readonly goneAfterMs: number;
  /** After quorum is gained, how long a node not seen since is left alone: a full restart must move nothing. */
  readonly graceMs: number;
}

export const FAILURE_DETECTOR_DEFAULTS = {
  silenceMs: SECOND_MS,
  goneAfterMs: 5 * SECOND_MS,
  graceMs: 30 * SECOND_MS,
} as const;

export type DetectorEvent =
  | { readonly kind: "tick" }
  /** Who belongs to the cluster from now on. */
  | { readonly kind: "members"; readonly members: readonly NodeId[]; readonly voters: readonly NodeId[] }
  /** The connection to the node is open, or gone. */
  | { readonly kind: "up" | "down"; readonly node: NodeId }
  /** The node spoke; these are the nodes it suspects. */
  | { readonly kind: "gossip"; readonly node: NodeId; readonly suspects: readonly NodeId[] }
  | { readonly kind: "quorum"; readonly hasQuorum: boolean };

interface Peer {
  isConnected: boolean;
  heardAtMs: number | undefined;
  /** Heard since quorum was gained: if it goes away now, it really went away. */
  isSeen: boolean;
  opinion: ReadonlySet<NodeId>;
  suspectedByMajoritySinceMs: number | undefined;
}

/** Longest time between two steps that is not a pause of this very process; ticks come four times a second. */
const STEP_GAP_MS_MAX = 750;

/** Steps on events and time; the answers are as of the last step. */
export class FailureDetector {
  private readonly config: FailureDetectorConfig;
  private readonly peers = new Map<NodeId, Peer>();
  private members: ReadonlySet<NodeId> = new Set();
  private voters: readonly NodeId[] = [];
  private quorum = 1;
  private suspected: ReadonlySet<NodeId> = new Set();
  private gone: ReadonlySet<NodeId> = new Set();
  private quorumSinceMs: number | undefined;
  private quorumLostAtMs: number | undefined;
  private steppedAtMs: number | undefined;

  constructor(config: FailureDetectorConfig) {
    this.config = config;
  }

  /** Nodes that this one cannot reach or has not heard for a while: nothing is sent to them or placed there. */
  get suspects(): ReadonlySet<NodeId> {
    return this.suspected;
  }

  /** Nodes that the leader may write gone. */
  get goneCandidates(): ReadonlySet<NodeId> {
    return this.gone;
  }

  /** True while fewer than a majority, this node included, hear it and are heard: the others may take it for gone. */
  get isIsolated(): boolean {
    const { self } = this.config;
    const isInTouch = (voter: NodeId): boolean =>
      voter === self || (!this.suspected.has(voter) && !this.peerOf(voter).opinion.has(self));
    return this.voters.filter(isInTouch).length < this.quorum;
  }

  /**
   * How long a majority of voters has suspected the node without a break; undefined while it does not. Without the
   * grace after a full restart: enough to try what is guarded by compares, not to write a node gone.
   */
  suspectedForMs(node: NodeId, nowMs: number): number | undefined {
    const sinceMs = this.peers.get(node)?.suspectedByMajoritySinceMs;
    return sinceMs === undefined ? undefined : nowMs - sinceMs;
  }

  /** When the node was last heard, by the clock of the steps. */
  heardAtMs(node: NodeId): number | undefined {
    return this.peers.get(node)?.heardAtMs;
  }

  /** Returns true when an answer changed. */
  step(event: DetectorEvent, nowMs: number): boolean {
    this.forgivePause(nowMs);
    switch (event.kind) {
      case "tick":
        break;
      case "up":
        this.onHeard(event.node, nowMs).isConnected = true;
        break;
      case "down":
        this.peerOf(event.node).isConnected = false;
        this.forgetStrangers();
        break;
      case "members":
        this.onMembers(event.members, event.voters);
        break;
      case "gossip":
        // Own knowledge of oneself is better than anybody's; a node has no opinion of itself either.
        if (event.node !== this.config.self) this.onHeard(event.node, nowMs).opinion = new Set(event.suspects);
        break;
      case "quorum":
        this.onQuorum(event.hasQuorum, nowMs);
        break;
      default:
        return unreachable(event);
    }
    return this.judge(nowMs);
  }

  /** While this process stood still nobody else was silent: what it missed is its own fault. */
  private forgivePause(nowMs: number): void {
    const gapMs = nowMs - (this.steppedAtMs ?? nowMs);
    this.steppedAtMs = nowMs;
    if (gapMs <= STEP_GAP_MS_MAX) return;
    for (const peer of this.peers.values()) {
      if (peer.heardAtMs !== undefined) peer.heardAtMs += gapMs;
      if (peer.suspectedByMajoritySinceMs !== undefined) peer.suspectedByMajoritySinceMs += gapMs;
    }
  }

  private onMembers(members: readonly NodeId[], voters: readonly NodeId[]): void {
    this.members = new Set(members);
    this.voters = voters;
    this.quorum = Math.floor(voters.length / 2) + 1;
    for (const node of members) if (node !== this.config.self) this.peerOf(node);
    this.forgetStrangers();
  }

  /** Nodes that are no members: they are remembered while they are connected, to join or to learn of their removal. */
  private forgetStrangers(): void {
    for (const [node, { isConnected }] of this.peers) {
      if (!isConnected && !this.members.has(node)) this.peers.delete(node);
    }
  }

  private onHeard(node: NodeId, nowMs: number): Peer {
    const peer = this.peerOf(node);
    peer.heardAtMs = nowMs;
    if (this.quorumSinceMs !== undefined && this.quorumLostAtMs === undefined) peer.isSeen = true;
    return peer;
  }

  private onQuorum(hasQuorum: boolean, nowMs: number): void {
    if (!hasQuorum) {
      this.quorumLostAtMs ??= nowMs;
      return;
    }
    const lostForMs = this.quorumLostAtMs === undefined ? 0 : nowMs - this.quorumLostAtMs;
    this.quorumLostAtMs = undefined;
    // A blink is no loss: it must not give the node that just died a grace of half a minute.
    if (this.quorumSinceMs !== undefined && lostForMs <= this.config.silenceMs) return;
    this.quorumSinceMs = nowMs;
    for (const [node, peer] of this.peers) peer.isSeen = !this.isSuspect(node, nowMs);
  }

  private judge(nowMs: number): boolean {
    const suspected = new Set([...this.peers.keys()].filter((node) => this.isSuspect(node, nowMs)));
    const gone = new Set<NodeId>();
    for (const [node, peer] of this.peers) {
      if (!this.isSuspectedByMajority(node, suspected)) peer.suspectedByMajoritySinceMs = undefined;
      else peer.suspectedByMajoritySinceMs ??= nowMs;
      if (this.mayBeGone(peer, nowMs)) gone.add(node);
    }
    const isChanged = !isSameSet(suspected, this.suspected) || !isSameSet(gone, this.gone);
    this.suspected = suspected;
    this.gone = gone;
    return isChanged;
  }

  private isSuspect(node: NodeId, nowMs: number): boolean {
    const peer = this.peerOf(node);
    if (!peer.isConnected || peer.heardAtMs === undefined) return true;
    return nowMs - peer.heardAtMs >= this.config.silenceMs;
  }

  private isSuspectedByMajority(target: NodeId, suspected: ReadonlySet<NodeId>): boolean {
    let count = 0;
    for (const voter of this.voters) {
      if (voter === target) continue;
      if (voter === this.config.self) count += suspected.has(target) ? 1 : 0;
      // The opinion of a node that is itself out of sight is old.
      else if (!suspected.has(voter) && this.peerOf(voter).opinion.has(target)) count++;
    }
    return count >= this.quorum;
  }

  private mayBeGone(peer: Peer, nowMs: number): boolean {
    if (this.quorumSinceMs === undefined || this.quorumLostAtMs !== undefined) return false;
    const sinceMs = peer.suspectedByMajoritySinceMs;
    if (sinceMs === undefined || nowMs - sinceMs < this.config.goneAfterMs) return false;
    return peer.isSeen || nowMs - this.quorumSinceMs >= this.config.graceMs;
  }

  private peerOf(node: NodeId): Peer {
    const known = this.peers.get(node);
    if (known !== undefined) return known;
    const peer: Peer = {
      isConnected: false,
      heardAtMs: undefined,
      isSeen: false,
      opinion: new Set(),
      suspectedByMajoritySinceMs: undefined,
    };
    this.peers.set(node, peer);
    return peer;
  }
}

function isSameSet<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): boolean {
  if (a.size !== b.size) return false;
  for (const item of a) if (!b.has(item)) return false;
  return true;
}
