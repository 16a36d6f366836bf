// Owns: that no more calls of a tool, or requests to a model, are under way in the whole cluster than may be. Each has
// a place, which is a row of the store, from before its grant until what became of it is recorded; those that wait on
// one node get theirs in the order in which they came. Does not own: which calls have a limit (flow/call-rates.ts).
//
// A place names its job and the epoch of the job's owner. Where that owner is not one any more the call is over, as far
// as anybody can tell, and whoever needs the place takes it: nobody has to see a node die.
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import type { Random } from "../../base/random.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { NodeLife } from "../../cluster/core/rows.ts";
import { StoreOutage } from "../../cluster/store-outage.ts";
import { Wake } from "../../cluster/wake.ts";
import type { Clock } from "../../env/clock.ts";
import type { Env } from "../../env/env.ts";
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

/** Nodes that wait for the same place do not all ask at once: each of them is the first one now and then. */
const SPREAD_MS = 10;
/** A look without a reason: what an outage, or a dead node, left. */
const LOOK_EVERY_MS = SECOND_MS;

interface Waiter {
  readonly limit: PermitLimit;
  readonly holder: CallHolder;
  readonly signal: AbortSignal;
  readonly sinceMs: number;
  readonly done: Deferred<CallPlace>;
}

interface Line {
  readonly waiters: Waiter[];
  readonly wake: Wake;
}

export class CallPlaces {
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly ports: CallPlacesPorts;
  private readonly self: NodeLife;
  private readonly outage: StoreOutage;
  private readonly scope: TaskScope;
  /** Of limits that calls wait for: there is a task for each. */
  private readonly lines = new Map<string, Line>();
  /** Places of calls that are under way here. */
  private readonly held = new Set<KeyText>();

  constructor(env: Pick<Env, "clock" | "random" | "telemetry">, ports: CallPlacesPorts, self: NodeLife) {
    this.clock = env.clock;
    this.random = env.random.fork("places of calls");
    this.ports = ports;
    this.self = self;
    this.outage = new StoreOutage(env.telemetry.log, "places of calls");
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
    ports.permits.onChange(() => {
      for (const { wake } of this.lines.values()) wake.notify();
    });
  }

  /** Resolves when the call may be made; never when the signal aborts before. */
  take(limit: PermitLimit, holder: CallHolder, signal: AbortSignal): Promise<CallPlace> {
    const waiter = { limit, holder, signal, sinceMs: this.clock.nowMs(), done: createDeferred<CallPlace>() };
    const line = this.lines.get(limit.name);
    if (line === undefined) {
      this.lines.set(limit.name, { waiters: [waiter], wake: new Wake(this.clock) });
      this.scope.spawn("call place", (closing) => this.serve(limit.name, closing));
    } else {
      line.waiters.push(waiter);
      line.wake.notify();
    }
    return waiter.done.promise;
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
        const place = this.ports.permits.reserveOne(first.limit, first.holder.effectId);
        if (place !== undefined) await this.seize(line, first, place, closing);
        else if (!await this.clearOne(first.limit, closing)) await line.wake.wait(closing, LOOK_EVERY_MS);
        this.outage.noteSuccess();
        if (place === undefined) await this.clock.sleep(this.random.below(SPREAD_MS), closing);
      } catch (error) {
        closing.throwIfAborted();
        await this.clock.sleep(this.outage.noteFailure(error), closing);
      }
    }
    this.lines.delete(name);
  }

  private async seize(line: Line, waiter: Waiter, place: PermitPlace, signal: AbortSignal): Promise<void> {
    const { ref: { job }, epoch } = waiter.holder;
    const key = permitKey(place);
    const value: PermitRow = { job, epoch };
    let givenAt: number | undefined;
    try {
      const { succeeded, revision } = await this.ports.kv.transact({
        compare: [unchanged(key, 0)], then: [{ kind: "put", key, value }], else: [],
      }, { signal });
      // Another node was faster: its change comes.
      if (!succeeded) return;
      givenAt = revision;
    } finally {
      this.ports.permits.settle([place], givenAt);
    }
    line.waiters.splice(line.waiters.indexOf(waiter), 1);
    this.held.add(key);
    const held = this.holding(key, givenAt);
    if (waiter.signal.aborted) return held.free();
    this.ports.metrics.rateWaitSeconds.observe((this.clock.nowMs() - waiter.sinceMs) / SECOND_MS);
    waiter.done.resolve(held);
  }

  private holding(key: KeyText, modRevision: number): CallPlace {
    return {
      free: () => {
        if (!this.held.delete(key) || this.scope.signal.aborted) return;
        this.scope.spawn("call place given back", async (closing) => {
          for (;;) {
            try {
              return await this.remove({ key, modRevision }, closing);
            } catch (error) {
              if (closing.aborted) return;
              await this.clock.sleep(this.outage.noteFailure(error), closing);
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
