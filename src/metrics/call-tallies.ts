// Owns: counting the calls of one direction by method between two reports. Bounded: names come from callers.
import type { CallMeter, CallOutcome } from "../slices/host/call-meter.ts";
import { Histogram } from "../base/histogram.ts";
import type { CallDirection, MethodReport } from "./core/report.ts";

/** Methods that are counted apart; a method without calls between two reports makes room. */
export const TALLIES_MAX = 512;

interface Tally {
  readonly slice: string;
  readonly method: string;
  readonly durations: Histogram;
  errors: number;
}

export class CallTallies implements CallMeter {
  private readonly direction: CallDirection;
  private readonly bySlice = new Map<string, Map<string, Tally>>();
  private size = 0;
  private all = 0;
  private failed = 0;
  private refused = 0;
  private uncounted = 0;

  constructor(direction: CallDirection) {
    this.direction = direction;
  }

  /** Since the start, methods that were not counted apart included. */
  get totals(): { readonly calls: number; readonly errors: number; readonly refused: number } {
    return { calls: this.all, errors: this.failed, refused: this.refused };
  }

  note(slice: string, method: string, outcome: CallOutcome, ms: number): void {
    this.all += 1;
    if (outcome !== "ok") this.failed += 1;
    if (outcome === "refused") this.refused += 1;
    const tally = this.bySlice.get(slice)?.get(method) ?? this.add(slice, method);
    if (tally === undefined) return;
    tally.durations.add(ms);
    if (outcome !== "ok") tally.errors += 1;
  }

  /** What was counted since the last time; begins anew. `left`: calls of methods for which there was no room. */
  take(): { readonly methods: readonly MethodReport[]; readonly left: number } {
    const methods: MethodReport[] = [];
    for (const tallies of this.bySlice.values()) {
      for (const { slice, method, durations, errors } of tallies.values()) {
        methods.push({ slice, method, direction: this.direction, calls: durations.count, errors, durations });
      }
    }
    // The report keeps these; what was not called is not there any more.
    this.bySlice.clear();
    this.size = 0;
    const left = this.uncounted;
    this.uncounted = 0;
    return { methods, left };
  }

  private add(slice: string, method: string): Tally | undefined {
    if (this.size >= TALLIES_MAX) {
      this.uncounted += 1;
      return undefined;
    }
    this.size += 1;
    const tally: Tally = { slice, method, durations: new Histogram(), errors: 0 };
    const known = this.bySlice.get(slice);
    if (known === undefined) this.bySlice.set(slice, new Map([[method, tally]]));
    else known.set(method, tally);
    return tally;
  }
}
