// Owns: connections and datagrams between simulated processes. Messages may be lost, repeated, delayed and reordered
// within a connection; what is under way when a connection is lost never arrives.
// Does not own: which faults happen when; a nemesis edits the profile and the blocked and slow links.
import { crc32 } from "../../base/digest.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import { MiB } from "../../base/units.ts";
import { FRAME_HEADER_BYTES, MESSAGE_HEADER_BYTES } from "../../net/core/frame.ts";
import type { Channel, ChannelName, PeerEvent, PeerMessaging } from "../../net/peer-messaging.ts";
import type { SimProcess } from "./sim-process.ts";
import type { World } from "./world.ts";

/** How links behave now. */
export interface LinkProfile {
  readonly lossRate: number;
  readonly duplicateRate: number;
  /** Share of messages that do not keep their place in the order of their link. */
  readonly reorderRate: number;
  readonly delayMsMin: number;
  readonly delayMsMean: number;
  /** Share of messages with a heavy-tailed delay. */
  readonly tailRate: number;
  readonly tailMsMax: number;
}

export const CALM_LINKS: LinkProfile = {
  lossRate: 0,
  duplicateRate: 0,
  reorderRate: 0,
  delayMsMin: 0.05,
  delayMsMean: 0.2,
  tailRate: 0,
  tailMsMax: 0,
};

/** As the default of real nodes: what no frame has room for is not sent. */
const PAYLOAD_BYTES_MAX = 8 * MiB - FRAME_HEADER_BYTES - MESSAGE_HEADER_BYTES;
const CONNECT_MS_MIN = 6;
const CONNECT_MS_SPAN = 20;
const RETRY_MS = 100;
/** Both ends hear of a lost connection within this time: sooner than a new one can be made. */
const NOTICE_MS_MAX = 5;
/** A silent peer is given up by missed heartbeats. */
const SILENCE_MS_MIN = 300;
const SILENCE_MS_SPAN = 2_500;
/** Share of crashes that the peers notice at once, because the operating system closes the sockets. */
const RESET_RATE = 0.7;

interface Connection {
  readonly left: NodeId;
  readonly right: NodeId;
  /** Grows with every connect and loss; a message of another epoch is dropped. */
  epoch: number;
  isUp: boolean;
  isConnecting: boolean;
}

export class SimNetwork {
  profile: LinkProfile = CALM_LINKS;
  private readonly world: World;
  private readonly random: Random;
  private readonly endpoints = new Map<NodeId, SimMessaging>();
  private readonly connections = new Map<string, Connection>();
  private readonly blocked = new Set<string>();
  private readonly slowness = new Map<string, number>();
  /** Channels that some nodes hear nothing on, as `node/channel`. */
  private readonly unheard = new Set<string>();
  private readonly lastArrivalMs = new Map<string, number>();

  constructor(world: World) {
    this.world = world;
    this.random = world.random.fork("network");
  }

  createMessaging(process: SimProcess): SimMessaging {
    return new SimMessaging(process, (endpoint, to, channel, payload) => this.send(endpoint, to, channel, payload));
  }

  /** The process listens and dials from now on. */
  attach(endpoint: SimMessaging): void {
    const node = endpoint.process.node;
    for (const other of this.endpoints.keys()) this.lose(this.connectionOf(node, other));
    this.endpoints.set(node, endpoint);
    for (const other of this.endpoints.keys()) if (other !== node) this.startConnecting(node, other);
  }

  /** The process is gone; its peers notice at once or by its silence. */
  detach(node: NodeId): void {
    const endpoint = this.endpoints.get(node);
    this.endpoints.delete(node);
    if (endpoint === undefined) return;
    for (const other of this.endpoints.keys()) {
      const connection = this.connectionOf(node, other);
      if (this.random.next() < RESET_RATE) this.lose(connection);
      else this.loseBySilence(connection);
    }
  }

  /** Messages from `source` no longer reach `target`; the other direction still works. */
  block(source: NodeId, target: NodeId): void {
    this.blocked.add(linkOf(source, target));
    this.loseBySilence(this.connectionOf(source, target));
  }

  unblockAll(): void {
    this.blocked.clear();
    const nodes = [...this.endpoints.keys()];
    for (const node of nodes) for (const other of nodes) if (node < other) this.startConnecting(node, other);
  }

