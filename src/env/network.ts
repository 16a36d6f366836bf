// Ports only: no code here.
import type { AsyncCloseable } from "../base/resource-stack.ts";

/** What a connection tells its owner. Frames arrive whole and in order; after `onClose` nothing comes. */
export interface ConnectionHandlers {
  /** Dialed connections only: an accepted one is open from the start. */
  onOpen(): void;
  onFrame(frame: Uint8Array): void;
  /** At most once; not after the owner's own `close`. */
  onClose(reason: string): void;
}

/** One ordered, message-framed, bidirectional byte channel (a WebSocket in production). */
export interface Connection {
  /** Queues one binary frame. After close it does nothing. */
  send(frame: Uint8Array): void;
  /** Bytes queued here and not yet handed to the operating system. */
  readonly bufferedBytes: number;
  /** Sets the receiver; called once, before the next event of this connection. */
  attach(handlers: ConnectionHandlers): void;
  /** What was sent before still leaves, if the other side reads it. The owner hears nothing more. */
  close(reason: string): void;
}

export interface ListenOptions {
  /** Frames above this are refused and end the connection. */
  readonly frameBytesMax: number;
}

export interface Listener extends AsyncCloseable {
  /** Where it really listens: a port of 0 is replaced by the one that was given. */
  readonly url: string;
}

export interface NetworkPort {
  /** @throws AetherError E_PORT_IN_USE */
  listen(url: string, options: ListenOptions, accept: (connection: Connection) => void): Promise<Listener>;
  /**
   * Starts to connect; failure to do so is `onClose`.
   * @throws AetherError E_CONFIG for text that is no address at all.
   */
  dial(url: string, options: ListenOptions): Connection;
}
