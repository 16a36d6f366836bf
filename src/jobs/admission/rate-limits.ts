// Owns: that calls of this node keep the rates that the whole cluster has: each waits here for a token, in the order in
// which calls came. Does not own: filling the buckets (rate-refill.ts), and who asks (job-run.ts).
//
// Tokens are taken in small blocks, for calls that wait, and hold for a second from when they were asked for: what was
// taken by a node that then stood still is lost.
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import { toAetherError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Row, RowView } from "../../cluster/row-view.ts";
import type { Clock } from "../../env/clock.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { takeOf, type RateRow, type ToolRate } from "../core/flow/rate-bucket.ts";
import { parseRateRow } from "../core/rows.ts";
import type { JobsMetrics } from "../metrics.ts";
import { WaitingLines, type Served, type Waiter, type WaitingLinesEnv } from "./waiting-lines.ts";

export interface RateLimitsPorts {
  readonly kv: Pick<Kv, "get" | "transact">;
  readonly rates: Pick<RowView<RateRow>, "get" | "subscribe">;
  readonly metrics: Pick<JobsMetrics, "rateWaitSeconds">;
  readonly onFatal: (error: unknown) => void;
}

/** How long a token may be used, from when it was asked for. */
const BLOCK_MS = SECOND_MS;
/** Looks at a bucket that others change too, to give something back; then it is lost. */
const GIVE_BACK_TRIES = 5;
const GIVE_BACK_MS = 10;

interface WaitingCall extends Waiter {
  readonly rate: ToolRate;
  readonly count: number;
  readonly sinceMs: number;
  readonly done: Deferred<void>;
}

export class RateLimits {
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly ports: RateLimitsPorts;
  private readonly lines: WaitingLines<WaitingCall>;
  /** The rows as this node wrote them last, which its view may not show yet. */
  private readonly own = new Map<string, Pick<Row<RateRow>, "modRevision" | "value">>();

  constructor({ clock, random, telemetry }: WaitingLinesEnv, ports: RateLimitsPorts) {
    this.clock = clock;
    this.random = random.fork("rates of tools");
    this.ports = ports;
    this.lines = new WaitingLines("rates of tools", { clock, random: this.random, telemetry }, {
      serve: (name, waiters, closing) => this.serve(name, waiters, closing),
      onFatal: ports.onFatal,
    });
    ports.rates.subscribe(() => this.lines.notify());
  }

  /** Resolves when a call that takes so much may be made now; never when the signal aborts before. */
  take(rate: ToolRate, signal: AbortSignal, count = 1): Promise<void> {
    const done = createDeferred<void>();
    this.lines.join(rate.name, { rate, count, signal, sinceMs: this.clock.nowMs(), done });
    return done.promise;
  }

  /** A call has used so much less than it took, more when it is below zero. Lost where that does not succeed. */
  giveBack({ name }: ToolRate, unused: number): void {
    const { outage, scope } = this.lines;
    if (unused === 0 || scope.signal.aborted) return;
    scope.spawn("rate given back", async (signal) => {
      try {
        for (let tries = 0; tries < GIVE_BACK_TRIES; tries++) {
          if (await this.tryGiveBack(name, unused, signal)) return;
          await this.clock.sleep(this.random.below(GIVE_BACK_MS), signal);
        }
      } catch (error) {
        if (!signal.aborted) outage.noteFailure(toAetherError(error));
      }
    });
  }

  private async tryGiveBack(name: string, unused: number, signal: AbortSignal): Promise<boolean> {
    const key = formatKey({ kind: "job-rate", name });
    const { entry } = await this.ports.kv.get(key, { signal });
    if (entry === undefined) return true;
    const row = parseRateRow(entry.value);
    const value: RateRow = { ...row, tokens: Math.min(row.burst, row.tokens + unused) };
    const { succeeded } = await this.ports.kv.transact({
      compare: [unchanged(key, entry.modRevision)], then: [{ kind: "put", key, value }], else: [],
    }, { signal });
    return succeeded;
  }

  async close(): Promise<void> {
    await this.lines.close();
  }

  private async serve(name: string, waiters: WaitingCall[], signal: AbortSignal): Promise<Served> {
    const { kv, rates } = this.ports;
    const [first] = waiters;
    if (first === undefined) return "at-once";
    const { name: _name, ...settings } = first.rate;
    const key = formatKey({ kind: "job-rate", name });
    const seen = rates.get(key);
    const own = this.own.get(name);
    const known = (own?.modRevision ?? 0) > (seen?.modRevision ?? 0) ? own : seen;
    const row = rowFor(known?.value, settings);
    const taken = takeOf(row, waiters.map(({ count }) => count));
    if (taken.calls === 0 && row === known?.value) return "wait";
    const askedMs = this.clock.nowMs();
    const value: RateRow = { ...row, tokens: row.tokens - taken.tokens };
    const { succeeded, revision } = await kv.transact({
      compare: [unchanged(key, known?.modRevision ?? 0)],
      then: [{ kind: "put", key, value }],
      else: [],
    }, { signal });
    // Another node was faster: its change comes.
    if (!succeeded) return "wait";
    this.own.set(name, { modRevision: revision, value });
    if (this.clock.nowMs() - askedMs < BLOCK_MS) this.letGo(waiters, taken.calls);
    return "spread";
  }

  private letGo(waiters: WaitingCall[], count: number): void {
    for (let left = count; left > 0;) {
      const next = waiters.shift();
      if (next === undefined) return;
      // Another one may take its turn, unless that would take more.
      if (next.signal.aborted && next.count === 1) continue;
      left -= 1;
      if (next.signal.aborted) continue;
      this.ports.metrics.rateWaitSeconds.observe((this.clock.nowMs() - next.sinceMs) / SECOND_MS);
      next.done.resolve();
    }
  }
}

/** The row as it is, or with what the tool says by now; a new bucket is empty. */
function rowFor(row: RateRow | undefined, { perSecond, burst }: Omit<ToolRate, "name">): RateRow {
  if (row === undefined) return { perSecond, burst, tokens: 0 };
  if (row.perSecond === perSecond && row.burst === burst) return row;
  return { perSecond, burst, tokens: Math.min(row.tokens, burst) };
}
