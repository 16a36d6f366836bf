// Owns: which connections of an HTTP server have no request under way, so that its end need not wait for them.
// Node's own `closeIdleConnections` leaves out those on which no request has come yet.
import type { Server } from "node:http";
import type { Duplex } from "node:stream";

export class IdleConnections {
  private readonly idle = new Set<Duplex>();
  private isClosing = false;

  constructor(http: Server) {
    http.on("connection", (socket) => {
      socket.once("close", () => this.idle.delete(socket));
      this.idle.add(socket);
    });
    http.on("request", ({ socket }, response) => {
      this.idle.delete(socket);
      response.once("close", () => this.rest(socket));
    });
    // A WebSocket has an owner of its own.
    http.on("upgrade", ({ socket }) => this.idle.delete(socket));
  }

  /** Closes what is idle now, and everything else as soon as it is. */
  close(): void {
    this.isClosing = true;
    for (const socket of this.idle) socket.destroy();
  }

  private rest(socket: Duplex): void {
    if (socket.destroyed) return;
    if (this.isClosing) socket.end();
    else this.idle.add(socket);
  }
}
