// Owns: what this node knows of the other voters: heard when, how far, in doubt below which slot.
// A hint for speed and readiness; nothing here decides anything.
import type { NodeId } from "../../base/ids.ts";

/** Silence after which a voter is suspected. */
export const SILENCE_MS_MAX = 1_000;

export interface Peer {
  readonly node: NodeId;
  readonly index: number;
  isUp: boolean;
  heardMs: number;
  /** Slots [0, applied) were applied there, by its last status. */
  applied: number;
  doubtBelow: number;
  /** How many slots it was behind this node when that status came. */
  lag: number;
  hasStatus: boolean;
  /**
   * The start of its process that this node accepted last, and the last durable write of it that this node knows of.
   *
   */
  startId: string;
  writeNumber: number;
}

/** What is kept of each other voter inside this node's own writes: it finds a disk that is older than it was. */
export interface PeerPromise {
  readonly node: NodeId;
  readonly startId: string;
  readonly writeNumber: number;
}

export class PeerView {
  readonly others: readonly Peer[];
  private readonly byNode: ReadonlyMap<NodeId, Peer>;

  constructor(voters: readonly NodeId[], self: NodeId, promises: readonly PeerPromise[]) {
    this.others = voters
      .map((node, index) => ({
        node,
        index,
        isUp: false,
        heardMs: Number.NEGATIVE_INFINITY,
        applied: 0,
        doubtBelow: 0,
        lag: 0,
        hasStatus: false,
        startId: promises.find((promise) => promise.node === node)?.startId ?? "",
        writeNumber: promises.find((promise) => promise.node === node)?.writeNumber ?? 0,
      }))
      .filter((peer) => peer.node !== self);
    this.byNode = new Map(this.others.map((peer) => [peer.node, peer]));
  }

  get(node: NodeId): Peer | undefined {
    return this.byNode.get(node);
  }

  isAlive(peer: Peer, nowMs: number): boolean {
    return peer.isUp && nowMs - peer.heardMs < SILENCE_MS_MAX;
  }

  /** Voters heard lately, this node included. */
  aliveCount(nowMs: number): number {
    return 1 + this.others.filter((peer) => this.isAlive(peer, nowMs)).length;
  }

  /** The peer that is furthest ahead among those alive. */
  furthest(nowMs: number): Peer | undefined {
    let best: Peer | undefined;
    for (const peer of this.others) {
      if (this.isAlive(peer, nowMs) && (best === undefined || peer.applied > best.applied)) best = peer;
    }
    return best;
  }

  startAccepted(node: NodeId, startId: string, writeNumber: number): void {
    const peer = this.byNode.get(node);
    if (peer === undefined) return;
    if (peer.startId === startId) return;
    peer.startId = startId;
    peer.writeNumber = writeNumber;
  }

  promises(): readonly PeerPromise[] {
    return this.others.map(({ node, startId, writeNumber }) => ({ node, startId, writeNumber }));
  }
}
