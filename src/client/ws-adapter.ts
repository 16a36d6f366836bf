// Owns: a dialed WebSocket as a Connection.
import { WebSocket } from "ws";
import { SECOND_MS } from "../base/units.ts";
import type { Connection, ConnectionHandlers } from "../env/network.ts";
import { CLIENT_FRAME_BYTES_MAX } from "../api/limits.ts";

/** A node that does not answer is left for the next one. */
const OPENING_MS = 3 * SECOND_MS;
const CLOSING_MS = 1 * SECOND_MS;
const CLOSE_NORMAL = 1000;
const SEND_OPTIONS = { binary: true, compress: false } as const;

/** Starts to connect; failure to do so is `onClose`. */
export function dialNode(url: string, token: string | undefined): Connection {
  const socket = new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: CLIENT_FRAME_BYTES_MAX,
    handshakeTimeout: OPENING_MS,
    followRedirects: false,
    // Masks protect proxies from what a browser was made to send; here a zero mask spares both sides a pass per frame.
    generateMask: (mask) => mask.fill(0),
    ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
  });
  return new DialedConnection(socket);
}

class DialedConnection implements Connection {
  private readonly socket: WebSocket;
  private handlers: ConnectionHandlers | undefined;

  constructor(socket: WebSocket) {
    this.socket = socket;
    // An error without a listener would end the process.
    socket.on("error", (error) => this.end(error.message));
    socket.on("close", (code, reason) => this.end(reason.toString("utf8") || `closed with code ${code}`));
  }

  get bufferedBytes(): number {
    return this.socket.bufferedAmount;
  }

  attach(handlers: ConnectionHandlers): void {
    this.handlers = handlers;
    this.socket.on("open", () => this.handlers?.onOpen());
    this.socket.on("message", (data) => {
      if (data instanceof Uint8Array) this.handlers?.onFrame(data);
    });
  }

  send(frame: Uint8Array): void {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(frame, SEND_OPTIONS);
  }

  close(reason: string): void {
    this.handlers = undefined;
    this.socket.close(CLOSE_NORMAL, reason);
    this.terminateLater();
  }

  /** Tells the owner once. */
  private end(reason: string): void {
    const { handlers } = this;
    this.handlers = undefined;
    handlers?.onClose(reason);
    this.terminateLater();
  }

  private terminateLater(): void {
    if (this.socket.readyState !== WebSocket.CLOSED) setTimeout(() => this.socket.terminate(), CLOSING_MS).unref();
  }
}