  /** What is sent to a node on one of its channels is lost; all else arrives. */
  deafen(node: NodeId, channel: ChannelName): void {
    this.unheard.add(`${node}/${channel}`);
  }

  /** Multiplies the delays of one direction of a link. */
  slow(source: NodeId, target: NodeId, factor: number): void {
    this.slowness.set(linkOf(source, target), factor);
  }

  calm(): void {
    this.profile = CALM_LINKS;
    this.unheard.clear();
    this.slowness.clear();
    this.unblockAll();
  }

  /** A process that does not answer for long loses its connections as if it were gone. */
  silence(node: NodeId, durationMs: number): void {
    for (const other of this.endpoints.keys()) {
      if (other === node) continue;
      const connection = this.connectionOf(node, other);
      const { epoch } = connection;
      const noticedMs = SILENCE_MS_MIN + this.random.next() * SILENCE_MS_SPAN;
      if (noticedMs >= durationMs) continue;
      this.world.schedule({ delayMs: noticedMs, kind: "silence" }, () => {
        if (connection.epoch === epoch) this.lose(connection);
      });
    }
  }

  private send(endpoint: SimMessaging, to: NodeId, channel: ChannelName, payload: Uint8Array): void {
    const from = endpoint.process.node;
    const connection = this.connectionOf(from, to);
    const isLost =
      !connection.isUp || this.blocked.has(linkOf(from, to)) || this.random.next() < this.profile.lossRate;
    if (isLost || this.unheard.has(`${to}/${channel}`)) return;
    this.deliverLater({ connection, from, to, channel, payload });
    if (this.profile.duplicateRate > 0 && this.random.next() < this.profile.duplicateRate) {
      this.deliverLater({ connection, from, to, channel, payload });
    }
  }

  private deliverLater(datagram: Datagram): void {
    const { connection, from, to, channel, payload } = datagram;
    const { epoch } = connection;
    const target = this.endpoints.get(to);
    if (target === undefined) return;
    const link = linkOf(from, to);
    let arrivalMs = this.world.nowMs + this.drawDelayMs(link);
    if (this.profile.reorderRate === 0 || this.random.next() >= this.profile.reorderRate) {
      arrivalMs = Math.max(arrivalMs, this.lastArrivalMs.get(link) ?? 0);
      this.lastArrivalMs.set(link, arrivalMs);
    }
    const options = {
      delayMs: arrivalMs - this.world.nowMs,
      kind: "message",
      process: target.process,
      checksum: crc32(payload),
    };
    this.world.schedule(options, () => {
      if (connection.epoch !== epoch || this.blocked.has(link)) return;
      this.world.note("message", to, { kind: "payload", from, payload });
      target.receive(from, channel, payload);
    });
  }

  private drawDelayMs(link: string): number {
    const { delayMsMin, delayMsMean, tailRate, tailMsMax } = this.profile;
    const usual = delayMsMin - Math.log(1 - this.random.next()) * (delayMsMean - delayMsMin);
    // Pareto with exponent 1: most tails are short, some are very long.
    const tail = tailRate > 0 && this.random.next() < tailRate ? Math.min(tailMsMax, 2 / (1 - this.random.next())) : 0;
    return usual * (this.slowness.get(link) ?? 1) + tail;
  }

  private startConnecting(node: NodeId, other: NodeId): void {
    const connection = this.connectionOf(node, other);
    if (connection.isUp || connection.isConnecting) return;
    connection.isConnecting = true;
    this.tryConnecting(connection, CONNECT_MS_MIN + this.random.next() * CONNECT_MS_SPAN);
  }

  private tryConnecting(connection: Connection, delayMs: number): void {
    this.world.schedule({ delayMs, kind: "connect" }, () => {
      const left = this.endpoints.get(connection.left);
      const right = this.endpoints.get(connection.right);
      const isBlocked =
        this.blocked.has(linkOf(connection.left, connection.right)) ||
        this.blocked.has(linkOf(connection.right, connection.left));
      if (left === undefined || right === undefined || isBlocked || connection.isUp) {
        connection.isConnecting = false;
        return;
      }
      if (this.isPaused(left) || this.isPaused(right)) {
        this.tryConnecting(connection, RETRY_MS);
        return;
      }
      connection.isConnecting = false;
      connection.isUp = true;
      connection.epoch += 1;
      this.announce(left, { kind: "up", node: connection.right }, 0);
      this.announce(right, { kind: "up", node: connection.left }, 0);
    });
  }

