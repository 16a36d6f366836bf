// Owns: what a client does when an attempt of a request ended without its result, and what it may say of the outcome.
// Does not own: time, connections. Also used by simulated clients.
import { ERRORS } from "../../base/error-catalog.ts";
import { AetherError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";
import { SECOND_MS } from "../../base/units.ts";

/**
 * What a second execution would do. `read` and `idempotent` may run again; `once` carries a request id, so that the
 * cluster runs it once however often it is sent; a `write` has none and is never sent twice.
 */
export type RequestEffect = "read" | "idempotent" | "once" | "write";

/** How much of a refusal is borne: `serve` asks elsewhere and waits out overload, `move` only asks elsewhere. */
export type Persistence = "serve" | "move" | "none";

export interface AttemptContext {
  readonly effect: RequestEffect;
  readonly persistence: Persistence;
  /** How many nodes have refused this request before, whatever for. */
  readonly refusals: number;
  /** Whether there is no other node to ask. */
  readonly isAlone: boolean;
}

/** `final`: the caller gets the error. */
export type Verdict =
  | { readonly kind: "final" }
  | { readonly kind: "again"; readonly where: "here" | "elsewhere"; readonly pauseMs: number };

const PAUSE_MS_MIN = 10;
const PAUSE_MS_MAX = 640;
/** So many nodes are asked one after the other without a pause: as many as most clusters have. */
const HURRIED_REFUSALS = 3;
/** First patience with one node, when another one may answer sooner; doubled with each attempt. */
const ATTEMPT_MS = 2 * SECOND_MS;
const ATTEMPT_MS_MAX = 60 * SECOND_MS;
/** An attempt that was refused is not made again with less time left, nor with less than twice what a refusal took. */
const LAST_ATTEMPT_MS_MIN = 20;

const FINAL: Verdict = { kind: "final" };

/** After a node answered with an error. */
export function judgeError(error: AetherError, context: AttemptContext, random: Random): Verdict {
  const { persistence, refusals, isAlone } = context;
  if (persistence === "none") return FINAL;
  if (isWithoutAnswer(error)) return mayRepeat(context.effect) ? elsewhere(refusals, random) : FINAL;
  if (error.outcome === "unknown") return FINAL;
  if (error.code === "E_OVERLOADED" && persistence === "serve") {
    return { kind: "again", where: "here", pauseMs: pauseMs(refusals, random) };
  }
  return ERRORS[error.code].retry === "elsewhere" && !isAlone ? elsewhere(refusals, random) : FINAL;
}

/** Whether a request that left, and whose answer never came, may be sent again. */
export function mayRepeat(effect: RequestEffect): boolean {
  return effect !== "write";
}

/** How long one node may take for this attempt: then another one is asked, if that is allowed at all. */
export function attemptMs(context: Pick<AttemptContext, "effect" | "persistence">, attempts: number): number {
  if (context.persistence === "none" || !mayRepeat(context.effect)) return Infinity;
  return Math.min(ATTEMPT_MS * 2 ** attempts, ATTEMPT_MS_MAX);
}

/**
 * Whether another attempt of a write that was refused may still be answered in time. One that the deadline cuts off
 * would leave the caller in doubt of what the refusal has made certain: that nothing was applied.
 */
export function isAnswerable(leftMs: number, slowestRefusalMs: number): boolean {
  return leftMs >= Math.max(LAST_ATTEMPT_MS_MIN, 2 * slowestRefusalMs);
}

/**
 * The error for the caller. An attempt that went without answer may still take effect, whatever became of later ones.
 */
export function finalError(what: string, error: AetherError, mayHaveRun: boolean): AetherError {
  if (!mayHaveRun || error.outcome === "unknown") return error;
  const message = `${what}: an attempt without answer may have been applied; the last one ended with: ${error.message}`;
  return new AetherError(error.code, message, { outcome: "unknown", details: error.details, cause: error });
}

/** The node knows no more of it than we do. */
function isWithoutAnswer({ code, outcome }: AetherError): boolean {
  return code === "E_TIMEOUT" || (code === "E_UNAVAILABLE" && outcome === "unknown");
}

function elsewhere(refusals: number, random: Random): Verdict {
  const isHurried = refusals < HURRIED_REFUSALS;
  return { kind: "again", where: "elsewhere", pauseMs: isHurried ? 0 : pauseMs(refusals - HURRIED_REFUSALS, random) };
}

// Half of it is random: those that were refused together must not come back together.
function pauseMs(refusals: number, random: Random): number {
  const wholeMs = Math.min(PAUSE_MS_MIN * 2 ** refusals, PAUSE_MS_MAX);
  return wholeMs / 2 + (random.next() * wholeMs) / 2;
}
