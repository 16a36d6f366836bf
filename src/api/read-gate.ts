// Owns: when the reads of one session begin. A few bytes can ask for a megabyte: reads that all began at once would
// fill the node's memory before the first answer leaves. So only some are under way, and none while the socket is full.
import type { Clock, Timer } from "../env/clock.ts";
import { SESSION_READS_MAX } from "./limits.ts";

/** How soon a full socket is looked at again. */
const RECHECK_MS = 5;

export interface ReadGatePorts {
  readonly clock: Clock;
  /** Whether answers wait for a client that does not take them. */
  isSocketFull(): boolean;
}

export class ReadGate {
  private readonly ports: ReadGatePorts;
  /** In the order they came. */
  private readonly waiting = new Map<number, () => void>();
  private underWay = 0;
  private recheck: Timer | undefined;

  constructor(ports: ReadGatePorts) {
    this.ports = ports;
  }

  /** Reads that have not begun. */
  get size(): number {
    return this.waiting.size;
  }

  /** Begins the read now or later; each that began ends with `leave`. */
  enter(id: number, begin: () => void): void {
    this.waiting.set(id, begin);
    this.admit();
  }

  /** A read has ended. */
  leave(): void {
    this.underWay--;
    this.admit();
  }

  /** Whether it was waiting: then it never begins. */
  forget(id: number): boolean {
    return this.waiting.delete(id);
  }

  close(): void {
    this.waiting.clear();
    this.recheck?.cancel();
  }

  private admit(): void {
    for (const [id, begin] of this.waiting) {
      if (this.underWay >= SESSION_READS_MAX) return;
      if (this.ports.isSocketFull()) {
        this.recheck ??= this.ports.clock.setTimer(RECHECK_MS, () => {
          this.recheck = undefined;
          this.admit();
        });
        return;
      }
      this.waiting.delete(id);
      this.underWay++;
      begin();
    }
  }
}