  private isPaused(endpoint: SimMessaging): boolean {
    return endpoint.process.pausedUntilMs > this.world.nowMs;
  }

  private loseBySilence(connection: Connection): void {
    const { epoch } = connection;
    this.world.schedule({ delayMs: SILENCE_MS_MIN + this.random.next() * SILENCE_MS_SPAN, kind: "silence" }, () => {
      if (connection.epoch === epoch && !this.isWorking(connection)) this.lose(connection);
    });
  }

  private isWorking(connection: Connection): boolean {
    return (
      this.endpoints.has(connection.left) &&
      this.endpoints.has(connection.right) &&
      !this.blocked.has(linkOf(connection.left, connection.right)) &&
      !this.blocked.has(linkOf(connection.right, connection.left))
    );
  }

  private lose(connection: Connection): void {
    if (!connection.isUp) return;
    connection.isUp = false;
    connection.epoch += 1;
    for (const [node, other] of [
      [connection.left, connection.right],
      [connection.right, connection.left],
    ] as const) {
      const endpoint = this.endpoints.get(node);
      if (endpoint !== undefined) {
        this.announce(endpoint, { kind: "down", node: other }, this.random.next() * NOTICE_MS_MAX);
      }
    }
    if (this.isWorking(connection)) this.startConnecting(connection.left, connection.right);
  }

  private announce(endpoint: SimMessaging, event: PeerEvent, delayMs: number): void {
    const options = { delayMs, kind: event.kind, process: endpoint.process, checksum: crc32(Buffer.from(event.node)) };
    this.world.schedule(options, () => {
      this.world.note(`peer-${event.kind}`, endpoint.process.node, { kind: "text", text: event.node });
      endpoint.notify(event);
    });
  }

  private connectionOf(node: NodeId, other: NodeId): Connection {
    const [left, right] = node < other ? [node, other] : [other, node];
    const key = linkOf(left, right);
    let connection = this.connections.get(key);
    if (connection === undefined) {
      connection = { left, right, epoch: 0, isUp: false, isConnecting: false };
      this.connections.set(key, connection);
    }
    return connection;
  }
}

interface Datagram {
  readonly connection: Connection;
  readonly from: NodeId;
  readonly to: NodeId;
  readonly channel: ChannelName;
  readonly payload: Uint8Array;
}

type SendDatagram = (endpoint: SimMessaging, to: NodeId, channel: ChannelName, payload: Uint8Array) => void;

/** The port of one process. */
export class SimMessaging implements PeerMessaging {
  readonly process: SimProcess;
  readonly connected = new Set<NodeId>();
  private readonly sendDatagram: SendDatagram;
  private readonly listeners: ((event: PeerEvent) => void)[] = [];
  private readonly receivers = new Map<ChannelName, (from: NodeId, payload: Uint8Array) => void>();

  constructor(process: SimProcess, sendDatagram: SendDatagram) {
    this.process = process;
    this.sendDatagram = sendDatagram;
  }

  channel(name: ChannelName): Channel {
    return {
      send: (to, payload) => {
        if (!this.process.isAlive || !this.connected.has(to) || payload.length > PAYLOAD_BYTES_MAX) return false;
        this.sendDatagram(this, to, name, payload);
        return true;
      },
      onMessage: (receive) => {
        this.receivers.set(name, receive);
      },
      // Nothing is damaged on its way here.
      refuse: () => undefined,
    };
  }

  onPeer(listener: (event: PeerEvent) => void): void {
    this.listeners.push(listener);
  }

  receive(from: NodeId, channel: ChannelName, payload: Uint8Array): void {
    this.receivers.get(channel)?.(from, payload);
  }

  notify(event: PeerEvent): void {
    if (event.kind === "up") this.connected.add(event.node);
    else this.connected.delete(event.node);
    for (const listener of this.listeners) listener(event);
  }
}

function linkOf(source: NodeId, target: NodeId): string {
  return `${source}>${target}`;
}
