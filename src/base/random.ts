// Owns: what randomness looks like to everybody, and the seeded one: simulation and tests draw from it. A real node
// draws from the operating system (node/env-random-adapter.ts).
import { crc32 } from "./digest.ts";

/** A stream of random numbers. Each consumer forks its own, so that adding one shifts no other. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, below). */
  below(below: number): number;
  fork(label: string): Random;
}

/** mulberry32: 32 bits of state, more than good enough for jitter, ids of test data and fault schedules. */
export class SeededRandom implements Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  fork(label: string): Random {
    return new SeededRandom(crc32(new TextEncoder().encode(label), (this.state ^ 0x9e3779b9) >>> 0));
  }
}
