// Owns: the port through which areas to the right exchange messages with other nodes. Ports only: the router
// implements it over WebSockets, the simulator over its own network.
import type { NodeId } from "../base/ids.ts";

/** The channels of this build; the number is on the wire. Lower numbers leave first. */
export const CHANNELS = {
  consensus: 1, cluster: 2, rpc: 3, bulk: 4, leases: 5, jobs: 6, metrics: 7, logs: 8,
} as const;
export type ChannelName = keyof typeof CHANNELS;
/** What a build has that does not say in its hello which channels it has. */
export const CHANNELS_UNSAID: readonly number[] = [1, 2, 3, 4, 5, 6];

/**
 * Messages of one channel. Delivery is at most once and, per peer and connection, in order; a lost connection loses
 * what was under way.
 */
export interface Channel {
  /**
   * Queues `payload` for the end of this turn; until it has left, nobody may write to it. False when there is no
   * connection, the peer's build has no such channel, its bounded queue is full or the payload is too large: nothing
   * was sent.
   */
  send(to: NodeId, payload: Uint8Array): boolean;
  /**
   * One receiver per channel, set before the first message can arrive. A throw is a bug of the receiver. The payload
   * is a view of the received frame: it stays valid, but keeping it keeps the whole frame in memory.
   */
  onMessage(receive: (from: NodeId, payload: Uint8Array) => void): void;
  /** A peer has sent what cannot be read: its connection ends with this reason, is counted, and dialed anew. */
  refuse(from: NodeId, reason: string): void;
}

export type PeerEvent = { readonly kind: "up" | "down"; readonly node: NodeId };

export interface PeerMessaging {
  channel(name: ChannelName): Channel;
  /** Called after a peer's handshake is done, and when its connection is gone. Several listeners are allowed. */
  onPeer(listener: (event: PeerEvent) => void): void;
  /** Peers connected now. */
  readonly connected: ReadonlySet<NodeId>;
}
