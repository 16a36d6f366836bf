// Owns: running schedules: the leader writes that a tick has come, does what the tick is for under a key that names the
// tick, and writes how that ended. A leader that takes over goes on from the row.
// Does not own: when a tick is due (core/schedule-step.ts), what it is for (method-ticks.ts, jobs/schedules).
import { unreachable } from "../../base/assert.ts";
import { toAetherError, type ErrorBody } from "../../base/errors.ts";
import { doRounds } from "../../base/rounds.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { prefixOf, type AetherKey, type KeyPrefix, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { isSameData } from "../../slices/core/canonical.ts";
import type { TickPlan, TickRow } from "../../slices/core/schedule-row.ts";
import { parseCron, type CronTimes } from "../../slices/blueprints/cron-adapter.ts";
import type { ClusterViews } from "../cluster-views.ts";
import { nextScheduleStep } from "./core/schedule-step.ts";
import { storable } from "../core/plain-value.ts";
import type { LeadershipService } from "../leadership/leadership-service.ts";
import { RowView } from "../row-view.ts";

export interface TickRunnerPorts {
  readonly kv: Kv;
  readonly views: Pick<ClusterViews, "isComplete" | "unreadableBlueprints">;
  readonly leadership: Pick<LeadershipService, "fence">;
  readonly onFatal: (error: unknown) => void;
}

/** A schedule that is to run, by a blueprint. */
export interface WantedTicks {
  readonly slice: string;
  /** Unique among the schedules of one slice. */
  readonly label: string;
  readonly plan: TickPlan;
  /** Hold while nobody has changed that it is wanted so. */
  readonly guards: readonly Compare[];
}

/** A tick that this leader has begun. */
export interface Tick<W extends WantedTicks, R extends TickRow> {
  readonly wanted: W;
  readonly tickMs: number;
  /** As the row was when it had begun. */
  readonly row: R;
  /** Hold while this tick is the latest and nobody has written how it ended. */
  readonly guards: readonly Compare[];
}

/** How an attempt at a tick ended. */
export interface TickEnd<R extends TickRow> {
  readonly state: "done" | "failed" | "skipped";
  readonly error?: ErrorBody;
  /** The same again may end differently. */
  readonly isWorthAnother?: boolean;
  /** What the row says besides from now on. */
  readonly also?: Partial<R>;
}

/** What a tick has done whose end nobody has written. */
export interface TickTraces<R extends TickRow> {
  readonly also: Partial<R>;
  /** Hold while it has done no more. */
  readonly guards: readonly Compare[];
}

/** What the ticks of one kind of schedule are for, and where their rows are. */
export interface TickKind<W extends WantedTicks, R extends TickRow> {
  readonly prefix: KeyPrefix;
  /** Undefined for what is no row of this kind. @throws AetherError E_DATA_CORRUPT */
  parse(key: AetherKey, value: unknown): R | undefined;
  wanted(): ReadonlyMap<KeyText, W>;
  /** `ticked`, with what rows of this kind have besides. */
  rowOf(wanted: W, ticked: TickRow, before: R | undefined): R;
  /** Whether the row is of a schedule that runs another thing, so that it begins anew. */
  isOther(wanted: W, row: R): boolean;
  /** Of a tick that is not sent again, because its schedule has changed. Absent where nothing of it matters later. */
  tracesOf?(wanted: W, tickMs: number, signal: AbortSignal): Promise<TickTraces<R>>;
  /** Does what the tick is for; once for all that do it for the same tick. @throws when the signal aborts */
  run(tick: Tick<W, R>, signal: AbortSignal): Promise<TickEnd<R>>;
}

interface Begun<W extends WantedTicks, R extends TickRow> {
  readonly key: KeyText;
  readonly wanted: W;
  readonly row: R;
  readonly modRevision: number;
}

/** A tick begins so late at most; the time of day may also have jumped. */
const LOOK_EVERY_MS = SECOND_MS;
/** What never started, or whose end is not known, is tried again for so long. */
const SEND_MS_MAX = 10 * MINUTE_MS;
const SEND_PAUSE_MS = 5 * SECOND_MS;
const ERROR_LENGTH_MAX = 500;

