// Owns: ONE connection to another node: its handshake, deadlines, keepalive, and frames in and out.
// Does not own: dialing, who may connect, which of two connections stays, queues.
import { unreachable } from "../base/assert.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Connection } from "../env/network.ts";
import { decodeFrame, encodeFrame, type FrameMessage } from "./core/frame.ts";
import type { Hello, Refusal } from "./core/handshake.ts";
import { decodeHandshake, encodeHandshake, type HandshakeMessage } from "./core/handshake-codec.ts";
import { initialLinkState, LINK_NEXT, type LinkEvent, type LinkRole, type LinkState } from "./core/link-state.ts";

/** Both sides must have agreed by then. */
export const HANDSHAKE_MS = 2_000;
/** After this long without sending anything we say that we live. */
const PING_AFTER_MS = 300;
/**
 * A peer that was silent this long is gone. Who relies on a peer suspects it earlier (peer-view.ts,
 * failure-detector.ts); to connect again and catch up costs work, and on a machine that is short of it live peers would
 * drop each other.
 */
export const SILENCE_MS = 3_000;
const TICK_MS = 100;
/** A tick this late means that our own process stood still: what the peer sent meanwhile is still unread. */
const OWN_PAUSE_MS = 500;
/** Channel number of the link's own messages; peers' messages use numbers from 1. */
const LINK_CHANNEL = 0;
const PING: readonly FrameMessage[] = [{ channel: LINK_CHANNEL, payload: new Uint8Array(0) }];

export type LinkEnd =
  | { readonly kind: "lost"; readonly reason: string }
  | { readonly kind: "late" }
  | { readonly kind: "silent"; readonly silentMs: number }
  | { readonly kind: "bad-frame"; readonly reason: string }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "refused-by-peer"; readonly refusal: Refusal }
  | { readonly kind: "closed"; readonly reason: string };

export interface LinkOwner {
  /** The other side introduced itself. Answer with `approve` or `refuse`, now or before the handshake's deadline. */
  onHello(link: PeerLink, hello: Hello): void;
  onUp(link: PeerLink): void;
  onMessages(link: PeerLink, messages: readonly FrameMessage[], frameBytes: number): void;
  /** Exactly once, last. */
  onEnd(link: PeerLink, end: LinkEnd): void;
}

export interface LinkPorts {
  readonly clock: Clock;
  readonly connection: Connection;
  readonly owner: LinkOwner;
}

export class PeerLink {
  readonly role: LinkRole;
  private readonly ports: LinkPorts;
  private readonly own: () => Hello;
  private state: LinkState;
  private version = 0;
  private hello: Hello | undefined;
  private upSinceMs: number | undefined;
  private heardMs: number;
  private sentMs: number;
  private tickedMs: number;
  private timer: Timer;

  /** `own` is asked when it is said: what a node knows of itself changes while it joins. */
  constructor(ports: LinkPorts, own: () => Hello, role: LinkRole) {
    this.ports = ports;
    this.own = own;
    this.role = role;
    this.state = initialLinkState(role);
    this.heardMs = this.sentMs = this.tickedMs = ports.clock.nowMs();
    this.timer = ports.clock.setTimer(HANDSHAKE_MS, () => this.end({ kind: "late" }));
    ports.connection.attach({
      onOpen: () => this.onOpen(),
      onFrame: (frame) => this.onFrame(frame),
      onClose: (reason) => this.end({ kind: "lost", reason }),
    });
  }

  /** Who is at the other end, once it has said so. */
  get peer(): Hello | undefined {
    return this.hello;
  }

  get isUp(): boolean {
    return this.state === "up";
  }

  get isEnded(): boolean {
    return this.state === "ended";
  }

  /** How long this link has been up; 0 when it never was. */
  get upForMs(): number {
    return this.upSinceMs === undefined ? 0 : this.ports.clock.nowMs() - this.upSinceMs;
  }

  get bufferedBytes(): number {
    return this.ports.connection.bufferedBytes;
  }

  approve(version: number): void {
    if (!this.advance("approved")) return;
    this.version = version;
    if (this.role === "acceptor") return this.greet({ kind: "hello", hello: this.own() });
    this.greet({ kind: "ready" });
    this.comeUp();
  }

  /** The other side is told why before the connection closes. */
  refuse(refusal: Refusal): void {
    this.end({ kind: "refused", refusal });
  }

