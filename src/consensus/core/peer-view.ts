// Owns: what this node knows of the others: heard when, how far, in doubt below which slot.
// A hint for speed and readiness; nothing here decides anything.
import type { NodeId, NodeUid } from "../../base/ids.ts";
import { UID_UNKNOWN, type Voter, type VoterList } from "./membership.ts";
import type { Heard, StateHash } from "./message.ts";

/** Silence after which a voter is suspected. */
export const SILENCE_MS_MAX = 1_000;

/** This node looks at least so often, unless it is kept from it: what it did not hear in longer gaps is no silence. */
export const LOOK_MS_MAX = 250;

export interface Peer {
  readonly node: NodeId;
  /** The data directory it came with, once its hello was accepted. */
  uid: NodeUid;
  isUp: boolean;
  heardMs: number;
  /** Slots [0, applied) were applied there, by its last status. */
  applied: number;
  /** Slots [0, synced) are on its disk as applied, by its last status. */
  synced: number;
  /** Where its log begins. */
  logStart: number;
  doubtBelow: number;
  /** How many slots it was behind this node when that status came. */
  lag: number;
  hasStatus: boolean;
  hashes: readonly StateHash[];
  /** The highest version of a cluster that its build can work with; 0 before its hello. */
  supportedVersion: number;
  /** The start of its process that this node accepted last, and the last durable write of it that it knows of. */
  startId: string;
  writeNumber: number;
  /** The first write of that start: all of earlier starts are below it. */
  startWrite: number;
}

/** What is kept of each other voter inside this node's own writes: it finds a disk that is older than it was. */
export interface PeerPromise {
  readonly uid: NodeUid;
  readonly startId: string;
  readonly writeNumber: number;
}

export class PeerView {
  private readonly self: NodeId;
  private readonly selfUid: NodeUid;
  private readonly byNode = new Map<NodeId, Peer>();
  /** Promises of peers that have not said hello yet. */
  private readonly promised: Map<NodeUid, PeerPromise>;
  /** When this node looked last; undefined before the first time. */
  private lookedMs: number | undefined;

  constructor(self: Voter, promises: readonly PeerPromise[]) {
    this.self = self.node;
    this.selfUid = self.uid;
    this.promised = new Map(promises.map((promise) => [promise.uid, promise]));
  }

  get others(): readonly Peer[] {
    return [...this.byNode.values()];
  }

  get(node: NodeId): Peer | undefined {
    return this.byNode.get(node);
  }

  /** The peer of this name, from now on a known one. */
  ensure(node: NodeId): Peer {
    const known = this.byNode.get(node);
    if (known !== undefined) return known;
    const peer = newPeer(node);
    this.byNode.set(node, peer);
    return peer;
  }

  /** Nodes that belong to the cluster are known; others only as long as they are connected. */
  sync(nodes: Iterable<NodeId>): void {
    const wanted = new Set(nodes);
    for (const node of wanted) if (node !== this.self) this.ensure(node);
    for (const peer of this.byNode.values()) {
      if (!wanted.has(peer.node) && !peer.isUp) this.byNode.delete(peer.node);
    }
  }

  /**
   * To be called again and again. A node that was busy or paused for a while finds the messages of that time only now:
   * the gap does not count against those who sent them.
   */
  look(nowMs: number): void {
    const gapMs = nowMs - (this.lookedMs ?? nowMs);
    this.lookedMs = nowMs;
    if (gapMs <= LOOK_MS_MAX) return;
    for (const peer of this.byNode.values()) peer.heardMs = Math.min(nowMs, peer.heardMs + gapMs);
  }

  isAlive(peer: Peer, nowMs: number): boolean {
    const untilMs = Math.min(nowMs, (this.lookedMs ?? nowMs) + LOOK_MS_MAX);
    return peer.isUp && untilMs - peer.heardMs < SILENCE_MS_MAX;
  }

  /** The peer that is this voter, not another data directory of the same name. */
  ofVoter(voter: Voter): Peer | undefined {
    const peer = this.byNode.get(voter.node);
    if (peer === undefined) return undefined;
    const isUnknown = peer.uid === UID_UNKNOWN || voter.uid === UID_UNKNOWN;
    return isUnknown || peer.uid === voter.uid ? peer : undefined;
  }

