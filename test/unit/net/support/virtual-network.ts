// Owns: a network of one process: frames arrive at once, and a test can cut, hold or swallow them.
import { AetherError } from "../../../../src/base/errors.ts";
import type { Connection, ConnectionHandlers, Listener, NetworkPort } from "../../../../src/env/network.ts";

/** One end of a virtual connection. */
export class VirtualConnection implements Connection {
  bufferedBytes = 0;
  /** Frames sent from this end, in order. */
  readonly sent: Uint8Array[] = [];
  closeReason: string | undefined;
  other: VirtualConnection | undefined;
  /** Frames to this end vanish. */
  isDeaf = false;
  /** A dialed end: the dial has succeeded or failed. */
  isSettled = false;
  private handlers: ConnectionHandlers | undefined;

  attach(handlers: ConnectionHandlers): void {
    this.handlers = handlers;
  }

  open(): void {
    this.handlers?.onOpen();
  }

  send(frame: Uint8Array): void {
    if (this.closeReason !== undefined) return;
    this.sent.push(frame);
    this.other?.receive(frame);
  }

  receive(frame: Uint8Array): void {
    if (!this.isDeaf) this.handlers?.onFrame(frame);
  }

  close(reason: string): void {
    this.closeReason ??= reason;
    this.handlers = undefined;
    const { other } = this;
    this.other = undefined;
    other?.lose(reason);
  }

  /** The connection breaks under this end. */
  lose(reason: string): void {
    const { handlers } = this;
    this.handlers = undefined;
    this.other = undefined;
    this.closeReason ??= reason;
    handlers?.onClose(reason);
  }
}

export class VirtualNetwork implements NetworkPort {
  /** Every dial, in order: the dialing end. */
  readonly dials: { readonly url: string; readonly connection: VirtualConnection }[] = [];
  private readonly listeners = new Map<string, (connection: Connection) => void>();

  listen(url: string, _options: unknown, accept: (connection: Connection) => void): Promise<Listener> {
    this.listeners.set(url, accept);
    return Promise.resolve({ url, close: () => void this.listeners.delete(url) });
  }

  dial(url: string): VirtualConnection {
    if (!URL.canParse(url)) throw new AetherError("E_CONFIG", `"${url}" is no address`);
    const connection = new VirtualConnection();
    this.dials.push({ url, connection });
    return connection;
  }

  /** Another address of a listener. */
  alias(url: string, listened: string): void {
    const accept = this.listeners.get(listened);
    if (accept !== undefined) this.listeners.set(url, accept);
  }

  /** Lets every dial that was not settled yet succeed or fail. */
  settleAll(): void {
    this.dials.forEach(({ connection }, index) => {
      if (!connection.isSettled) this.settle(index);
    });
  }

  /** Lets the dial number `index` succeed or fail. */
  settle(index: number): void {
    const dial = this.dials.at(index);
    if (dial === undefined) throw new TypeError(`there is no dial ${index}`);
    const accept = this.listeners.get(dial.url);
    dial.connection.isSettled = true;
    if (accept === undefined) return dial.connection.lose("connection refused");
    const accepted = new VirtualConnection();
    accepted.other = dial.connection;
    dial.connection.other = accepted;
    accept(accepted);
    dial.connection.open();
  }
}
