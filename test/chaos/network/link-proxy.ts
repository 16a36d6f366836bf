// Owns: one TCP listener that passes everything on to a node, both ways, until told otherwise: held back in one or both
// directions, as a network does that loses every packet, or late.
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export type Way = "forth" | "back";

/** Bytes held back per direction; beyond, the sender's socket fills up, as it would. */
const HELD_BYTES_MAX = 1 << 20;
const STALL_CHANCE = 0.02;
const STALL_MS = 250;

interface Delay {
  readonly ms: number;
  /** In [0, 1): jitter and stalls, as lost packets cause them. */
  readonly draw: () => number;
}

export class LinkProxy {
  private readonly server: Server;
  private readonly targetPort: number;
  private readonly pipes = new Set<Pipe>();
  private readonly isCut: Record<Way, boolean> = { forth: false, back: false };
  private delay: Record<Way, Delay | undefined> = { forth: undefined, back: undefined };

  private constructor(server: Server, targetPort: number) {
    this.server = server;
    this.targetPort = targetPort;
  }

  static async open(targetPort: number): Promise<LinkProxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new LinkProxy(server, targetPort);
    server.on("connection", (socket) => proxy.accept(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    const address = this.server.address();
    if (typeof address !== "object" || address === null) throw new Error("the proxy does not listen");
    return address.port;
  }

  cut(way: Way): void {
    this.isCut[way] = true;
  }

  slow(way: Way, delay: Delay): void {
    this.delay[way] = delay;
  }

  heal(): void {
    this.isCut.forth = false;
    this.isCut.back = false;
    this.delay = { forth: undefined, back: undefined };
    for (const pipe of this.pipes) pipe.release();
  }

  async close(): Promise<void> {
    for (const pipe of this.pipes) pipe.close();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private accept(near: Socket): void {
    const far = connect({ port: this.targetPort, host: "127.0.0.1", allowHalfOpen: true });
    this.join(near, far, "forth");
    this.join(far, near, "back");
  }

  private join(from: Socket, to: Socket, way: Way): void {
    const pipe = new Pipe(from, to, { isCut: () => this.isCut[way], delay: () => this.delay[way] });
    this.pipes.add(pipe);
    from.once("close", () => {
      this.pipes.delete(pipe);
    });
  }
}

interface PipeState {
  readonly isCut: () => boolean;
  readonly delay: () => Delay | undefined;
}

/** One direction of one connection. Its end is news like any other: it does not pass a cut. */
class Pipe {
  private readonly from: Socket;
  private readonly to: Socket;
  private readonly state: PipeState;
  private held: (Buffer | "end" | "reset")[] = [];
  private heldBytes = 0;
  private isPassing = false;

  constructor(from: Socket, to: Socket, state: PipeState) {
    this.from = from;
    this.to = to;
    this.state = state;
    from.setNoDelay(true);
    from.on("data", (chunk: Buffer) => this.take(chunk));
    from.on("end", () => this.take("end"));
    from.on("error", () => this.take("reset"));
  }

  release(): void {
    void this.pass();
  }

  close(): void {
    this.from.destroy();
    this.to.destroy();
  }

  private take(item: Buffer | "end" | "reset"): void {
    this.held.push(item);
    if (typeof item !== "string") this.heldBytes += item.length;
    if (this.heldBytes > HELD_BYTES_MAX) this.from.pause();
    void this.pass();
  }

  /** In order, one after the other. */
  private async pass(): Promise<void> {
    if (this.isPassing) return;
    this.isPassing = true;
    while (this.held.length > 0 && !this.state.isCut()) {
      const delay = this.state.delay();
      if (delay !== undefined) await sleep(delayOf(delay));
      if (this.state.isCut()) break;
      this.deliver();
    }
    this.isPassing = false;
  }

  /** All that has come so far is delivered together, as a delay of a network does not add up. */
  private deliver(): void {
    const items = this.held;
    this.held = [];
    this.heldBytes = 0;
    if (this.from.isPaused()) this.from.resume();
    for (const item of items) {
      if (item === "end") this.to.end();
      else if (item === "reset") this.to.destroy();
      else if (this.to.writable) this.to.write(item);
    }
  }
}

function delayOf({ ms, draw }: Delay): number {
  return draw() < STALL_CHANCE ? STALL_MS : ms * (0.5 + draw());
}
