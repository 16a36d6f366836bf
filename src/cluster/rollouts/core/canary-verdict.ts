// Owns: whether a canary goes on, waits or turns back, from how the calls of both versions went in the same step.
// The version before is the measure: what is slow or fails there as well is not the new version's doing.
import { SECOND_MS } from "../../../base/units.ts";
import type { CanarySettings } from "../../../sdk/rollout.ts";
import type { RolloutWait } from "../../../slices/core/blueprint-status.ts";
import { latencyP99Of, type VersionTally } from "./version-tally.ts";

export interface CanaryStep {
  readonly target: VersionTally;
  readonly previous: VersionTally;
  /** How long the target has had its share of the calls. */
  readonly heldForMs: number;
}

export type CanaryVerdict =
  | { readonly kind: "wait"; readonly wait: RolloutWait }
  | { readonly kind: "advance" }
  | { readonly kind: "turn-back"; readonly reason: string };

/** How much worse than the version before is too much, above the limits that the blueprint gives. */
const TIMES_PREVIOUS = 2;
/** One call that fails may be anybody's. */
const ERRORS_MIN = 3;
/** Of so few none went well: a step that has waited long enough for more takes that for an answer. */
const ALL_FAILED_MIN = 2;
/** Steps go on without calls after so many times their length. */
const PATIENCE_STEPS = 3;

export function canaryVerdict(step: CanaryStep, settings: CanarySettings): CanaryVerdict {
  const reason = errorReasonOf(step, settings) ?? latencyReasonOf(step, settings);
  if (reason !== undefined) return { kind: "turn-back", reason };
  const { target, heldForMs } = step;
  const { minCalls, stepMs } = settings;
  const isOver = heldForMs >= stepMs;
  if (target.calls < minCalls && !hasWaited(step, settings)) {
    const message = `${target.calls} of ${minCalls} calls of the new version so far; ` +
      `without more the step ends ${PATIENCE_STEPS * stepMs / SECOND_MS} s after it began`;
    return { kind: "wait", wait: { what: "calls", message, isLate: isOver } };
  }
  return isOver ? { kind: "advance" } : { kind: "wait", wait: timeWait("the step", heldForMs, stepMs) };
}

/** For what lasts so long whatever comes. */
export function timeWait(what: string, heldForMs: number, lastsMs: number): RolloutWait {
  const over = Math.floor(Math.max(0, heldForMs) / SECOND_MS);
  const message = `${what} lasts ${lastsMs / SECOND_MS} s, of which ${over} are over`;
  return { what: "time", message, isLate: false };
}

/** Whether it is not worth waiting any longer for calls. */
function hasWaited({ heldForMs }: CanaryStep, { stepMs }: CanarySettings): boolean {
  return heldForMs >= PATIENCE_STEPS * stepMs;
}

function errorReasonOf(step: CanaryStep, settings: CanarySettings): string | undefined {
  const { target, previous } = step;
  const before = previous.calls === 0 ? 0 : previous.errors / previous.calls;
  const limit = Math.max(settings.errorRateMax, TIMES_PREVIOUS * before);
  // Of few calls as many must have failed as would be too many of enough.
  const isTooMany = target.errors >= ERRORS_MIN && target.errors > limit * Math.max(target.calls, settings.minCalls);
  const isAll = target.errors === target.calls && target.calls >= ALL_FAILED_MIN && limit < 1;
  if (!isTooMany && !(isAll && hasWaited(step, settings))) return undefined;
  const rate = target.errors / target.calls;
  return `errors ${percent(rate)} of ${target.calls} calls, previous ${percent(before)} of ${previous.calls}; ` +
    `limit ${percent(limit)}`;
}

function latencyReasonOf({ target, previous }: CanaryStep, settings: CanarySettings): string | undefined {
  const found = latencyP99Of(target);
  if (target.calls < settings.minCalls || found === undefined) return undefined;
  const before = latencyP99Of(previous);
  const limitMs = Math.max(settings.p99MsMax, TIMES_PREVIOUS * (before?.toMs ?? 0));
  if (found.fromMs <= limitMs) return undefined;
  const was = before === undefined ? "not known" : `at most ${Math.round(before.toMs)} ms`;
  return `p99 at least ${Math.round(found.fromMs)} ms of ${target.calls} calls, previous ${was}; ` +
    `limit ${Math.round(limitMs)} ms`;
}

function percent(rate: number): string {
  return `${Math.round(rate * 1_000) / 10}%`;
}
