// Owns: an accepted WebSocket as a Connection, with back-pressure: while a client does not read, it is not read either.
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import { toAetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { ConnectionHandlers } from "../env/network.ts";
import type { ClientConnection } from "./client-session.ts";
import { SOCKET_PAUSE_BYTES } from "./limits.ts";
import type { ReceivingPlace } from "./receiving-room.ts";

const GOING_AWAY = 1001;
const TRY_AGAIN_LATER = 1013;
/** The limit of a close frame's reason is 123 bytes. */
const REASON_LENGTH_MAX = 120;
/** A peer that does not answer the closing handshake must not hold up the end of this node. */
const CLOSING_MS = 1 * SECOND_MS;
/** The protocol has no text; nothing at all is garbage to everybody. */
const NO_BYTES = new Uint8Array(0);

export interface SocketPorts {
  /** What the WebSocket reads from. */
  readonly stream: Duplex;
  /** Where what is read of a message that is not complete is counted. */
  readonly place: ReceivingPlace;
  /** Hears what the socket itself refuses: broken WebSocket frames, or too large ones. */
  onBadFrames(reason: string): void;
  /** Incomplete messages of all clients are too much: this one's connection was closed. */
  onNoRoom(reason: string): void;
}

export class SocketConnection implements ClientConnection {
  private readonly socket: WebSocket;
  private readonly ports: SocketPorts;
  private isClosing = false;
  private isReadingPaused = false;

  constructor(socket: WebSocket, ports: SocketPorts) {
    this.socket = socket;
    this.ports = ports;
    socket.on("error", (error) => {
      // A connection that broke is no garbage; `close` follows either way.
      if ("code" in error && String(error.code).startsWith("WS_ERR_")) ports.onBadFrames(error.message);
    });
  }

  get bufferedBytes(): number {
    return this.socket.bufferedAmount;
  }

  attach(handlers: ConnectionHandlers): void {
    const { stream, place } = this.ports;
    // Also what is no part of the message: a piece of one keeps all that was read with it.
    stream.on("data", (bytes: Uint8Array) => {
      if (!this.isClosing) this.count(bytes.byteLength, handlers);
    });
    this.socket.on("message", (data, isBinary) => {
      place.empty();
      if (!this.isClosing) handlers.onFrame(isBinary && data instanceof Uint8Array ? data : NO_BYTES);
    });
    this.socket.on("close", (_code, reason) => {
      place.empty();
      if (!this.isClosing) handlers.onClose(reason.toString("utf8"));
    });
  }

  send(frame: Uint8Array): void {
    if (this.isClosing || this.socket.readyState !== this.socket.OPEN) return;
    this.socket.send(frame, { binary: true }, () => this.resumeWhenDrained());
    if (this.socket.bufferedAmount > SOCKET_PAUSE_BYTES) this.socket.pause();
  }

  pauseReading(): void {
    this.isReadingPaused = true;
    if (!this.isClosing) this.socket.pause();
  }

  resumeReading(): void {
    this.isReadingPaused = false;
    this.resumeWhenDrained();
  }

  close(reason: string): void {
    if (this.isClosing) return;
    this.startClosing(GOING_AWAY, reason);
    // A paused socket would never see the answer of its peer.
    this.socket.resume();
  }

  private count(bytes: number, { onClose }: ConnectionHandlers): void {
    try {
      this.ports.place.add(bytes);
    } catch (error) {
      const { message } = toAetherError(error);
      this.startClosing(TRY_AGAIN_LATER, message);
      // Its answer would come behind all that there is no room for.
      this.socket.pause();
      this.ports.onNoRoom(message);
      onClose(message);
    }
  }

  private startClosing(code: number, reason: string): void {
    this.isClosing = true;
    if (this.socket.readyState === this.socket.CLOSED) return;
    this.socket.close(code, reason.replace(/[^\x20-\x7e]/g, "?").slice(0, REASON_LENGTH_MAX));
    const timer = setTimeout(() => this.socket.terminate(), CLOSING_MS);
    this.socket.once("close", () => clearTimeout(timer));
  }

  private resumeWhenDrained(): void {
    if (this.isReadingPaused) return;
    if (this.socket.isPaused && this.socket.bufferedAmount <= SOCKET_PAUSE_BYTES) this.socket.resume();
  }
}
