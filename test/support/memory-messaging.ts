// Owns: peer messaging between the nodes of one test, in memory: delivered after the turn, lost when a node is cut off.
import type { NodeId } from "../../src/base/ids.ts";
import type { Clock } from "../../src/env/clock.ts";
import type { Channel, ChannelName, PeerEvent, PeerMessaging } from "../../src/net/peer-messaging.ts";

type Receive = (from: NodeId, payload: Uint8Array) => void;

export class MemoryHub {
  private readonly clock: Clock;
  private readonly members = new Map<NodeId, MemoryMessaging>();

  constructor(clock: Clock) {
    this.clock = clock;
  }

  join(node: NodeId): MemoryMessaging {
    const joining = new MemoryMessaging(node, (to, channel, payload) => this.deliver(node, to, channel, payload));
    for (const other of this.members.values()) {
      other.connect(node);
      joining.connect(other.node);
    }
    this.members.set(node, joining);
    return joining;
  }

  leave(node: NodeId): void {
    this.cut(node);
    this.members.delete(node);
  }

  /** Breaks all connections of a node. */
  cut(node: NodeId): void {
    for (const other of this.members.values()) {
      other.disconnect(node);
      this.members.get(node)?.disconnect(other.node);
    }
  }

  /** Connects a node that was cut off again. */
  mend(node: NodeId): void {
    for (const other of this.members.values()) {
      if (other.node === node) continue;
      other.connect(node);
      this.members.get(node)?.connect(other.node);
    }
  }

  private deliver(from: NodeId, to: NodeId, channel: ChannelName, payload: Uint8Array): boolean {
    const target = this.members.get(to);
    if (target === undefined || !this.members.has(from)) return false;
    this.clock.defer(() => {
      if (this.members.get(to) === target) target.receive(channel, from, payload);
    });
    return true;
  }
}

export class MemoryMessaging implements PeerMessaging {
  readonly node: NodeId;
  readonly connected = new Set<NodeId>();
  private readonly send: (to: NodeId, channel: ChannelName, payload: Uint8Array) => boolean;
  private readonly receivers = new Map<ChannelName, Receive>();
  private readonly listeners: ((event: PeerEvent) => void)[] = [];

  constructor(node: NodeId, send: (to: NodeId, channel: ChannelName, payload: Uint8Array) => boolean) {
    this.node = node;
    this.send = send;
  }

  channel(name: ChannelName): Channel {
    return {
      send: (to, payload) => this.connected.has(to) && this.send(to, name, payload),
      onMessage: (receive) => this.receivers.set(name, receive),
      refuse: () => undefined,
    };
  }

  onPeer(listener: (event: PeerEvent) => void): void {
    this.listeners.push(listener);
  }

  connect(node: NodeId): void {
    this.connected.add(node);
    for (const listener of this.listeners) listener({ kind: "up", node });
  }

  disconnect(node: NodeId): void {
    if (!this.connected.delete(node)) return;
    for (const listener of this.listeners) listener({ kind: "down", node });
  }

  receive(channel: ChannelName, from: NodeId, payload: Uint8Array): void {
    this.receivers.get(channel)?.(from, payload);
  }
}
