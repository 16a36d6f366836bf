// Owns: the two clocks of one simulated computer, which may run fast or slow and may jump.
// Does not own: timers (sim-clock.ts).

const WALL_ORIGIN_MS = 1_700_000_000_000;

export class HardwareClock {
  /** How many milliseconds this clock counts in one of the world's. */
  rate = 1;
  private readonly worldNowMs: () => number;
  private baseMs = 0;
  private sinceMs = 0;
  private wallOffsetMs: number;

  constructor(worldNowMs: () => number, wallSkewMs: number) {
    this.worldNowMs = worldNowMs;
    this.wallOffsetMs = WALL_ORIGIN_MS + wallSkewMs;
  }

  /** Monotonic, with an origin of its own. */
  get nowMs(): number {
    return this.baseMs + (this.worldNowMs() - this.sinceMs) * this.rate;
  }

  get wallMs(): number {
    return this.wallOffsetMs + this.nowMs;
  }

  setRate(rate: number): void {
    this.baseMs = this.nowMs;
    this.sinceMs = this.worldNowMs();
    this.rate = rate;
  }

  /** Only forward: the time of a computer that slept. */
  jumpMonotonic(byMs: number): void {
    this.baseMs += Math.max(0, byMs);
  }

  jumpWall(byMs: number): void {
    this.wallOffsetMs += byMs;
  }
}
