// Owns: which node is tried next, and when: each once at once, in a random order, then with growing pauses.
// Does not own: connections. Addresses come from the caller and, later, from the cluster itself.
import type { Random } from "../../base/random.ts";

const PAUSE_MS_MIN = 50;
const PAUSE_MS_MAX = 2_000;
/** Addresses kept at once; a cluster has far fewer nodes. */
export const KNOWN_NODES_MAX = 256;

export interface NodeChoice {
  readonly url: string;
  readonly pauseMs: number;
}

export class NodeDirectory {
  private readonly given: readonly string[];
  private readonly random: Random;
  /** What the cluster said last of its nodes; the addresses given at first may be of nodes that are long gone. */
  private learned: readonly string[] = [];
  /** Not yet tried in this round, the next one last. */
  private round: string[];
  /** Rounds in which no node served. */
  private lostRounds = 0;
  /** The node that served last, while the round is as it was made for it. */
  private serving: string | undefined;

  constructor(given: readonly string[], random: Random) {
    this.given = [...new Set(given)].slice(0, KNOWN_NODES_MAX);
    this.random = random;
    this.round = this.newRound();
  }

  /** Whether there is no second node to go to. */
  get isAlone(): boolean {
    return this.known().length === 1;
  }

  /** Takes the next node of the round; when all were tried, a new round begins after a pause. */
  next(): NodeChoice {
    this.serving = undefined;
    if (this.round.length === 0) {
      this.lostRounds++;
      this.round = this.newRound();
    }
    return { url: this.round.pop() ?? "", pauseMs: this.pauseMs() };
  }

  /** This node serves. When it stops doing so, every other one is tried before it. */
  succeed(url: string): void {
    // Each answer says so.
    if (this.serving === url) return;
    this.serving = url;
    this.lostRounds = 0;
    this.round = [url, ...this.newRound().filter((other) => other !== url)];
  }

  /** The addresses of the cluster's nodes, as one of them sees it. */
  learn(urls: readonly string[]): void {
    const learned = [...new Set(urls)].slice(0, KNOWN_NODES_MAX);
    const isNews = learned.length !== this.learned.length || learned.some((url) => !this.learned.includes(url));
    if (!isNews) return;
    this.serving = undefined;
    this.learned = learned;
    const known = this.known();
    const kept = this.round.filter((url) => known.includes(url));
    this.round = [...kept, ...this.shuffled(learned.filter((url) => !kept.includes(url)))];
  }

  private known(): readonly string[] {
    return [...new Set([...this.learned, ...this.given])];
  }

  // What the cluster says of itself is newer than what the caller once wrote down: it is tried first.
  private newRound(): string[] {
    const older = this.given.filter((url) => !this.learned.includes(url));
    return [...this.shuffled(older), ...this.shuffled(this.learned)];
  }

  private shuffled(urls: readonly string[]): string[] {
    const rest = [...urls];
    const shuffled: string[] = [];
    while (rest.length > 0) shuffled.push(...rest.splice(this.random.below(rest.length), 1));
    return shuffled;
  }

  // Half of the pause is random, so that the clients of a lost node do not come back as one wave.
  private pauseMs(): number {
    if (this.lostRounds === 0) return 0;
    const pauseMs = Math.min(PAUSE_MS_MIN * 2 ** (this.lostRounds - 1), PAUSE_MS_MAX);
    return pauseMs / 2 + (this.random.next() * pauseMs) / 2;
  }
}
