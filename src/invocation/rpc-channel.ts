// Owns: the `rpc` channel of this node: requests and cancels go to the dispatcher, replies to the remote caller,
// garbage nowhere. Does not own: what they mean.
import { unreachable } from "../base/assert.ts";
import { AetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Telemetry } from "../env/telemetry.ts";
import type { Channel, PeerMessaging } from "../net/peer-messaging.ts";
import type { IncomingReply } from "../slices/host/running-instances.ts";
import {
  encodeCallMessage, encodeUntrustedReply, parseCallMessage, type CallMessage, type CallRequest,
} from "./core/call-codec.ts";
import { createRpcMetrics, type RpcMetrics } from "./metrics.ts";

export interface RpcReceivers {
  /** `bytes`: the size of the request. */
  onRequest(from: NodeId, request: CallRequest, bytes: number): void;
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

  /** Whether a message that is not sent found no room, and not nobody. */
  isConnectedTo(node: NodeId): boolean {
    return this.messaging.connected.has(node);
  }

  /** False when nothing was sent. */
  send(to: NodeId, message: CallMessage): boolean {
    return this.channel.send(to, encodeCallMessage(message));
  }

  /** False when the queue of this channel has no room for it now, or there is no connection. */
  sendEncoded(to: NodeId, bytes: Uint8Array): boolean {
    return this.channel.send(to, bytes);
  }

  private receive(from: NodeId, payload: Uint8Array, receivers: RpcReceivers): void {
    const message = parseCallMessage(payload);
    switch (message.kind) {
      case "request":
        return receivers.onRequest(from, message, payload.byteLength);
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

/** A reply that no peer could read is replaced by a small one that says so: its caller would wait for its deadline. */
export function encodeReadableReply(id: number, reply: IncomingReply): Uint8Array {
  return encodeUntrustedReply(id, reply) ?? encodeCallMessage({ kind: "reply", id, reply: unreadable(reply) });
}

/** In place of what no peer could read. */
function unreadable(reply: IncomingReply): IncomingReply {
  if (reply.kind === "not-started") return notStarted("for a reason that cannot be sent");
  const message = "the handler has ended, but its answer cannot be sent: it is no plain data, too deep or too large";
  const details = { name: "OutputInvalid" };
  return { kind: "failed", error: new AetherError("E_HANDLER", message, { outcome: "unknown", details }).toBody() };
}

/** In place of what this node has no room for. For the caller it is as if no answer came. */
export function withheld(reply: IncomingReply): IncomingReply {
  if (reply.kind === "not-started") return notStarted("and its node has too much to send to say why");
  const message = "the handler has ended, but its node has too much to send to pass its answer on";
  return { kind: "failed", error: new AetherError("E_TIMEOUT", message, { outcome: "unknown" }).toBody() };
}

function notStarted(why: string): IncomingReply {
  const message = `the instance did not start the call, ${why}`;
  return { kind: "not-started", error: new AetherError("E_UNAVAILABLE", message).toBody() };
}
