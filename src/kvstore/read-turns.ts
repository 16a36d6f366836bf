// Owns: how much readers are given in one turn of the event loop. What a few bytes ask for may be a megabyte to read,
// to decode and to encode: all that was asked for at once would keep votes waiting, and fill the memory with answers.
// Readers take turns; those of one reader are served in their order.
// Does not own: what is read (kv-state.ts), whether it may be (kv-store.ts).
import { AetherError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";

/** Bytes of single entries that are read in one turn. */
export const TURN_READ_BYTES_MAX = 1 * MiB;
/** Pages that are read at once: the end of each takes a turn's worth of work. */
export const PAGES_AT_ONCE_MAX = 2;
/** Reads that wait for their turn on this node. */
export const READS_WAITING_MAX = 16_384;

/** What was read, and what it weighs. */
export interface Weighed<T> {
  readonly value: T;
  readonly bytes: number;
}

interface Waiting {
  readonly kind: "entry" | "page";
  begin(): void;
}

export class ReadTurns {
  private readonly clock: Pick<Clock, "defer" | "nextTurn">;
  /** By reader; whose turn is next comes first. None is empty. */
  private readonly queues = new Map<object, Waiting[]>();
  private waiting = 0;
  private pages = 0;
  private turnBytes = 0;
  private isTurnOpen = false;
  private isGoingOn = false;

  constructor(clock: Pick<Clock, "defer" | "nextTurn">) {
    this.clock = clock;
  }

  /** Reads one entry, now or in a later turn. @throws AetherError E_OVERLOADED when too many wait */
  entry<T>(reader: object, read: () => Weighed<T>): T | Promise<T> {
    if (this.waiting === 0 && this.hasRoom) return this.take(read);
    return this.wait(reader, "entry", () => this.take(read));
  }

  /** Reads a page, now or when others have been read. @throws AetherError E_OVERLOADED when too many wait */
  page<T>(reader: object, read: () => Promise<T>): Promise<T> {
    if (this.waiting === 0 && this.hasRoom && this.pages < PAGES_AT_ONCE_MAX) return this.takePage(read);
    return this.wait(reader, "page", () => this.takePage(read));
  }

  private get hasRoom(): boolean {
    return !this.isTurnOpen || this.turnBytes < TURN_READ_BYTES_MAX;
  }

  private take<T>(read: () => Weighed<T>): T {
    if (!this.isTurnOpen) this.openTurn();
    const { value, bytes } = read();
    this.turnBytes += bytes;
    return value;
  }

  private async takePage<T>(read: () => Promise<T>): Promise<T> {
    this.pages += 1;
    try {
      return await read();
    } finally {
      this.pages -= 1;
      this.goOnLater();
    }
  }

  private openTurn(): void {
    this.isTurnOpen = true;
    this.turnBytes = 0;
    this.clock.defer(() => (this.isTurnOpen = false));
  }

  private wait<T>(reader: object, kind: Waiting["kind"], read: () => T | Promise<T>): Promise<T> {
    if (this.waiting >= READS_WAITING_MAX) {
      const message = `${this.waiting} reads wait for their turn on this node, its limit: slow down and retry`;
      throw new AetherError("E_OVERLOADED", message, { outcome: "none", details: { limit: READS_WAITING_MAX } });
    }
    return new Promise((resolve, reject) => {
      const begin = (): void => {
        try {
          resolve(read());
        } catch (error) {
          reject(error);
        }
      };
      const queue = this.queues.get(reader) ?? [];
      queue.push({ kind, begin });
      this.queues.set(reader, queue);
      this.waiting += 1;
      this.goOnLater();
    });
  }

  private goOnLater(): void {
    if (this.isGoingOn || this.waiting === 0) return;
    this.isGoingOn = true;
    this.clock.nextTurn(() => {
      this.isGoingOn = false;
      this.goOn();
    });
  }

  private goOn(): void {
    // Who has more goes to the end of the line, which is where this loop gets to in the end.
    for (const [reader, queue] of this.queues) {
      if (!this.hasRoom) return this.goOnLater();
      // The end of a page goes on with the next one.
      if (queue[0]?.kind === "page" && this.pages >= PAGES_AT_ONCE_MAX) continue;
      const next = queue.shift();
      this.queues.delete(reader);
      if (queue.length > 0) this.queues.set(reader, queue);
      this.waiting -= 1;
      next?.begin();
    }
  }
}