  isVoterAlive(voter: Voter, nowMs: number): boolean {
    if (this.isSelf(voter)) return true;
    const peer = this.ofVoter(voter);
    return peer !== undefined && this.isAlive(peer, nowMs);
  }

  /** Voters of the list heard lately, this node included if it is one. */
  aliveCount(list: VoterList, nowMs: number): number {
    let count = 0;
    for (const voter of list.voters) if (this.isVoterAlive(voter, nowMs)) count += 1;
    return count;
  }

  /** Voters of the list that this start has not heard a status of: they may not see this node. */
  unmet(list: VoterList): readonly NodeId[] {
    const isUnmet = (voter: Voter): boolean => !this.isSelf(voter) && this.ofVoter(voter)?.hasStatus !== true;
    return list.voters.filter(isUnmet).map(({ node }) => node);
  }

  /** The peer that is furthest ahead among those alive. */
  furthest(nowMs: number): Peer | undefined {
    let best: Peer | undefined;
    for (const peer of this.byNode.values()) {
      if (this.isAlive(peer, nowMs) && (best === undefined || peer.applied > best.applied)) best = peer;
    }
    return best;
  }

  /** How far the last of those is that are there and go on with a log that begins at `logStart`. */
  slowest(nowMs: number, logStart: number): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const peer of this.byNode.values()) {
      const isReader = peer.hasStatus && peer.applied >= logStart && this.isAlive(peer, nowMs);
      if (isReader) lowest = Math.min(lowest, peer.applied);
    }
    return lowest;
  }

  /** A promise of this data directory, from a peer that is here or from this node's disk. */
  promiseOf(node: NodeId, uid: NodeUid): PeerPromise | undefined {
    const peer = this.byNode.get(node);
    return peer?.uid === uid && peer.startId !== "" ? peer : this.promised.get(uid);
  }

  startAccepted(node: NodeId, uid: NodeUid, start: { readonly startId: string; readonly startWrite: number }): Peer {
    let peer = this.ensure(node);
    if (peer.uid !== uid) {
      if (peer.uid !== UID_UNKNOWN) {
        const { isUp, heardMs } = peer;
        this.remember(peer);
        peer = Object.assign(newPeer(node), { isUp, heardMs });
        this.byNode.set(node, peer);
      }
      peer.uid = uid;
      Object.assign(peer, this.takePromise(uid));
    }
    peer.startWrite = start.startWrite;
    if (peer.startId === start.startId) return peer;
    peer.startId = start.startId;
    peer.writeNumber = start.startWrite;
    return peer;
  }

  /** Somebody has met a start of this peer that is not the one met here, nor one before it. */
  isLaterStart(peer: Peer, { startId, writeNumber }: Heard): boolean {
    if (startId === "" || peer.startId === "" || startId === peer.startId) return false;
    return writeNumber >= peer.startWrite;
  }

  promises(): readonly PeerPromise[] {
    const met = this.others.filter((peer) => peer.startId !== "");
    return [...met.map(({ uid, startId, writeNumber }) => ({ uid, startId, writeNumber })), ...this.promised.values()];
  }

  /** Who was removed, and votes no more, never comes back. Who is not known yet may be a member later in the log. */
  forgetPromises(isRemoved: (uid: NodeUid) => boolean): void {
    for (const uid of this.promised.keys()) if (isRemoved(uid)) this.promised.delete(uid);
  }

  private isSelf(voter: Voter): boolean {
    return voter.node === this.self && (voter.uid === this.selfUid || voter.uid === UID_UNKNOWN);
  }

  private remember({ uid, startId, writeNumber }: Peer): void {
    if (startId !== "") this.promised.set(uid, { uid, startId, writeNumber });
  }

  private takePromise(uid: NodeUid): Partial<PeerPromise> {
    const promise = this.promised.get(uid);
    this.promised.delete(uid);
    return promise ?? {};
  }
}

function newPeer(node: NodeId): Peer {
  return {
    node,
    uid: UID_UNKNOWN,
    isUp: false,
    heardMs: Number.NEGATIVE_INFINITY,
    applied: 0,
    synced: 0,
    logStart: 0,
    doubtBelow: 0,
    lag: 0,
    hasStatus: false,
    hashes: [],
    supportedVersion: 0,
    startId: "",
    writeNumber: 0,
    startWrite: 0,
  };
}
