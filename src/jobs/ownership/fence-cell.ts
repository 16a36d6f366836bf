// Owns: memory that a node shares with the workers of its agents: until when, and under which number, they may act on
// the world. A worker reads it right before it does, so that a process which stood still finds its time over before
// anybody could have told it. And what time it is, since the clock of the machine may be off.
// Does not own: how long that is (core/life/ownership.ts), and which time (cluster/membership).
import { present } from "../../base/assert.ts";

/** Milliseconds by a clock that all threads of a process share and that goes on while the process stands still. */
export type ThreadsClock = () => number;

const UNTIL = 0;
const NUMBER = 1;
/** Wall time at the zero of the clock that threads share. */
const WALL = 2;
const CELLS = 3;
const MICROS = 1_000;

/** The node's side. */
export class FenceCell {
  /** For the start data of workers. */
  readonly shared = new SharedArrayBuffer(CELLS * BigInt64Array.BYTES_PER_ELEMENT);
  private readonly cells = new BigInt64Array(this.shared);

  /** The number of the fence: what was granted under an earlier one is not dispatched any more. */
  get number(): number {
    return Number(Atomics.load(this.cells, NUMBER));
  }

  extendUntil(threadsMs: number): void {
    Atomics.store(this.cells, UNTIL, BigInt(Math.floor(threadsMs * MICROS)));
  }

  /** Workers count on from here, whatever becomes of the machine's own clock. */
  setWall(wallMs: number, threadsNowMs: number): void {
    Atomics.store(this.cells, WALL, BigInt(Math.floor((wallMs - threadsNowMs) * MICROS)));
  }

  /** Ends what may be done now, and begins another number. */
  replace(): void {
    Atomics.store(this.cells, UNTIL, 0n);
    Atomics.add(this.cells, NUMBER, 1n);
  }
}

/** The worker's side. */
export class FenceReader {
  private readonly cells: BigInt64Array;
  private readonly threadsNowMs: ThreadsClock;

  constructor(shared: SharedArrayBuffer, threadsNowMs: ThreadsClock) {
    this.cells = new BigInt64Array(shared);
    present(this.cells[WALL], "the memory of a fence has all of its cells");
    this.threadsNowMs = threadsNowMs;
  }

  /** The time that the node has; undefined before it has said so. */
  wallMs(): number | undefined {
    const atZero = Atomics.load(this.cells, WALL);
    return atZero === 0n ? undefined : Math.floor(Number(atZero) / MICROS + this.threadsNowMs());
  }

  /** Whether what was granted under this number may be done now. */
  mayAct(fence: number): boolean {
    const now = BigInt(Math.ceil(this.threadsNowMs() * MICROS));
    return Atomics.load(this.cells, NUMBER) === BigInt(fence) && now < Atomics.load(this.cells, UNTIL);
  }
}
