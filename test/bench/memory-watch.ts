// Owns: the resident memory of some processes over a stretch of time: where it began, its peak, where it ended.
import { residentBytes } from "./process-stats.ts";

const SAMPLE_MS = 100;
/** Median of so many last samples: one is noise. */
const LEVEL_SAMPLES = 20;
const MiB = 2 ** 20;

export class MemoryWatch {
  private readonly pids: Map<string, number>;
  private readonly samples = new Map<string, number[]>();
  private readonly levels = new Map<string, number>();
  private readonly timer: NodeJS.Timeout;

  constructor(pids: ReadonlyMap<string, number>) {
    this.pids = new Map(pids);
    this.timer = setInterval(() => this.sample(), SAMPLE_MS);
  }

  add(name: string, pid: number): void {
    this.pids.set(name, pid);
  }

  /** What follows is a new stretch; peaks are above the level reached now. */
  mark(): void {
    for (const [name, list] of this.samples) {
      this.levels.set(name, median(list.slice(-LEVEL_SAMPLES)));
      this.samples.set(name, []);
    }
  }

  report(): readonly string[] {
    return [...this.samples].map(([name, list]) => {
      const peak = list.reduce((highest, bytes) => Math.max(highest, bytes), 0);
      const level = this.levels.get(name);
      const from = level === undefined ? "" : `${show(level)} before, `;
      const extra = level === undefined ? "" : ` (+${show(Math.max(0, peak - level))})`;
      return `memory of ${name}: ${from}peak ${show(peak)}${extra}, ${show(median(list.slice(-LEVEL_SAMPLES)))} then`;
    });
  }

  close(): void {
    clearInterval(this.timer);
  }

  private sample(): void {
    for (const [name, pid] of this.pids) {
      const bytes = residentBytes(pid);
      if (bytes === undefined) continue;
      const list = this.samples.get(name) ?? [];
      list.push(bytes);
      this.samples.set(name, list);
    }
  }
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[list.length >> 1] ?? 0;
}

function show(bytes: number): string {
  return `${(bytes / MiB).toFixed(0)} MiB`;
}
