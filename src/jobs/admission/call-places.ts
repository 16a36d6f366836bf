// Owns: that no more calls of a tool, or requests to a model, are under way in the whole cluster than may be. Each has
// a place, which is a row of the store, from before its grant until what became of it is recorded; those that wait on
// one node get theirs in the order in which they came. Does not own: which calls have a limit (flow/call-rates.ts).
//
// A place names its job and the epoch of the job's owner. Where that owner is not one any more the call is over, as far
// as anybody can tell, and whoever needs the place takes it: nobody has to see a node die.
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { NodeLife } from "../../cluster/core/rows.ts";
import type { Clock } from "../../env/clock.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import type { JobRef, PermitPlace } from "../../kvstore/core/job-key.ts";
import type { KeyText } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type { PermitLimit } from "../core/flow/permits.ts";
import { refOf, type EffectId } from "../core/ids.ts";
import { permitKey, rowKey } from "../core/life/job-keys.ts";
import { parseJobRow, type PermitRow } from "../core/rows.ts";
import type { JobsMetrics } from "../metrics.ts";
import type { PermitView, SeenPermit } from "./permit-view.ts";
import { WaitingLines, type Served, type Waiter, type WaitingLinesEnv } from "./waiting-lines.ts";

export interface CallPlacesPorts {
  readonly kv: Pick<Kv, "get" | "transact">;
  readonly permits: Pick<PermitView, "reserveOne" | "settle" | "seenOf" | "onChange">;
  readonly metrics: Pick<JobsMetrics, "rateWaitSeconds">;
  readonly onFatal: (error: unknown) => void;
}

/** Whose call it is. */
export interface CallHolder {
  readonly ref: JobRef;
  readonly epoch: number;
  readonly effectId: EffectId;
}

/** Kept until the call is over. */
export interface CallPlace {
  /** Once; in the background. */
  free(): void;
}

interface WaitingCall extends Waiter {
  readonly limit: PermitLimit;
  readonly holder: CallHolder;
  readonly sinceMs: number;
  readonly done: Deferred<CallPlace>;
}

export class CallPlaces {
  private readonly clock: Clock;
  private readonly ports: CallPlacesPorts;
  private readonly self: NodeLife;
  private readonly lines: WaitingLines<WaitingCall>;
  /** Places of calls that are under way here. */
  private readonly held = new Set<KeyText>();

  constructor({ clock, random, telemetry }: WaitingLinesEnv, ports: CallPlacesPorts, self: NodeLife) {
    this.clock = clock;
    this.ports = ports;
    this.self = self;
    const env = { clock, random: random.fork("places of calls"), telemetry };
    this.lines = new WaitingLines("places of calls", env, {
      serve: (_name, waiters, closing) => this.serve(waiters, closing),
      onFatal: ports.onFatal,
    });
    ports.permits.onChange(() => this.lines.notify());
  }

  /** Resolves when the call may be made; never when the signal aborts before. */
  take(limit: PermitLimit, holder: CallHolder, signal: AbortSignal): Promise<CallPlace> {
    const done = createDeferred<CallPlace>();
    this.lines.join(limit.name, { limit, holder, signal, sinceMs: this.clock.nowMs(), done });
    return done.promise;
  }

  async close(): Promise<void> {
    await this.lines.close();
  }

  private async serve(waiters: WaitingCall[], closing: AbortSignal): Promise<Served> {
    const [first] = waiters;
    if (first === undefined) return "at-once";
    const place = this.ports.permits.reserveOne(first.limit, first.holder.effectId);
    if (place === undefined) return await this.clearOne(first.limit, closing) ? "spread" : "wait";
    if (await this.seize(first, place, closing)) waiters.shift();
    return "at-once";
  }

  private async seize(waiter: WaitingCall, place: PermitPlace, signal: AbortSignal): Promise<boolean> {
    const { ref: { job }, epoch } = waiter.holder;
    const key = permitKey(place);
    const value: PermitRow = { job, epoch };
    let givenAt: number | undefined;
    try {
      const { succeeded, revision } = await this.ports.kv.transact({
        compare: [unchanged(key, 0)], then: [{ kind: "put", key, value }], else: [],
      }, { signal });
      // Another node was faster: its change comes.
      if (!succeeded) return false;
      givenAt = revision;
    } finally {
      this.ports.permits.settle([place], givenAt);
    }
    this.held.add(key);
    const held = this.holding(key, givenAt);
    if (waiter.signal.aborted) held.free();
    else {
      this.ports.metrics.rateWaitSeconds.observe((this.clock.nowMs() - waiter.sinceMs) / SECOND_MS);
      waiter.done.resolve(held);
    }
    return true;
  }

  private holding(key: KeyText, modRevision: number): CallPlace {
    return {
      free: () => {
        const { outage, scope } = this.lines;
        if (!this.held.delete(key) || scope.signal.aborted) return;
        scope.spawn("call place given back", async (closing) => {
          for (;;) {
            try {
              return await this.remove({ key, modRevision }, closing);
            } catch (error) {
              if (closing.aborted) return;
              await this.clock.sleep(outage.noteFailure(error), closing);
            }
          }
        });
      },
    };
  }

  /** Takes away a place that nobody has any more; false when there is none. */
  private async clearOne(limit: PermitLimit, signal: AbortSignal): Promise<boolean> {
    for (const seen of this.ports.permits.seenOf(limit)) {
      if (!await this.isLeft(seen, signal)) continue;
      await this.remove(seen, signal);
      return true;
    }
    return false;
  }

  private async isLeft({ key, value: { job, epoch } }: SeenPermit, signal: AbortSignal): Promise<boolean> {
    if (this.held.has(key)) return false;
    // Not older than what the view shows: both are of this node.
    const { entry } = await this.ports.kv.get(rowKey(refOf(job)), { consistency: "local", signal });
    if (entry === undefined) return true;
    const row = parseJobRow(entry.value);
    if (row.epoch !== epoch || row.status !== "running") return row.epoch >= epoch;
    // Its place was given, and nobody here heard of it: the answer was lost.
    const { owner } = row;
    return owner?.node === this.self.node && owner.incarnation === this.self.incarnation && !this.held.has(key);
  }

  private async remove(
    { key, modRevision }: Pick<SeenPermit, "key" | "modRevision">, signal: AbortSignal,
  ): Promise<void> {
    await this.ports.kv.transact({
      compare: [unchanged(key, modRevision)], then: [{ kind: "delete", key }], else: [],
    }, { signal });
  }
}
