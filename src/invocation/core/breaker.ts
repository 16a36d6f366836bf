// Owns: the breaker of one endpoint: whether this node trusts it with calls, and what each event changes about that.
// Does not own: what counts as a failure (attempt-verdict.ts), which endpoint is picked (pick-endpoint.ts). A breaker
// never refuses a call: it only says which endpoints to prefer.
//
// closed ── too many of the last results failed ──► open ── its time is over, one call probes ──► half-open
//  ▲                                                 ▲                                                │
//  └──────────── the probe was answered ─────────────┼────────────── the probe failed ────────────────┘
import { unreachable } from "../../base/assert.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Effect } from "./retry-policy.ts";

export type BreakerState =
  | {
      readonly kind: "closed";
      /** The last `RESULTS_MAX` results as bits, the newest lowest; 1 is a failure. */
      readonly failures: number;
      readonly failedAtMs: number;
    }
  | { readonly kind: "open"; readonly openMs: number; readonly untilMs: number }
  /** One call is to show whether it works again; if that takes too long, another one may. */
  | { readonly kind: "half-open"; readonly openMs: number; readonly probeUntilMs: number };

/** `begin`: a call is sent there. The others: how it ended; `probe-…` when it was the one that made it half-open. */
export type BreakerEvent =
  | "begin"
  | "ok" | "failed" | "neutral"
  | "probe-ok" | "probe-failed" | "probe-neutral";

/** What a breaker advises to who looks for an endpoint. */
export type Standing = "use" | "probe" | "avoid";

/** Results that count. */
export const RESULTS_MAX = 20;
/** So many failures in a row open it, and as well half of the results. */
const FAILURES_IN_A_ROW = 5;
/** Failures with no other for this long after them are forgotten. */
const FAILURES_KEPT_MS = 10 * SECOND_MS;
/** An endpoint is avoided for this long, doubling with each failed probe. */
const OPEN_MS_FIRST = SECOND_MS;
export const OPEN_MS_MAX = 30 * SECOND_MS;

export const CLOSED: BreakerState = { kind: "closed", failures: 0, failedAtMs: 0 };

const ALL_RESULTS = 2 ** RESULTS_MAX - 1;
const LATEST_RESULTS = 2 ** FAILURES_IN_A_ROW - 1;

type Of<K extends BreakerState["kind"]> = Extract<BreakerState, { readonly kind: K }>;
type Row<K extends BreakerState["kind"]> = Readonly<
  Record<BreakerEvent, (state: Of<K>, nowMs: number) => BreakerState>
>;

const stay = (state: BreakerState): BreakerState => state;

const WHEN_CLOSED: Row<"closed"> = {
  begin: stay,
  ok: noteOk,
  failed: noteFailure,
  neutral: stay,
  // A second probe that ends after the first one closed the breaker is a result like any other.
  "probe-ok": noteOk,
  "probe-failed": noteFailure,
  "probe-neutral": stay,
};

const WHEN_OPEN: Row<"open"> = {
  begin: (state, nowMs) =>
    nowMs < state.untilMs ? state : { kind: "half-open", openMs: state.openMs, probeUntilMs: nowMs + state.openMs },
  // Calls that were under way already, or that had no other endpoint to go to: only a probe decides.
  ok: stay,
  failed: stay,
  neutral: stay,
  "probe-ok": stay,
  "probe-failed": stay,
  "probe-neutral": stay,
};

const WHEN_HALF_OPEN: Row<"half-open"> = {
  begin: (state, nowMs) => (nowMs < state.probeUntilMs ? state : { ...state, probeUntilMs: nowMs + state.openMs }),
  ok: stay,
  failed: stay,
  neutral: stay,
  "probe-ok": () => CLOSED,
  "probe-failed": (state, nowMs) => openFor(Math.min(state.openMs * 2, OPEN_MS_MAX), nowMs),
  // It said nothing: the next call is a probe again.
  "probe-neutral": (state, nowMs) => ({ kind: "open", openMs: state.openMs, untilMs: nowMs }),
};

/** The same object when nothing changes. */
export function stepBreaker(state: BreakerState, event: BreakerEvent, nowMs: number): BreakerState {
  switch (state.kind) {
    case "closed":
      return WHEN_CLOSED[event](state, nowMs);
    case "open":
      return WHEN_OPEN[event](state, nowMs);
    case "half-open":
      return WHEN_HALF_OPEN[event](state, nowMs);
    default:
      return unreachable(state);
  }
}

/**
 * A `write` that is not answered stays in doubt, a read is simply sent elsewhere: so writes leave the probing to
 * others for as long again as the breaker was open.
 */
export function standingOf(state: BreakerState, effect: Effect, nowMs: number): Standing {
  if (state.kind === "closed") return "use";
  const dueMs = state.kind === "open" ? state.untilMs : state.probeUntilMs;
  return nowMs < dueMs + (effect === "write" ? state.openMs : 0) ? "avoid" : "probe";
}

function noteOk(state: Of<"closed">, nowMs: number): BreakerState {
  const { failures, failedAtMs } = state;
  // The usual case, which costs nothing.
  if (failures === 0) return state;
  return {
    kind: "closed",
    failures: isForgotten(state, nowMs) ? 0 : (failures << 1) & ALL_RESULTS,
    failedAtMs,
  };
}

function noteFailure(state: Of<"closed">, nowMs: number): BreakerState {
  const failures = ((isForgotten(state, nowMs) ? 0 : state.failures << 1) | 1) & ALL_RESULTS;
  const isRow = (failures & LATEST_RESULTS) === LATEST_RESULTS;
  if (isRow || countBits(failures) * 2 >= RESULTS_MAX) return openFor(OPEN_MS_FIRST, nowMs);
  return { kind: "closed", failures, failedAtMs: nowMs };
}

function isForgotten({ failedAtMs }: Of<"closed">, nowMs: number): boolean {
  return nowMs - failedAtMs >= FAILURES_KEPT_MS;
}

function openFor(openMs: number, nowMs: number): BreakerState {
  return { kind: "open", openMs, untilMs: nowMs + openMs };
}

function countBits(bits: number): number {
  let count = 0;
  for (let left = bits; left !== 0; left &= left - 1) count += 1;
  return count;
}
