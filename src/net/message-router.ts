// Owns: messages between nodes: typed channels, bounded queues, one frame per peer and turn (several for many
// calls), back-pressure, metering.
// Does not own: connections (peer-table.ts), nor what messages mean.
import { assert } from "../base/assert.ts";
import type { NodeId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import { ResourceStack } from "../base/resource-stack.ts";
import { MiB, MINUTE_MS } from "../base/units.ts";
import type { Timer } from "../env/clock.ts";
import type { Env } from "../env/env.ts";
import type { Connection, Listener } from "../env/network.ts";
import { FRAME_HEADER_BYTES, type FrameMessage, MESSAGE_HEADER_BYTES } from "./core/frame.ts";
import { PROTOCOL_VERSIONS } from "./core/handshake.ts";
import { type LaneSpec, Outbox } from "./core/outbox.ts";
import { RepeatFilter } from "./core/repeat-filter.ts";
import { createNetMetrics, type NetMetrics } from "./metrics.ts";
import type { PeerLink } from "./peer-link.ts";
import {
  type Channel, type ChannelName, CHANNELS, CHANNELS_UNSAID, type PeerEvent, type PeerMessaging,
} from "./peer-messaging.ts";
import { type PeerAddresses, PeerTable } from "./peer-table.ts";

/** Per peer. Consensus repeats what is lost, but slowly: its queue is the last to refuse and the last to be held. */
const LANES = {
  consensus: { queueBytesMax: 64 * MiB, heldAboveBytes: 32 * MiB },
  cluster: { queueBytesMax: 1 * MiB, heldAboveBytes: 16 * MiB },
  rpc: { queueBytesMax: 16 * MiB, heldAboveBytes: 16 * MiB },
  bulk: { queueBytesMax: 16 * MiB, heldAboveBytes: 1 * MiB },
  leases: { queueBytesMax: 1 * MiB, heldAboveBytes: 16 * MiB },
  jobs: { queueBytesMax: 4 * MiB, heldAboveBytes: 1 * MiB },
  metrics: { queueBytesMax: 4 * MiB, heldAboveBytes: 1 * MiB },
  logs: { queueBytesMax: 4 * MiB, heldAboveBytes: 1 * MiB },
} as const satisfies Record<ChannelName, Omit<LaneSpec, "channel">>;

/** While messages wait for a socket that is behind, it is looked at this often. */
const BACKLOG_POLL_MS = 5;
/** So many do not wait for the end of the turn: the peer can work on them while the others are made. */
export const CALLS_PER_FRAME = 16;
const SAY_AGAIN_MS = MINUTE_MS / 2;
const SAID_KEYS_MAX = 256;

const CHANNEL_NAMES = Object.keys(CHANNELS) as readonly ChannelName[];
const CHANNEL_NUMBERS: readonly number[] = CHANNEL_NAMES.map((name) => CHANNELS[name]);
const LANE_SPECS: readonly LaneSpec[] = CHANNEL_NAMES.map((name) => ({ channel: CHANNELS[name], ...LANES[name] }));
const NAME_OF: ReadonlyMap<number, ChannelName> = new Map(CHANNEL_NAMES.map((name) => [CHANNELS[name], name]));

export interface MessageRouterConfig {
  readonly cluster: string;
  readonly node: NodeId;
  /** Where this node listens: `ws://host:port`. */
  readonly listen: string;
  /** Addresses of a running cluster, where a node that is not a member, or reaches nobody, asks its way in. */
  readonly join: readonly string[];
  /** Largest frame sent to or accepted from a peer. Equal on all nodes; default 8 MiB. */
  readonly frameBytesMax: number;
}

export type RouterEnv = Pick<Env, "clock" | "random" | "network" | "telemetry">;

type Receiver = (from: NodeId, payload: Uint8Array) => void;

/** A connected peer. */
interface Peer {
  readonly node: NodeId;
  readonly link: PeerLink;
  readonly outbox: Outbox;
  /** What its build receives: a message of another channel would only be dropped, and complained of, there. */
  readonly channels: ReadonlySet<number>;
  /** Messages of calls that have come since the last frame left. */
  callsWaiting: number;
}

export class MessageRouter implements PeerMessaging {
  private readonly env: RouterEnv;
  private readonly config: MessageRouterConfig;
  private readonly metrics: NetMetrics;
  private readonly table: PeerTable;
  private readonly resources = new ResourceStack();
  private readonly peers = new Map<NodeId, Peer>();
  private readonly connectedNodes = new Set<NodeId>();
  private readonly listeners: ((event: PeerEvent) => void)[] = [];
  private readonly receivers = new Map<number, Receiver>();
  private readonly said = new RepeatFilter(SAY_AGAIN_MS, SAID_KEYS_MAX);
  private readonly payloadBytesMax: number;
  /** Peers with something to send at the end of this turn. */
  private readonly waiting = new Set<Peer>();
  private isFlushDue = false;
  private backlogTimer: Timer | undefined;
  private listener: Listener | undefined;

  private constructor(env: RouterEnv, config: MessageRouterConfig) {
    this.env = env;
    this.config = config;
    this.metrics = createNetMetrics(env.telemetry);
    this.payloadBytesMax = config.frameBytesMax - FRAME_HEADER_BYTES - MESSAGE_HEADER_BYTES;
    this.table = this.createTable();
  }

  /**
   * Listens. Peers are neither dialed nor answered before `start`.
   * @throws AetherError E_PORT_IN_USE, E_CONFIG
   */
  static async open(env: RouterEnv, config: MessageRouterConfig): Promise<MessageRouter> {
    const router = new MessageRouter(env, config);
    const { listen, frameBytesMax } = config;
    const accept = (connection: Connection): void => router.table.accept(connection);
    router.listener = router.resources.own(await env.network.listen(listen, { frameBytesMax }, accept));
    return router;
  }

  /** The address this node really listens on. */
  get url(): string {
    return this.listener?.url ?? this.config.listen;
  }

  get connected(): ReadonlySet<NodeId> {
    return this.connectedNodes;
  }

  /**
   * The members and their addresses: to be said before `start`, and whenever it changes. A node that is not among them
   * itself asks its way in.
   */
  setPeers(peers: PeerAddresses): void {
    this.table.setPeers(peers);
  }

  /** Call once, after the receivers of all channels are set. */
  start(): void {
    this.table.start();
  }

  async close(): Promise<void> {
    this.flush();
    this.backlogTimer?.cancel();
    this.table.close();
    await this.resources.close();
  }

  channel(name: ChannelName): Channel {
    const channel = CHANNELS[name];
    return {
      send: (to, payload) => this.send(to, channel, payload),
      onMessage: (receive) => {
        assert(!this.receivers.has(channel), `channel ${name} has one receiver`);
        this.receivers.set(channel, receive);
      },
      refuse: (from, reason) => this.peers.get(from)?.link.endUnreadable(`channel ${name}: ${reason}`),
    };
  }

  onPeer(listener: (event: PeerEvent) => void): void {
    this.listeners.push(listener);
  }

  private createTable(): PeerTable {
    const { clock, network, telemetry } = this.env;
    const { node, cluster, join, frameBytesMax } = this.config;
    const random = this.env.random.fork("net");
    const process = processToken(random);
    const own = { versions: PROTOCOL_VERSIONS, cluster, node, process, channels: CHANNEL_NUMBERS };
    const ports = { clock, random, network, log: telemetry.log, metrics: this.metrics };
    return new PeerTable(ports, { own, join, frameBytesMax }, {
      onUp: (peer, link) => this.onUp(peer, link),
      onMessages: (peer, messages, frameBytes) => this.onMessages(peer, messages, frameBytes),
      onDown: (peer) => this.onDown(peer),
    });
  }

  private send(to: NodeId, channel: number, payload: Uint8Array): boolean {
    const peer = this.peers.get(to);
    if (peer?.channels.has(channel) !== true) return false;
    if (payload.byteLength > this.payloadBytesMax) return this.refuse("too-large", channel, peer, payload);
    if (!peer.outbox.push(channel, payload)) return this.refuse("queue-full", channel, peer, payload);
    this.waiting.add(peer);
    if (channel === CHANNELS.rpc && ++peer.callsWaiting === CALLS_PER_FRAME) this.drain(peer);
    this.scheduleFlush();
    return true;
  }

  private refuse(reason: "too-large" | "queue-full", channel: number, peer: Peer, payload: Uint8Array): false {
    this.metrics.refused.add(1, { reason });
    if (this.said.shouldSay(`${reason} ${channel} ${peer.node}`, this.env.clock.nowMs())) {
      this.env.telemetry.log.warn({
        event: "net.message-refused",
        reason,
        peer: peer.node,
        channel: NAME_OF.get(channel),
        payloadBytes: payload.byteLength,
        payloadBytesMax: this.payloadBytesMax,
      });
    }
    return false;
  }

  private scheduleFlush(): void {
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    this.env.clock.defer(() => this.flush());
  }

  private flush(): void {
    this.isFlushDue = false;
    for (const peer of this.waiting) {
      this.drain(peer);
      if (peer.outbox.isEmpty) this.waiting.delete(peer);
    }
    if (this.waiting.size > 0) this.awaitSockets();
  }

  private drain(peer: Peer): void {
    const { link, outbox } = peer;
    peer.callsWaiting = 0;
    for (let frame = outbox.take(link.bufferedBytes); frame.length > 0; frame = outbox.take(link.bufferedBytes)) {
      this.meter("sent", frame, link.send(frame));
    }
  }

  /** Held back by a slow peer: tried again soon. */
  private awaitSockets(): void {
    this.backlogTimer?.cancel();
    this.backlogTimer = this.env.clock.setTimer(BACKLOG_POLL_MS, () => this.flush());
  }

  private onUp(node: NodeId, link: PeerLink): void {
    const channels = new Set(link.peer?.channels ?? CHANNELS_UNSAID);
    this.peers.set(node, { node, link, outbox: new Outbox(LANE_SPECS), channels, callsWaiting: 0 });
    this.connectedNodes.add(node);
    this.tell({ kind: "up", node });
  }

  private onDown(node: NodeId): void {
    const peer = this.peers.get(node);
    if (peer !== undefined) this.waiting.delete(peer);
    this.peers.delete(node);
    this.connectedNodes.delete(node);
    this.tell({ kind: "down", node });
  }

  private tell(event: PeerEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  private onMessages(from: NodeId, messages: readonly FrameMessage[], frameBytes: number): void {
    this.meter("received", messages, frameBytes);
    for (const { channel, payload } of messages) {
      const receive = this.receivers.get(channel);
      if (receive === undefined) this.dropUnreceived(from, channel);
      else receive(from, payload);
    }
  }

  private dropUnreceived(from: NodeId, channel: number): void {
    this.metrics.refused.add(1, { reason: "no-receiver" });
    if (!this.said.shouldSay(`no-receiver ${channel} ${from}`, this.env.clock.nowMs())) return;
    this.env.telemetry.log.warn({ event: "net.message-dropped", reason: "no-receiver", peer: from, channel });
  }

  private meter(direction: "sent" | "received", messages: readonly FrameMessage[], frameBytes: number): void {
    this.metrics.frames.add(1, { direction });
    this.metrics.bytes.add(frameBytes, { direction });
    let start = 0;
    // Messages of one channel are neighbours in a frame: one count for each run.
    for (let end = 1; end <= messages.length; end += 1) {
      const channel = messages[start]?.channel;
      if (end < messages.length && messages[end]?.channel === channel) continue;
      this.metrics.messages.add(end - start, { direction, channel: NAME_OF.get(channel ?? 0) ?? "unknown" });
      start = end;
    }
  }
}

/** 96 random bits in hex. */
function processToken(random: Random): string {
  return Array.from({ length: 3 }, () => random.below(2 ** 32).toString(16).padStart(8, "0")).join("");
}
