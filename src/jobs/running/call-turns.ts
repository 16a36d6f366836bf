// Owns: what the calls of ONE run have of what the whole cluster shares: a place among those under way, and what they
// took of a rate until it is known what they used. Does not own: which limits a call has (core/flow/call-rates.ts).
import type { CallHolder, CallPlace, CallPlaces } from "../admission/call-places.ts";
import type { RateLimits } from "../admission/rate-limits.ts";
import type { RateTake } from "../core/flow/call-rates.ts";
import type { EffectId } from "../core/ids.ts";
import type { Plan, Rated } from "../core/run/plan.ts";

export interface CallTurnsPorts {
  readonly rates: Pick<RateLimits, "take" | "giveBack">;
  readonly places: Pick<CallPlaces, "take">;
}

export class CallTurns {
  private readonly ports: CallTurnsPorts;
  private readonly job: Pick<CallHolder, "ref" | "epoch">;
  private readonly signal: AbortSignal;
  private readonly places = new Map<EffectId, CallPlace>();
  /** What calls of models have taken of the tokens of a minute. */
  private readonly estimates = new Map<EffectId, RateTake>();

  /** `signal` aborts when the run is over. */
  constructor(ports: CallTurnsPorts, job: Pick<CallHolder, "ref" | "epoch">, signal: AbortSignal) {
    this.ports = ports;
    this.job = job;
    this.signal = signal;
  }

  /** Resolves when the call may be granted, or when the run is over. */
  async wait({ effectId, rates, limit }: Rated): Promise<void> {
    // The place first: calls that have taken of a rate and wait on would all be made at once later.
    const place = limit && await this.ports.places.take(limit, { ...this.job, effectId }, this.signal);
    if (this.signal.aborted) return place?.free();
    if (place !== undefined) this.places.set(effectId, place);
    for (const { rate, count } of rates) await this.ports.rates.take(rate, this.signal, count);
    const estimated = rates.find(({ isEstimate }) => isEstimate);
    if (estimated !== undefined) this.estimates.set(effectId, estimated);
  }

  /** The plan is in the store. */
  settle({ admitted, granted, tools, events }: Plan): void {
    for (const effectId of admitted) {
      // It waits for something else now.
      if (granted.every(({ row }) => row.effectId !== effectId)) this.free(effectId);
    }
    for (const { row } of tools) if (row.state !== "granted") this.free(row.effectId);
    for (const event of events) this.settleEstimate(event);
  }

  close(): void {
    for (const effectId of [...this.places.keys()]) this.free(effectId);
  }

  private free(effectId: EffectId): void {
    this.places.get(effectId)?.free();
    this.places.delete(effectId);
  }

  /** What a model took is known now, or that it was not asked. */
  private settleEstimate(event: Plan["events"][number]): void {
    if (event.type !== "tool.succeeded" && event.type !== "tool.failed") return;
    const taken = this.estimates.get(event.effectId);
    if (taken === undefined) return;
    this.estimates.delete(event.effectId);
    const usage = event.type === "tool.succeeded" ? event.usage : undefined;
    const used = usage === undefined ? 0 : usage.inputTokens + usage.outputTokens;
    this.ports.rates.giveBack(taken.rate, taken.count - used);
  }
}
