// Owns: the `rpc` channel of this node: requests and cancels go to the dispatcher, replies to the remote caller,
// garbage nowhere. Does not own: what they mean.
import { unreachable } from "../base/assert.ts";
import type { NodeId } from "../base/ids.ts";
import type { Telemetry } from "../env/telemetry.ts";
import type { Channel, PeerMessaging } from "../net/peer-messaging.ts";
import type { IncomingReply } from "../slices/running-instances.ts";
import { encodeCallMessage, parseCallMessage, type CallMessage, type CallRequest } from "./core/call-codec.ts";
import { createRpcMetrics, type RpcMetrics } from "./metrics.ts";

export interface RpcReceivers {
  onRequest(from: NodeId, request: CallRequest): void;
  onCancel(from: NodeId, id: number): void;
  onReply(from: NodeId, id: number, reply: IncomingReply): void;
  /** The connection is gone, and with it everything that was under way on it. */
  onPeerDown(node: NodeId): void;
}

export class RpcChannel {
  readonly metrics: RpcMetrics;
  private readonly messaging: PeerMessaging;
  private readonly channel: Channel;
  private readonly telemetry: Telemetry;

  constructor(env: { readonly telemetry: Telemetry }, ports: { readonly messaging: PeerMessaging }) {
    this.telemetry = env.telemetry;
    this.metrics = createRpcMetrics(env.telemetry);
    this.messaging = ports.messaging;
    this.channel = ports.messaging.channel("rpc");
  }

  /** Called once, before the network starts. */
  attach(receivers: RpcReceivers): void {
    this.channel.onMessage((from, payload) => this.receive(from, payload, receivers));
    this.messaging.onPeer((event) => {
      if (event.kind === "down") receivers.onPeerDown(event.node);
    });
  }

  /** False when nothing was sent. */
  send(to: NodeId, message: CallMessage): boolean {
    return this.channel.send(to, encodeCallMessage(message));
  }

  private receive(from: NodeId, payload: Uint8Array, receivers: RpcReceivers): void {
    const message = parseCallMessage(payload);
    switch (message.kind) {
      case "request":
        return receivers.onRequest(from, message);
      case "cancel":
        return receivers.onCancel(from, message.id);
      case "reply":
        return receivers.onReply(from, message.id, message.reply);
      case "refused":
        this.metrics.refused.add(1);
        this.channel.refuse(from, message.reason);
        return this.telemetry.log.debug({ event: "rpc.refused", from, reason: message.reason });
      default:
        return unreachable(message);
    }
  }
}