export class TickRunner<W extends WantedTicks, R extends TickRow> {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: TickRunnerPorts;
  private readonly kind: TickKind<W, R>;
  private readonly rows: RowView<R>;
  private readonly scope: TaskScope;
  private readonly sending = new Set<KeyText>();
  /** By expression and time zone; undefined for one that this release cannot read. */
  private times = new Map<string, CronTimes | undefined>();

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: TickRunnerPorts, kind: TickKind<W, R>,
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.kind = kind;
    this.rows = new RowView({ clock: env.clock, log: this.log }, ports.kv, prefixOf(kind.prefix), (key, value) =>
      kind.parse(key, value));
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  start(): void {
    this.rows.open();
    this.scope.spawn("schedules", (signal) => doRounds(this.clock, {
      firstAfterMs: LOOK_EVERY_MS,
      everyMs: LOOK_EVERY_MS,
      work: () => this.round(signal),
      // The store does not take it now; the next round looks again.
      onFailure: ({ code, message: reason }) => this.log.debug({ event: "schedule.not-written", code, reason }),
    }, signal));
  }

  /** Ticks under way are given up; the next leader makes them again with their keys. */
  async close(): Promise<void> {
    await this.scope.close();
    await this.rows.close();
  }

  private async round(signal: AbortSignal): Promise<void> {
    if (this.ports.leadership.fence() === undefined || !this.ports.views.isComplete || !this.rows.isComplete) return;
    const wanted = this.kind.wanted();
    this.forgetTimes(wanted);
    for (const [key, one] of wanted) {
      if (!this.sending.has(key)) await this.step(key, one, signal);
    }
    await this.removeUnwanted(wanted, signal);
  }

  private async step(key: KeyText, wanted: W, signal: AbortSignal): Promise<void> {
    const times = this.timesOf(wanted.plan);
    if (times === undefined) return;
    const found = this.rows.get(key);
    const before = found?.value;
    const modRevision = found?.modRevision ?? this.rows.damaged.get(key)?.modRevision ?? 0;
    const isOther = before !== undefined && this.kind.isOther(wanted, before);
    const step = nextScheduleStep(wanted.plan, before, { isOther, times, nowMs: this.clock.wallMs() });
    switch (step.kind) {
      case "wait":
        return;
      case "begin": {
        const traces = before?.state === "sent" ? await this.kind.tracesOf?.(wanted, before.tickMs, signal) : undefined;
        const known = before && { ...before, ...traces?.also };
        const row = this.rowOf(wanted, { state: "waiting", tickMs: step.sinceMs }, known);
        const guards = [...wanted.guards, ...traces?.guards ?? []];
        return void await this.write({ key, row, modRevision }, guards, signal);
      }
      case "fire": {
        const row = this.rowOf(wanted, { state: "sent", tickMs: step.tickMs }, before);
        const written = await this.write({ key, row, modRevision }, wanted.guards, signal);
        if (written !== undefined) this.send({ key, wanted, row, modRevision: written });
        return;
      }
      case "resend":
        if (before !== undefined) this.send({ key, wanted, row: before, modRevision });
        return;
      default:
        return unreachable(step);
    }
  }

  private rowOf(wanted: W, ticked: Omit<TickRow, keyof TickPlan>, before: R | undefined): R {
    const { cron, timeZone } = wanted.plan;
    return this.kind.rowOf(wanted, { cron, timeZone, ...ticked }, before);
  }

  private send(begun: Begun<W, R>): void {
    this.sending.add(begun.key);
    this.scope.spawn("schedule", async (signal) => {
      try {
        await this.run(begun, signal);
      } catch (thrown) {
        signal.throwIfAborted();
        // The row says "sent" still: the next round does it again, with the same key.
        const { code, message: reason } = toAetherError(thrown);
        this.log.debug({ event: "schedule.not-written", code, reason });
      } finally {
        this.sending.delete(begun.key);
      }
    });
  }

