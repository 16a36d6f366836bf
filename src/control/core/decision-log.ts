// Owns: the latest decisions of this node, for people. What is decided alike again and again is one entry that counts.
import type { Decision } from "./advice.ts";

export interface LoggedDecision {
  readonly decision: Decision;
  /** Of the first and the last time; wall time. */
  readonly atMs: number;
  readonly lastMs: number;
  readonly times: number;
}

/** Entries kept; the oldest go. */
export const DECISIONS_KEPT_MAX = 200;

export class DecisionLog {
  private entries: LoggedDecision[] = [];
  /** The last entry of each slice and source. */
  private readonly latest = new Map<string, LoggedDecision>();

  /** Whether it says something new. */
  add(decision: Decision, atMs: number): boolean {
    const key = `${decision.slice} ${decision.source}`;
    const before = this.latest.get(key);
    if (before !== undefined && isAlike(before.decision, decision)) {
      this.replace(before, { ...before, lastMs: atMs, times: before.times + 1 }, key);
      return false;
    }
    const entry = { decision, atMs, lastMs: atMs, times: 1 };
    this.latest.set(key, entry);
    this.entries.push(entry);
    if (this.entries.length <= DECISIONS_KEPT_MAX) return true;
    const gone = this.entries.shift();
    for (const [name, one] of this.latest) if (one === gone) this.latest.delete(name);
    return true;
  }

  /** Oldest first. */
  list(): readonly LoggedDecision[] {
    return this.entries;
  }

  private replace(before: LoggedDecision, after: LoggedDecision, key: string): void {
    this.latest.set(key, after);
    this.entries[this.entries.indexOf(before)] = after;
  }
}

/** Reasons of the same kind have changing numbers in them. */
function isAlike(a: Decision, b: Decision): boolean {
  if (a.kind === "scale" || b.kind === "scale") return false;
  if (a.kind === "refused" && b.kind === "refused") return a.code === b.code;
  return a.kind === b.kind;
}
