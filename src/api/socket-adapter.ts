// Owns: an accepted WebSocket as a Connection, with back-pressure: while a client does not read, it is not read either.
import type { WebSocket } from "ws";
import { SECOND_MS } from "../base/units.ts";
import type { ConnectionHandlers } from "../env/network.ts";
import type { ClientConnection } from "./client-session.ts";
import { SOCKET_PAUSE_BYTES } from "./limits.ts";

const GOING_AWAY = 1001;
/** The limit of a close frame's reason is 123 bytes. */
const REASON_LENGTH_MAX = 120;
/** A peer that does not answer the closing handshake must not hold up the end of this node. */
const CLOSING_MS = 1 * SECOND_MS;
/** The protocol has no text; nothing at all is garbage to everybody. */
const NO_BYTES = new Uint8Array(0);

export class SocketConnection implements ClientConnection {
  private readonly socket: WebSocket;
  private isClosing = false;
  private isReadingPaused = false;

  /** `onBadFrames` hears what the socket itself refuses: broken WebSocket frames, or too large ones. */
  constructor(socket: WebSocket, onBadFrames: (reason: string) => void) {
    this.socket = socket;
    socket.on("error", (error) => {
      // A connection that broke is no garbage; `close` follows either way.
      if ("code" in error && String(error.code).startsWith("WS_ERR_")) onBadFrames(error.message);
    });
  }

  get bufferedBytes(): number {
    return this.socket.bufferedAmount;
  }

  attach(handlers: ConnectionHandlers): void {
    this.socket.on("message", (data, isBinary) => {
      if (!this.isClosing) handlers.onFrame(isBinary && data instanceof Uint8Array ? data : NO_BYTES);
    });
    this.socket.on("close", (_code, reason) => {
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
    this.isClosing = true;
    if (this.socket.readyState === this.socket.CLOSED) return;
    this.socket.close(GOING_AWAY, reason.replace(/[^\x20-\x7e]/g, "?").slice(0, REASON_LENGTH_MAX));
    // A paused socket would never see the answer of its peer.
    this.socket.resume();
    const timer = setTimeout(() => this.socket.terminate(), CLOSING_MS);
    this.socket.once("close", () => clearTimeout(timer));
  }

  private resumeWhenDrained(): void {
    if (this.isReadingPaused) return;
    if (this.socket.isPaused && this.socket.bufferedAmount <= SOCKET_PAUSE_BYTES) this.socket.resume();
  }
}
