// Owns: that calls of this node keep the rates that the whole cluster has: each waits here for a token, in the order in
// which calls came. Does not own: filling the buckets (rate-refill.ts), and who asks (job-run.ts).
//
// Tokens are taken in small blocks, for calls that wait, and hold for a second from when they were asked for: what was
// taken by a node that then stood still is lost.
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import { toAetherError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Row, RowView } from "../../cluster/row-view.ts";
import { StoreOutage } from "../../cluster/store-outage.ts";
import { Wake } from "../../cluster/wake.ts";
import type { Clock } from "../../env/clock.ts";
import type { Env } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { takeOf, type RateRow, type ToolRate } from "../core/flow/rate-bucket.ts";
import { parseRateRow } from "../core/rows.ts";
import type { JobsMetrics } from "../metrics.ts";

export interface RateLimitsPorts {
  readonly kv: Pick<Kv, "get" | "transact">;
  readonly rates: Pick<RowView<RateRow>, "get" | "subscribe">;
  readonly metrics: Pick<JobsMetrics, "rateWaitSeconds">;
  readonly onFatal: (error: unknown) => void;
}

/** How long a token may be used, from when it was asked for. */
const BLOCK_MS = SECOND_MS;
/** Nodes that wait for the same token do not all ask at once: each of them is the first one now and then. */
const SPREAD_MS = 10;
/** A look without a reason: what an outage left. */
const LOOK_EVERY_MS = SECOND_MS;

/** Looks at a bucket that others change too, to give something back; then it is lost. */
const GIVE_BACK_TRIES = 5;

interface Waiter {
  readonly rate: ToolRate;
  readonly count: number;
  readonly signal: AbortSignal;
  readonly sinceMs: number;
  readonly done: Deferred<void>;
}

interface Line {
  readonly waiters: Waiter[];
  readonly wake: Wake;
  /** The row as this node wrote it last, which its view may not show yet. */
  own?: Pick<Row<RateRow>, "modRevision" | "value">;
}

export class RateLimits {
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly ports: RateLimitsPorts;
  private readonly outage: StoreOutage;
  private readonly scope: TaskScope;
  /** Of rates that calls wait for: there is a task for each. */
  private readonly lines = new Map<string, Line>();

  constructor(env: Pick<Env, "clock" | "random" | "telemetry">, ports: RateLimitsPorts) {
    this.clock = env.clock;
    this.random = env.random.fork("rates of tools");
    this.ports = ports;
    this.outage = new StoreOutage(env.telemetry.log, "rates of tools");
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
    ports.rates.subscribe(() => {
      for (const { wake } of this.lines.values()) wake.notify();
    });
  }

  /** Resolves when a call that takes so much may be made now; never when the signal aborts before. */
  take(rate: ToolRate, signal: AbortSignal, count = 1): Promise<void> {
    const waiter = { rate, count, signal, sinceMs: this.clock.nowMs(), done: createDeferred<void>() };
    const line = this.lines.get(rate.name);
    if (line === undefined) {
      this.lines.set(rate.name, { waiters: [waiter], wake: new Wake(this.clock) });
      this.scope.spawn("rate", (closing) => this.serve(rate.name, closing));
    } else {
      line.waiters.push(waiter);
      line.wake.notify();
    }
    return waiter.done.promise;
  }

  /** A call has used so much less than it took, more when it is below zero. Lost where that does not succeed. */
  giveBack({ name }: ToolRate, unused: number): void {
    if (unused === 0 || this.scope.signal.aborted) return;
    this.scope.spawn("rate given back", async (signal) => {
      try {
        for (let tries = 0; tries < GIVE_BACK_TRIES; tries++) {
          if (await this.tryGiveBack(name, unused, signal)) return;
          await this.clock.sleep(this.random.below(SPREAD_MS), signal);
        }
      } catch (error) {
        if (!signal.aborted) this.outage.noteFailure(toAetherError(error));
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
    await this.scope.close();
  }

  private async serve(name: string, closing: AbortSignal): Promise<void> {
    const line = this.lines.get(name);
    while (line !== undefined && !closing.aborted) {
      const waiting = line.waiters.filter(({ signal }) => !signal.aborted);
      line.waiters.splice(0, line.waiters.length, ...waiting);
      const [first] = waiting;
      if (first === undefined) break;
      try {
        const isDone = await this.fetch(line, first.rate, closing);
        this.outage.noteSuccess();
        if (!isDone) await line.wake.wait(closing, LOOK_EVERY_MS);
        await this.clock.sleep(this.random.below(SPREAD_MS), closing);
      } catch (error) {
        closing.throwIfAborted();
        await this.clock.sleep(this.outage.noteFailure(error), closing);
      }
    }
    this.lines.delete(name);
  }

  /** False when there is nothing to take now. */
  private async fetch(line: Line, rate: ToolRate, signal: AbortSignal): Promise<boolean> {
    const { kv, rates } = this.ports;
    const { name, ...settings } = rate;
    const key = formatKey({ kind: "job-rate", name });
    const seen = rates.get(key);
    const known = (line.own?.modRevision ?? 0) > (seen?.modRevision ?? 0) ? line.own : seen;
    const row = rowFor(known?.value, settings);
    const taken = takeOf(row, line.waiters.map(({ count }) => count));
    if (taken.calls === 0 && row === known?.value) return false;
    const askedMs = this.clock.nowMs();
    const value: RateRow = { ...row, tokens: row.tokens - taken.tokens };
    const { succeeded, revision } = await kv.transact({
      compare: [unchanged(key, known?.modRevision ?? 0)],
      then: [{ kind: "put", key, value }],
      else: [],
    }, { signal });
    // Another node was faster: its change comes.
    if (!succeeded) return false;
    line.own = { modRevision: revision, value };
    if (this.clock.nowMs() - askedMs < BLOCK_MS) this.letGo(line, taken.calls);
    return true;
  }

  private letGo({ waiters }: Line, count: number): void {
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
