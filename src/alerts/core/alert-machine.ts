// Owns: the life of one alert: about to fire, firing, over.
// L1  It fires only after its number has been too high for long enough, and is over only after it has been low enough
//     for long enough.
// L2  What is not known lets no time pass, in either direction; after a long while of it nothing is claimed any more.
// Time comes as what has passed since the last look, so that the state means the same on another node.
import { MINUTE_MS } from "../../base/units.ts";
import type { AlertMark } from "../../metrics/core/leader-word.ts";

/** What rule and settings say. */
export interface AlertLimits {
  readonly threshold: number;
  /** Below it, it is over. */
  readonly clearBelow: number;
  readonly forMs: number;
  readonly clearForMs: number;
}

export type AlertInput =
  | { readonly kind: "value"; readonly value: number }
  | { readonly kind: "unknown" }
  /** What it is about is not there any more. */
  | { readonly kind: "gone" };

export type AlertState = Pick<AlertMark, "phase" | "heldMs" | "unknownMs" | "sinceMs" | "value">;

export interface AlertStep {
  /** Undefined: there is no alert. */
  readonly state: AlertState | undefined;
  readonly change?: "fired" | "cleared";
}

/** After so long without any number an alert is taken back. */
export const UNKNOWN_MS_MAX = 5 * MINUTE_MS;

const NONE: AlertStep = { state: undefined };
const CLEARED: AlertStep = { state: undefined, change: "cleared" };

/** `wallMs`: for people, when something begins. */
export function stepAlert(
  before: AlertState | undefined, input: AlertInput, limits: AlertLimits, time: { passedMs: number; wallMs: number },
): AlertStep {
  if (before === undefined) return input.kind === "value" ? begin(input.value, limits, time.wallMs) : NONE;
  const over = before.phase === "firing" ? CLEARED : NONE;
  if (input.kind === "gone") return over;
  if (input.kind === "unknown") {
    const unknownMs = before.unknownMs + time.passedMs;
    return unknownMs >= UNKNOWN_MS_MAX ? over : { state: { ...before, unknownMs } };
  }
  const known = { ...before, unknownMs: 0, value: input.value };
  return before.phase === "pending" ? stepPending(known, limits, time) : stepFiring(known, limits, time.passedMs);
}

function begin(value: number, { threshold, forMs }: AlertLimits, sinceMs: number): AlertStep {
  if (value < threshold) return NONE;
  const state: AlertState = { phase: "pending", heldMs: 0, unknownMs: 0, sinceMs, value };
  return forMs <= 0 ? { state: { ...state, phase: "firing" }, change: "fired" } : { state };
}

function stepPending(
  state: AlertState, { threshold, forMs }: AlertLimits, { passedMs, wallMs }: { passedMs: number; wallMs: number },
): AlertStep {
  if (state.value < threshold) return NONE;
  const heldMs = state.heldMs + passedMs;
  if (heldMs < forMs) return { state: { ...state, heldMs } };
  return { state: { ...state, phase: "firing", heldMs: 0, sinceMs: wallMs }, change: "fired" };
}

function stepFiring(state: AlertState, { clearBelow, clearForMs }: AlertLimits, passedMs: number): AlertStep {
  if (state.value >= clearBelow) return { state: { ...state, heldMs: 0 } };
  const heldMs = state.heldMs + passedMs;
  return heldMs >= clearForMs ? CLEARED : { state: { ...state, heldMs } };
}