  /** Sends one frame and returns its size. Only while up. */
  send(messages: readonly FrameMessage[]): number {
    const frame = encodeFrame(this.version, messages);
    this.sentMs = this.ports.clock.nowMs();
    this.ports.connection.send(frame);
    return frame.byteLength;
  }

  /** The other side has sent what nobody here can read. */
  endUnreadable(reason: string): void {
    this.end({ kind: "bad-frame", reason });
  }

  close(reason: string): void {
    this.end({ kind: "closed", reason });
  }

  private onOpen(): void {
    if (this.advance("opened")) this.greet({ kind: "hello", hello: this.own() });
  }

  private onFrame(frame: Uint8Array): void {
    if (this.isEnded) return;
    this.heardMs = this.ports.clock.nowMs();
    if (this.state === "up") this.onMessages(frame);
    else this.onHandshake(frame);
  }

  private onMessages(frame: Uint8Array): void {
    const decoded = decodeFrame(this.version, frame);
    if (decoded.kind === "refused") return this.onNoMessages(frame, decoded.reason);
    // A ping travels alone; having come is all it is for.
    if (decoded.messages[0]?.channel === LINK_CHANNEL) return;
    this.ports.owner.onMessages(this, decoded.messages, frame.byteLength);
  }

  /** An acceptor may refuse at the last moment, when we think that we are up already. */
  private onNoMessages(frame: Uint8Array, reason: string): void {
    const late = decodeHandshake(frame);
    if (late.kind === "refusal") return this.end({ kind: "refused-by-peer", refusal: late.refusal });
    this.end({ kind: "bad-frame", reason });
  }

  private onHandshake(frame: Uint8Array): void {
    const message = decodeHandshake(frame);
    switch (message.kind) {
      case "malformed":
        return this.refuse({ kind: "malformed", text: `this first frame is not from a node: ${message.reason}` });
      case "refusal":
        return this.end({ kind: "refused-by-peer", refusal: message.refusal });
      case "hello":
        return this.onHello(message.hello);
      case "ready":
        if (this.advance("ready")) this.comeUp();
        return;
      default:
        return unreachable(message);
    }
  }

  private onHello(hello: Hello): void {
    if (!this.advance("hello")) return;
    this.hello = hello;
    this.ports.owner.onHello(this, hello);
  }

  /** Takes the step that the truth table names; a step it does not know ends the link. */
  private advance(event: LinkEvent): boolean {
    if (this.isEnded) return false;
    const next = LINK_NEXT[this.role][this.state][event];
    if (next === "refuse") {
      this.refuse({ kind: "malformed", text: `"${event}" has no place in a handshake that is ${this.state}` });
      return false;
    }
    this.state = next;
    return true;
  }

  private greet(message: HandshakeMessage): void {
    this.ports.connection.send(encodeHandshake(message));
  }

  private comeUp(): void {
    const { clock, owner } = this.ports;
    this.timer.cancel();
    this.upSinceMs = this.heardMs = this.sentMs = this.tickedMs = clock.nowMs();
    this.timer = clock.setTimer(TICK_MS, () => this.tick());
    owner.onUp(this);
  }

  private tick(): void {
    const nowMs = this.ports.clock.nowMs();
    if (nowMs - this.tickedMs > OWN_PAUSE_MS) this.heardMs = nowMs;
    this.tickedMs = nowMs;
    const silentMs = nowMs - this.heardMs;
    if (silentMs >= SILENCE_MS) return this.end({ kind: "silent", silentMs });
    if (nowMs - this.sentMs >= PING_AFTER_MS) this.send(PING);
    this.timer = this.ports.clock.setTimer(TICK_MS, () => this.tick());
  }

  private end(end: LinkEnd): void {
    if (this.isEnded) return;
    this.state = "ended";
    this.timer.cancel();
    if (end.kind === "refused") this.greet({ kind: "refusal", refusal: end.refusal });
    if (end.kind !== "lost") this.ports.connection.close(describeEnd(end));
    this.ports.owner.onEnd(this, end);
  }
}

/** For logs and for the close frame. */
export function describeEnd(end: LinkEnd): string {
  switch (end.kind) {
    case "lost":
    case "closed":
      return end.reason;
    case "late":
      return `no handshake within ${HANDSHAKE_MS} ms`;
    case "silent":
      return `nothing heard for ${Math.round(end.silentMs)} ms`;
    case "bad-frame":
      return `bad frame: ${end.reason}`;
    case "refused":
    case "refused-by-peer":
      return end.refusal.text;
    default:
      return unreachable(end);
  }
}
