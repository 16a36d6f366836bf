// Owns: the bulk channel: snapshots on their way out and in. Does not own: their pace (sender, receiver).
import { unreachable } from "../base/assert.ts";
import type { NodeId } from "../base/ids.ts";
import type { PeerMessaging } from "../net/peer-messaging.ts";
import { decodeSnapshotMessage, encodeSnapshotMessage, type SnapshotMessage } from "./core/snapshot-message.ts";
import { SnapshotReceiver, type SnapshotReceiverPorts } from "./snapshot-receiver.ts";
import { SnapshotSender, type SnapshotSenderPorts } from "./snapshot-sender.ts";
import type { ReplicatedStateMachine } from "./state-machine.ts";

/** Where the group hears of transfers. */
export interface SnapshotEvents {
  /** See SnapshotSenderPorts. */
  readonly onSendStart: SnapshotSenderPorts["onStart"];
  readonly onSendEnd: SnapshotSenderPorts["onEnd"];
  /** False while the own state is not to be believed: whoever asks is told to wait. */
  mayServe(): boolean;
  /** See SnapshotReceiverPorts. */
  readonly isStillWanted: SnapshotReceiverPorts["isStillWanted"];
  readonly onInstalled: SnapshotReceiverPorts["onInstalled"];
  readonly onFailed: SnapshotReceiverPorts["onFailed"];
  /** A payload that is no message. */
  onGarbage(from: NodeId, bytes: number): void;
}

export type SnapshotExchangePorts = Pick<SnapshotReceiverPorts, "clock" | "random" | "log" | "track"> & {
  readonly messaging: PeerMessaging;
  readonly stateMachine: ReplicatedStateMachine;
  readonly events: SnapshotEvents;
};

export class SnapshotExchange {
  readonly sender: SnapshotSender;
  readonly receiver: SnapshotReceiver;
  private readonly events: SnapshotEvents;
  private readonly send: (to: NodeId, message: SnapshotMessage) => boolean;
  private isClosed = false;

  /** Attaches to the channel: before the first message can arrive. */
  constructor(ports: SnapshotExchangePorts) {
    const { clock, random, log, track, stateMachine, messaging, events } = ports;
    const channel = messaging.channel("bulk");
    const send = (to: NodeId, message: SnapshotMessage): boolean => channel.send(to, encodeSnapshotMessage(message));
    this.events = events;
    this.send = send;
    const { onSendStart: onStart, onSendEnd: onEnd, isStillWanted, onInstalled, onFailed } = events;
    this.sender = new SnapshotSender({ clock, log, track, stateMachine, send, onStart, onEnd });
    const received = { isStillWanted, onInstalled, onFailed };
    this.receiver = new SnapshotReceiver({ clock, random, log, track, stateMachine, send, ...received });
    channel.onMessage((from, payload) => {
      const message = decodeSnapshotMessage(payload);
      if (message === undefined) {
        events.onGarbage(from, payload.byteLength);
        channel.refuse(from, "this is no message about a snapshot");
      } else this.take(from, message);
    });
    messaging.onPeer(({ kind, node }) => {
      if (kind === "up" && !this.isClosed) this.receiver.peerUp(node);
    });
  }

  /** Ends what is under way. */
  close(): void {
    this.isClosed = true;
    this.receiver.cancel("the node is stopping");
    this.sender.close();
  }

  private take(from: NodeId, message: SnapshotMessage): void {
    if (this.isClosed) return;
    switch (message.kind) {
      case "request":
        if (this.events.mayServe()) this.sender.take(from, message);
        else this.send(from, { kind: "wait", transfer: message.transfer });
        return;
      case "ack":
        this.sender.take(from, message);
        return;
      case "accepted":
      case "wait":
      case "chunk":
        this.receiver.take(from, message);
        return;
      case "end":
        // Ids are of one side: only one of both knows it.
        this.sender.take(from, message);
        this.receiver.take(from, message);
        return;
      default:
        return unreachable(message);
    }
  }
}
