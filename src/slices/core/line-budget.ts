// Owns: how many lines may be written in each second, and how many were left out.
import { SECOND_MS } from "../../base/units.ts";

export class LineBudget {
  private readonly linesPerSecondMax: number;
  private secondSinceMs = Number.NEGATIVE_INFINITY;
  private lines = 0;
  private linesLeftOut = 0;

  constructor(linesPerSecondMax: number) {
    this.linesPerSecondMax = linesPerSecondMax;
  }

  /** Whether these lines may still be written now; they are counted as left out if not. */
  take(nowMs: number, lines = 1): boolean {
    if (nowMs - this.secondSinceMs >= SECOND_MS) {
      this.secondSinceMs = nowMs;
      this.lines = 0;
    }
    // A burst above the whole budget passes once: it is bounded by whoever counted its lines.
    const isOver = this.lines >= this.linesPerSecondMax;
    if (isOver) this.linesLeftOut += lines;
    else this.lines += lines;
    return !isOver;
  }

  noteLeftOut(lines: number): void {
    this.linesLeftOut += lines;
  }

  /** The lines left out since the last time this was asked. */
  takeLeftOut(): number {
    const lines = this.linesLeftOut;
    this.linesLeftOut = 0;
    return lines;
  }
}
