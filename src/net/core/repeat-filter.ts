// Owns: saying the same thing once, and again only after a while.

/** Logs of retries pass through here: the first of a kind is said, its repeats only once per interval. */
export class RepeatFilter {
  private readonly saidMs = new Map<string, number>();
  private readonly intervalMs: number;
  private readonly keysMax: number;

  constructor(intervalMs: number, keysMax: number) {
    this.intervalMs = intervalMs;
    this.keysMax = keysMax;
  }

  shouldSay(key: string, nowMs: number): boolean {
    const before = this.saidMs.get(key);
    if (before !== undefined && nowMs - before < this.intervalMs) return false;
    this.saidMs.delete(key);
    this.saidMs.set(key, nowMs);
    if (this.saidMs.size > this.keysMax) this.forgetOldest();
    return true;
  }

  /** What was said under keys that begin with `prefix` is settled: its next occurrence is news. */
  forget(prefix: string): void {
    for (const key of this.saidMs.keys()) {
      if (key.startsWith(prefix)) this.saidMs.delete(key);
    }
  }

  private forgetOldest(): void {
    for (const key of this.saidMs.keys()) {
      this.saidMs.delete(key);
      return;
    }
  }
}
