// Owns: one connection to one node, from dial to its end: hello, coalesced sending, signs of life.
// Does not own: requests; it carries messages.
import { AetherError, toAetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Connection } from "../env/network.ts";
import { FrameWriter, decodeFrame, messagesOf } from "../api/frame.ts";
import {
  clientHelloFields, clientMessageFields, parseClientMessage, parseNodeHello, parseNodeMessage, CLIENT_VERSIONS,
  NO_REQUEST, type ClientMessage, type NodeMessage,
} from "../api/protocol.ts";

/** How often silence is looked for. */
const TICK_MS = 1 * SECOND_MS;
/** Ticks without a word from the node after which it is asked for a sign of life. */
const QUIET_TICKS = 2;
/** Ticks after which it counts as gone: soon enough that a read of default patience is asked again elsewhere. */
const GONE_TICKS = 4;

/** What concerns a request or a watch. */
export type NodeAnswer = Exclude<NodeMessage, { kind: "leaving" }>;

export interface NodeSessionHandlers {
  onOpen(session: NodeSession): void;
  onMessage(session: NodeSession, message: NodeAnswer): void;
  /** The node is about to stop; it answers what is under way. */
  onLeaving(session: NodeSession): void;
  /** Once, and not after the owner's own `close`. */
  onLost(session: NodeSession, reason: AetherError): void;
}

export interface NodeSessionOptions {
  readonly url: string;
  /** Whether a node that is up but not ready will do, because there is no other. */
  readonly accept: "any" | "ready";
}

export class NodeSession {
  readonly url: string;
  private readonly clock: Clock;
  private readonly connection: Connection;
  private readonly handlers: NodeSessionHandlers;
  private readonly accept: NodeSessionOptions["accept"];
  private readonly outbox = new FrameWriter();
  private state: "greeting" | "open" | "closed" = "greeting";
  private isFlushPlanned = false;
  private silence: Timer;
  private silentTicks = 0;
  private nodeName: string | undefined;
  private protocolVersion = 0;

  constructor(clock: Clock, connection: Connection, options: NodeSessionOptions, handlers: NodeSessionHandlers) {
    this.clock = clock;
    this.connection = connection;
    this.url = options.url;
    this.accept = options.accept;
    this.handlers = handlers;
    this.silence = clock.setTimer(TICK_MS, () => this.onSilence());
    connection.attach({
      onOpen: () => this.sendHello(),
      onFrame: (frame) => this.receive(frame),
      onClose: (reason) => this.lose(unreachable(this.url, reason)),
    });
  }

  /** What the node calls itself, once it has said so. */
  get node(): string | undefined {
    return this.nodeName;
  }

  /** Of the protocol, once both have said hello. */
  get version(): number {
    return this.protocolVersion;
  }

  get isOpen(): boolean {
    return this.state === "open";
  }

  /** @throws AetherError E_INVALID, E_TOO_LARGE for a message that cannot be sent. */
  send(message: ClientMessage): void {
    const fields = clientMessageFields(message);
    // What the node would refuse as garbage must fail here, alone, and not take the connection with it.
    parseClientMessage(fields);
    this.outbox.add(fields);
    if (this.isFlushPlanned) return;
    this.isFlushPlanned = true;
    this.clock.defer(() => this.flush());
  }

  close(reason: string): void {
    if (this.state === "closed") return;
    this.flush();
    this.state = "closed";
    this.silence.cancel();
    this.connection.close(reason);
  }

  private sendHello(): void {
    this.outbox.add(clientHelloFields(CLIENT_VERSIONS));
    // A hello is a frame of its own, not an array of messages.
    for (const frame of this.outbox.take()) this.connection.send(frame.subarray(1));
  }

  private flush(): void {
    this.isFlushPlanned = false;
    if (this.state !== "open") return;
    for (const frame of this.outbox.take()) this.connection.send(frame);
  }

  private receive(frame: Uint8Array): void {
    this.silentTicks = 0;
    try {
      if (this.state === "greeting") this.greet(frame);
      else for (const value of messagesOf(frame)) this.receiveMessage(parseNodeMessage(value));
    } catch (error) {
      this.lose(toAetherError(error));
    }
  }

  private greet(frame: Uint8Array): void {
    const hello = parseNodeHello(decodeFrame(frame));
    if (hello.kind === "refused") throw AetherError.fromBody(hello.error);
    this.nodeName = hello.node;
    this.protocolVersion = hello.version;
    if (!hello.isReady && this.accept === "ready") {
      throw new AetherError("E_UNAVAILABLE", `node ${hello.node} at ${this.url} is up but not ready`);
    }
    this.state = "open";
    this.handlers.onOpen(this);
  }

  private receiveMessage(message: NodeMessage): void {
    if (message.kind === "leaving") this.handlers.onLeaving(this);
    else if (message.id !== NO_REQUEST) this.handlers.onMessage(this, message);
  }

  // A process that is frozen, or behind a broken network, keeps its sockets: only silence gives it away.
  private onSilence(): void {
    this.silentTicks++;
    if (this.silentTicks >= GONE_TICKS) {
      this.lose(unreachable(this.url, "it has been silent for too long"));
      return;
    }
    if (this.state === "open" && this.silentTicks >= QUIET_TICKS) this.send({ kind: "ping", id: NO_REQUEST });
    this.silence = this.clock.setTimer(TICK_MS, () => this.onSilence());
  }

  private lose(reason: AetherError): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.silence.cancel();
    this.connection.close("lost");
    this.handlers.onLost(this, reason);
  }
}

function unreachable(url: string, reason: string): AetherError {
  return new AetherError("E_UNAVAILABLE", `no connection to ${url}: ${reason}; is a node running there?`);
}
