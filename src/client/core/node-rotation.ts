// Owns: which node is tried next, and when: each once at once, then with growing pauses.
import type { Random } from "../../base/random.ts";

const PAUSE_MS_MIN = 50;
const PAUSE_MS_MAX = 2_000;

export interface Attempt {
  readonly url: string;
  readonly pauseMs: number;
}

export class NodeRotation {
  private readonly urls: readonly string[];
  private readonly random: Random;
  private position = 0;
  private failures = 0;

  constructor(urls: readonly string[], random: Random) {
    this.urls = urls;
    this.random = random;
  }

  /** The attempt that follows all failures so far. */
  next(): Attempt {
    const url = this.urls[this.position % this.urls.length] ?? "";
    return { url, pauseMs: this.pauseMs() };
  }

  /** The node of the last attempt did not serve. */
  fail(): void {
    this.failures++;
    this.position++;
  }

  /** The node of the last attempt serves. */
  succeed(): void {
    this.failures = 0;
  }

  // Half of the pause is random, so that the clients of a lost node do not come back as one wave.
  private pauseMs(): number {
    const rounds = Math.floor(this.failures / this.urls.length);
    if (rounds === 0) return 0;
    const pauseMs = Math.min(PAUSE_MS_MIN * 2 ** (rounds - 1), PAUSE_MS_MAX);
    return pauseMs / 2 + (this.random.next() * pauseMs) / 2;
  }
}