  private async run(begun: Begun<W, R>, signal: AbortSignal): Promise<void> {
    const { wanted, row: { tickMs } } = begun;
    const end = await this.runUntilEnd(begun, signal);
    if (end === undefined) return;
    const { state, error, also } = end;
    const cause = error === undefined ? {} : {
      error: { code: error.code, message: error.message.slice(0, ERROR_LENGTH_MAX) },
    };
    const ticked = { state, tickMs, endedMs: this.clock.wallMs(), ...cause };
    const row = this.rowOf(wanted, ticked, { ...begun.row, ...also });
    // What has been done is done, whatever is wanted by now.
    await this.write({ ...begun, row }, [], signal);
    const what = { slice: wanted.slice, schedule: wanted.label, tick: new Date(tickMs).toISOString() };
    if (error === undefined) this.log.info({ event: `schedule.${state}`, ...what });
    else this.log.warn({ event: `schedule.${state}`, ...what, code: error.code, reason: error.message });
  }

  /**
   * Undefined when this node does not lead any more, and another one goes on; or when something else is wanted now, and
   * the next round says whether the tick belongs to it.
   */
  private async runUntilEnd(
    { key, wanted, row, modRevision }: Begun<W, R>, signal: AbortSignal,
  ): Promise<TickEnd<R> | undefined> {
    const untilMs = this.clock.nowMs() + SEND_MS_MAX;
    for (;;) {
      const fence = this.ports.leadership.fence();
      if (fence === undefined || !this.isStillWanted(key, wanted)) return undefined;
      const guards = [fence, unchanged(key, modRevision)];
      const end = await this.kind.run({ wanted, tickMs: row.tickMs, row, guards }, signal);
      signal.throwIfAborted();
      if (end.isWorthAnother !== true || this.clock.nowMs() >= untilMs) return end;
      await this.clock.sleep(SEND_PAUSE_MS, signal);
    }
  }

  private isStillWanted(key: KeyText, wanted: W): boolean {
    const now = this.kind.wanted().get(key);
    return now !== undefined && isSameData(now, wanted);
  }

  /** The new revision of the row; undefined when something has changed meanwhile. */
  private async write(
    { key, row, modRevision }: Omit<Begun<W, R>, "wanted">, guards: readonly Compare[], signal: AbortSignal,
  ): Promise<number | undefined> {
    const put = { kind: "put", key, value: storable(row) } as const;
    return await this.transact([unchanged(key, modRevision), ...guards], put, signal);
  }

  private async transact(guards: readonly Compare[], op: Op, signal: AbortSignal): Promise<number | undefined> {
    const fence = this.ports.leadership.fence();
    if (fence === undefined) return undefined;
    const { succeeded, revision } = await this.ports.kv.transact(
      { compare: [fence, ...guards], then: [op], else: [] }, { signal },
    );
    return succeeded ? revision : undefined;
  }

  /** Their blueprints are gone, or do not have them any more. What cannot be read may still have them. */
  private async removeUnwanted(wanted: ReadonlyMap<KeyText, W>, signal: AbortSignal): Promise<void> {
    if (this.ports.views.unreadableBlueprints().size > 0) return;
    for (const { text, modRevision } of this.rows.rowsInKeyOrder()) {
      if (wanted.has(text)) continue;
      await this.transact([unchanged(text, modRevision)], { kind: "delete", key: text }, signal);
    }
  }

  private timesOf({ cron, timeZone }: TickPlan): CronTimes | undefined {
    const name = `${timeZone} ${cron}`;
    if (!this.times.has(name)) this.times.set(name, this.parseTimes(cron, timeZone));
    return this.times.get(name);
  }

  /** It was checked when it was pushed, perhaps by another release. */
  private parseTimes(cron: string, timeZone: string): CronTimes | undefined {
    try {
      return parseCron(cron, timeZone);
    } catch (error) {
      this.log.error({ event: "schedule.unreadable", cron, timeZone, reason: toAetherError(error).message });
      return undefined;
    }
  }

  private forgetTimes(wanted: ReadonlyMap<KeyText, W>): void {
    if (this.times.size <= wanted.size) return;
    const used = new Set([...wanted.values()].map(({ plan }) => `${plan.timeZone} ${plan.cron}`));
    this.times = new Map([...this.times].filter(([name]) => used.has(name)));
  }
}
