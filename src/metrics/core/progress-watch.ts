// Owns: whether work goes on: what was accepted and is not applied, jobs that nobody runs, calls that nobody resolves.
// A role says nothing of that: a leader may be active, accept, and do nothing.
// M5  Only this node's own standstill in applying makes it unready; the rest is told, and its reads and writes go on.
import { MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import type { Facts } from "./facts.ts";

export type StallKind = "apply" | "runnable-job" | "unknown-effect";

/** Work that has not gone on for longer than it should. */
export interface Stall {
  readonly kind: StallKind;
  /** How long it has not. */
  readonly forMs: number;
  /** One sentence for people. */
  readonly text: string;
}

/** A disk that stands still for so long, or a queue. */
export const APPLY_STALL_MS = 10 * SECOND_MS;
export const RUNNABLE_STALL_MS = 5 * MINUTE_MS;
/** Somebody has to look at it: by then nobody does. */
export const UNKNOWN_STALL_MS = 10 * MINUTE_MS;

export interface ApplyState {
  /** Slots that are applied here, and that are known to be decided. */
  readonly applied: number;
  readonly decided: number;
  /** Commands that were accepted here and are not answered. */
  readonly pendingCommands: number;
  /** It fetches what it misses: applying waits for that. */
  readonly isCatchingUp: boolean;
}

/** How long nothing was applied although there was something to apply. */
export class ApplyProgress {
  private applied = -1;
  private movedMs = 0;

  note({ applied, decided, pendingCommands, isCatchingUp }: ApplyState, nowMs: number): number {
    const hasWork = !isCatchingUp && (decided > applied || pendingCommands > 0);
    if (applied !== this.applied || !hasWork) this.movedMs = nowMs;
    this.applied = applied;
    return nowMs - this.movedMs;
  }
}

/** What stands still, by what a node says of itself. */
export function stallsOf(facts: Facts): readonly Stall[] {
  const { applyStalledMs = 0, unappliedSlots = 0, pendingCommands = 0 } = facts;
  const { oldestRunnableMs = 0, oldestUnknownMs = 0 } = facts;
  const found: Stall[] = [];
  if (applyStalledMs >= APPLY_STALL_MS) {
    const what = `${unappliedSlots} slots are decided and ${pendingCommands} commands wait for an answer`;
    const text = `this node has applied nothing for ${seconds(applyStalledMs)}, although ${what}`;
    found.push({ kind: "apply", forMs: applyStalledMs, text });
  }
  if (oldestRunnableMs >= RUNNABLE_STALL_MS) {
    const text = `a job has waited ${seconds(oldestRunnableMs)} for a node to run it`;
    found.push({ kind: "runnable-job", forMs: oldestRunnableMs, text });
  }
  if (oldestUnknownMs >= UNKNOWN_STALL_MS) {
    const text = `a job has waited ${seconds(oldestUnknownMs)} for somebody to say what became of a call`;
    found.push({ kind: "unknown-effect", forMs: oldestUnknownMs, text });
  }
  return found;
}

function seconds(ms: number): string {
  return `${Math.round(ms / SECOND_MS)} s`;
}
