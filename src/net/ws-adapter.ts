// Owns: NetworkPort over WebSockets. Binary frames only, no compression (peers are near, CPU is dear).
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocket, WebSocketServer } from "ws";
import { AetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Connection, ConnectionHandlers, Listener, ListenOptions, NetworkPort } from "../env/network.ts";
import type { Counter, Telemetry } from "../env/telemetry.ts";
import { createNetMetrics } from "./metrics.ts";

/** From dial to open, and from TCP accept to the end of the HTTP upgrade. */
const OPENING_MS = 2 * SECOND_MS;
/** After a close frame, or an error, the socket gets this long to end in order. */
const CLOSING_MS = SECOND_MS;
/** TCP connections of one listener, whatever they send; fewer where the process has few file descriptors. */
export const PEER_SOCKETS_MAX = 1_024;
/** The limit of a close frame's reason is 123 bytes. */
const CLOSE_REASON_LENGTH_MAX = 120;
const CLOSE_NORMAL = 1000;
const CLOSE_TEXT_FRAME = 1003;
const SEND_OPTIONS = { binary: true, compress: false } as const;

export function createWsNetwork(telemetry: Telemetry, socketsMax = PEER_SOCKETS_MAX): NetworkPort {
  const { refused } = createNetMetrics(telemetry);
  return {
    listen: (url, options, accept) => listen(url, options, {
      refused,
      socketsMax,
      accept: (socket) => accept(new WsConnection(socket, refused)),
    }),
    dial: (url, options) => new WsConnection(dial(url, options), refused),
  };
}

function dial(url: string, { frameBytesMax }: ListenOptions): WebSocket {
  if (!URL.canParse(url) || !/^wss?:/.test(url)) {
    throw new AetherError("E_CONFIG", `cannot dial "${url}": give an address like ws://127.0.0.1:7101`);
  }
  return new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: frameBytesMax,
    handshakeTimeout: OPENING_MS,
    followRedirects: false,
    // Masks protect proxies from what a browser was made to send; between nodes a zero mask spares a copy per frame.
    generateMask: (mask) => mask.fill(0),
  });
}

interface AcceptPorts {
  readonly accept: (socket: WebSocket) => void;
  readonly refused: Counter;
  readonly socketsMax: number;
}

async function listen(url: string, options: ListenOptions, ports: AcceptPorts): Promise<Listener> {
  const { accept, refused, socketsMax } = ports;
  const { host, port } = parseListenUrl(url);
  const http = createServer({ headersTimeout: OPENING_MS, requestTimeout: OPENING_MS }, refuseHttp);
  http.maxConnections = socketsMax;
  http.on("drop", () => refused.add(1, { reason: "too-many" }));
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: options.frameBytesMax });
  http.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (request.headers.origin === undefined) sockets.handleUpgrade(request, socket, head, accept);
    else refuseBrowser(socket, refused);
  });
  await startListening(http, { url, host, port });
  // For example no file descriptor is left for a connection: who wanted it tries again.
  http.on("error", () => refused.add(1, { reason: "accept-failed" }));
  return { url: boundUrl(url, http.address()), close: () => closeAll(http, sockets) };
}

/** Browsers name the page that connects, nodes do not: no page may pose as a peer on its visitor's machine. */
function refuseBrowser(socket: Duplex, refused: Counter): void {
  refused.add(1, { reason: "browser" });
  socket.once("error", () => socket.destroy());
  socket.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
}

function refuseHttp(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(426, { "content-type": "text/plain", connection: "close", upgrade: "websocket" });
  response.end("this port is for the other nodes of the cluster; clients use the address given as `api`\n");
}

interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

function parseListenUrl(text: string): ListenAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.protocol !== "ws:" || url.hostname === "") {
    throw new AetherError("E_CONFIG", `cannot listen on "${text}": give an address like ws://127.0.0.1:7101`);
  }
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port === "" ? 80 : Number(url.port) };
}

function startListening(http: Server, { url, host, port }: ListenAddress & { readonly url: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => reject(listenError(url, error));
    http.once("error", onError);
    http.listen({ host, port }, () => {
      http.off("error", onError);
      resolve();
    });
  });
}

function listenError(url: string, error: NodeJS.ErrnoException): AetherError {
  if (error.code === "EADDRINUSE") {
    const text = `cannot listen on ${url}: another process listens there; stop it, or change "listen"`;
    return new AetherError("E_PORT_IN_USE", text, { cause: error });
  }
  const text = `cannot listen on ${url}: ${error.message}; change "listen" to an address of this machine`;
  return new AetherError("E_CONFIG", text, { cause: error });
}

function boundUrl(text: string, address: AddressInfo | string | null): string {
  const url = new URL(text);
  if (typeof address === "object" && address !== null) url.port = String(address.port);
  return url.href.replace(/\/$/, "");
}

async function closeAll(http: Server, sockets: WebSocketServer): Promise<void> {
  const closed = new Promise<void>((resolve) => http.close(() => resolve()));
  http.closeAllConnections();
  for (const socket of sockets.clients) socket.close(CLOSE_NORMAL);
  const timer = setTimeout(() => {
    for (const socket of sockets.clients) socket.terminate();
  }, CLOSING_MS);
  await closed;
  clearTimeout(timer);
}

class WsConnection implements Connection {
  private readonly socket: WebSocket;
  private readonly refused: Counter;
  private handlers: ConnectionHandlers | undefined;

  constructor(socket: WebSocket, refused: Counter) {
    this.socket = socket;
    this.refused = refused;
    // An error without a listener would end the process; `attach` follows before the next event.
    socket.on("error", (error) => this.end(error.message));
  }

  get bufferedBytes(): number {
    return this.socket.bufferedAmount;
  }

  attach(handlers: ConnectionHandlers): void {
    this.handlers = handlers;
    this.socket.on("open", () => this.handlers?.onOpen());
    this.socket.on("message", (data, isBinary) => {
      if (!isBinary) this.refuseText();
      // The default binaryType gives one Buffer per message, not reused afterwards.
      else if (data instanceof Uint8Array) this.handlers?.onFrame(data);
    });
    this.socket.on("close", (code, reason) => this.end(closeText(code, reason)));
  }

  send(frame: Uint8Array): void {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(frame, SEND_OPTIONS);
  }

  close(reason: string): void {
    this.handlers = undefined;
    this.closeSocket(CLOSE_NORMAL, reason);
  }

  private refuseText(): void {
    if (this.handlers === undefined) return;
    this.refused.add(1, { reason: "text-frame" });
    this.closeSocket(CLOSE_TEXT_FRAME, "binary frames only");
    this.end("the other side sent a text frame; peers send binary frames only");
  }

  /** Tells the owner once. What is left of the socket ends by itself or by force. */
  private end(reason: string): void {
    const handlers = this.handlers;
    this.handlers = undefined;
    if (this.socket.readyState !== WebSocket.CLOSED) this.terminateLater();
    handlers?.onClose(reason);
  }

  private closeSocket(code: number, reason: string): void {
    this.socket.close(code, reason.replace(/[^\x20-\x7e]/g, "?").slice(0, CLOSE_REASON_LENGTH_MAX));
    this.terminateLater();
  }

  private terminateLater(): void {
    setTimeout(() => this.socket.terminate(), CLOSING_MS).unref();
  }
}

function closeText(code: number, reason: Buffer): string {
  return reason.length > 0 ? reason.toString("utf8") : `the connection ended (code ${code})`;
}
