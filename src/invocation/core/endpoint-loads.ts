// Owns: what this node knows of each endpoint from its own calls: how many are in flight there, how long they take,
// and its breaker. Does not own: the rules of the breaker (breaker.ts), what an attempt says (attempt-verdict.ts).
import { unreachable } from "../../base/assert.ts";
import type { Endpoint } from "../../cluster/endpoints/endpoint-lookup.ts";
import type { Verdict } from "./attempt-verdict.ts";
import { CLOSED, standingOf, stepBreaker, type BreakerEvent, type BreakerState, type Standing } from "./breaker.ts";

export interface EndpointLoad {
  readonly inFlight: number;
  /** Smoothed and aged; undefined when nothing is known. */
  readonly latencyMs: number | undefined;
}

/** One attempt under way. */
export interface AttemptTicket {
  readonly endpoint: Endpoint;
  readonly startMs: number;
  /** Whether the breaker waits for this one. */
  readonly isProbe: boolean;
}

/** What became of a breaker; undefined when it is as it was. */
export type BreakerChange = "opened" | "closed" | undefined;

interface Entry {
  inFlight: number;
  latencyMs: number | undefined;
  measuredMs: number;
  /** Smoothed, of answers only: a failure says nothing about what is usual. */
  usualMs: number | undefined;
  breaker: BreakerState;
}

const IDLE: EndpointLoad = { inFlight: 0, latencyMs: undefined };
/** Weight of a new measurement. */
const SMOOTHING = 0.2;
/** A measurement loses half of its weight in this time, so that a slow endpoint is tried again. */
const HALF_LIFE_MS = 10_000;
/** A failure counts as an answer that took so many times as long as usual: failing fast must not attract calls. */
const FAILURE_FACTOR = 10;
/** What an endpoint that never answered is assumed to take usually. */
const USUAL_MS_ASSUMED = 1;
/** Instances seen by one node; beyond it the idle ones are forgotten. */
const ENTRIES_MAX = 10_000;

export class EndpointLoads {
  private readonly entries = new Map<string, Entry>();
  /** Endpoints whose breaker is not closed. */
  private readonly broken = new Map<string, Endpoint>();

  /** Breakers that are open or half-open. */
  get brokenCount(): number {
    return this.broken.size;
  }

  loadOf(endpoint: Endpoint, nowMs: number): EndpointLoad {
    const entry = this.entries.get(endpoint.id);
    if (entry === undefined) return IDLE;
    return { inFlight: entry.inFlight, latencyMs: agedLatency(entry, nowMs) };
  }

  /** What an answer from there takes; undefined while there was none. */
  usualMsOf({ id }: Endpoint): number | undefined {
    return this.entries.get(id)?.usualMs;
  }

  standingOf(endpoint: Endpoint, nowMs: number): Standing {
    // As a rule none is broken, and then nothing has to be looked up.
    if (this.broken.size === 0) return "use";
    const entry = this.entries.get(endpoint.id);
    return entry === undefined ? "use" : standingOf(entry.breaker, endpoint.effect, nowMs);
  }

  begin(endpoint: Endpoint, nowMs: number): AttemptTicket {
    const entry = this.entryOf(endpoint);
    entry.inFlight += 1;
    const before = entry.breaker;
    entry.breaker = stepBreaker(before, "begin", nowMs);
    return { endpoint, startMs: nowMs, isProbe: entry.breaker !== before };
  }

  end({ endpoint, startMs, isProbe }: AttemptTicket, verdict: Verdict, nowMs: number): BreakerChange {
    const entry = this.entries.get(endpoint.id);
    if (entry === undefined) return undefined;
    entry.inFlight -= 1;
    measure(entry, verdict, { tookMs: nowMs - startMs, nowMs });
    const before = entry.breaker;
    entry.breaker = stepBreaker(before, eventOf(verdict, isProbe), nowMs);
    return this.noteBreaker(endpoint, entry, before);
  }

  /** Forgets the broken endpoints that are not there any more: what comes back under their name is another life. */
  forgetBroken(isThere: (endpoint: Endpoint) => boolean): void {
    for (const endpoint of this.broken.values()) {
      if (isThere(endpoint)) continue;
      this.broken.delete(endpoint.id);
      const entry = this.entries.get(endpoint.id);
      if (entry === undefined) continue;
      entry.breaker = CLOSED;
      entry.latencyMs = undefined;
    }
  }

  private entryOf({ id }: Endpoint): Entry {
    const known = this.entries.get(id);
    if (known !== undefined) return known;
    if (this.entries.size >= ENTRIES_MAX) this.forgetIdle();
    const entry: Entry = { inFlight: 0, latencyMs: undefined, measuredMs: 0, usualMs: undefined, breaker: CLOSED };
    this.entries.set(id, entry);
    return entry;
  }

  private noteBreaker(endpoint: Endpoint, entry: Entry, before: BreakerState): BreakerChange {
    if (entry.breaker.kind === before.kind) return undefined;
    if (entry.breaker.kind === "closed") {
      // It starts anew with the others: what its failures counted for would keep calls away long after.
      entry.latencyMs = undefined;
      this.broken.delete(endpoint.id);
      return "closed";
    }
    if (before.kind !== "closed") return undefined;
    this.broken.set(endpoint.id, endpoint);
    return "opened";
  }

  private forgetIdle(): void {
    for (const [id, entry] of this.entries) {
      if (entry.inFlight === 0 && entry.breaker.kind === "closed") this.entries.delete(id);
    }
  }
}

function measure(entry: Entry, verdict: Verdict, { tookMs, nowMs }: { tookMs: number; nowMs: number }): void {
  // A handler's failure is quick, or slow, for reasons of its own.
  if (verdict === "neutral" || verdict === "handled") return;
  const hasFailed = verdict === "failed";
  if (!hasFailed) entry.usualMs = smoothed(entry.usualMs, tookMs);
  const usualMs = entry.usualMs ?? USUAL_MS_ASSUMED;
  const before = agedLatency(entry, nowMs) ?? (hasFailed ? usualMs : undefined);
  entry.latencyMs = smoothed(before, hasFailed ? Math.max(tookMs, FAILURE_FACTOR * usualMs) : tookMs);
  entry.measuredMs = nowMs;
}

function smoothed(before: number | undefined, measured: number): number {
  return before === undefined ? measured : before + (measured - before) * SMOOTHING;
}

function eventOf(verdict: Verdict, isProbe: boolean): BreakerEvent {
  switch (verdict) {
    case "answered":
    case "handled":
      return isProbe ? "probe-ok" : "ok";
    case "failed":
      return isProbe ? "probe-failed" : "failed";
    case "neutral":
      return isProbe ? "probe-neutral" : "neutral";
    default:
      return unreachable(verdict);
  }
}

function agedLatency(entry: Entry, nowMs: number): number | undefined {
  if (entry.latencyMs === undefined) return undefined;
  return entry.latencyMs * 0.5 ** ((nowMs - entry.measuredMs) / HALF_LIFE_MS);
}
