// Owns: what the clients of a chaos run did and were told. Checkers and the report judge it; they never ask the store.
import { performance } from "node:perf_hooks";
import type { RegisterAction, RegisterOperation } from "../sim/checkers/register-checker.ts";
import type { ListOperation } from "./checkers/list-checker.ts";

export type Outcome =
  | "ok"
  /** The store promised that it had no effect. */
  | "failed"
  /** It may have taken effect at any time after the call, or never. */
  | "unknown";

/** One operation as the report counts it. */
export interface Sample {
  readonly kind: "read" | "write";
  readonly outcome: Outcome;
  readonly startedMs: number;
  readonly endedMs: number;
  /** The code of what was thrown. */
  readonly code: string | undefined;
}

/** A call under way. */
export interface Call {
  readonly id: number;
  readonly called: number;
  readonly startedMs: number;
}

export class History {
  readonly startedMs = performance.now();
  readonly samples: Sample[] = [];
  readonly registers = new Map<string, RegisterOperation[]>();
  readonly lists = new Map<string, ListOperation[]>();
  /** Keys that were written once each, and what became of that. */
  readonly ledger = new Map<string, Outcome>();
  private stamp = 0;

  /** Stamps grow with every call and every answer, so that their order is the order of real time. */
  call(): Call {
    this.stamp += 1;
    return { id: this.stamp, called: this.stamp, startedMs: performance.now() };
  }

  /** Answers the stamp of the return. */
  returned(call: Call, kind: Sample["kind"], outcome: Outcome, code?: string): number {
    this.stamp += 1;
    this.samples.push({ kind, outcome, startedMs: call.startedMs, endedMs: performance.now(), code });
    return this.stamp;
  }

  addRegister(key: string, { id, called }: Call, returned: number | undefined, action: RegisterAction): void {
    const operations = this.registers.get(key) ?? [];
    operations.push({ id, called, returned, action });
    this.registers.set(key, operations);
  }

  addList(key: string, operation: ListOperation): void {
    const operations = this.lists.get(key) ?? [];
    operations.push(operation);
    this.lists.set(key, operations);
  }

  /** The longest time without any acknowledged operation in this span of time. */
  longestGapMs(fromMs: number, untilMs: number): number {
    const times = this.samples
      .filter(({ outcome, endedMs }) => outcome === "ok" && endedMs > fromMs && endedMs < untilMs)
      .map(({ endedMs }) => endedMs)
      .sort((a, b) => a - b);
    const edges = [fromMs, ...times, untilMs];
    return edges.reduce((longest, time, index) => Math.max(longest, time - (edges[index - 1] ?? time)), 0);
  }
}
