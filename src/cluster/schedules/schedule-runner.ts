// Owns: running the schedules of all slices: the leader writes that a tick has come, calls the method with a key that
// names the tick, and writes how that ended. A leader that takes over goes on from the row.
// Does not own: when a tick is due (core/schedule-step.ts), that a key's handler runs once (invocation/idempotency).
import { unreachable } from "../../base/assert.ts";
import { ERRORS } from "../../base/error-catalog.ts";
import { toAetherError, type ErrorBody } from "../../base/errors.ts";
import { doRounds } from "../../base/rounds.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, prefixOf, type AetherKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { classOf } from "../../slices/core/call-failure.ts";
import { parseScheduleRow, type ResolvedSchedule, type ScheduleRow } from "../../slices/core/schedule-row.ts";
import { parseCron, type CronTimes } from "../../slices/blueprints/cron-adapter.ts";
import type { CallReply, OutgoingCalls } from "../../slices/host/outgoing-calls.ts";
import type { ClusterViews } from "../cluster-views.ts";
import { nextScheduleStep } from "./core/schedule-step.ts";
import { storable } from "../core/plain-value.ts";
import type { LeadershipService } from "../leadership/leadership-service.ts";
import type { LeadingVersions } from "../rollouts/leading-versions.ts";
import { RowView } from "../row-view.ts";

export interface ScheduleRunnerPorts {
  readonly kv: Kv;
  readonly views: Pick<ClusterViews, "isComplete" | "unreadableBlueprints" | "blueprints" | "rollouts">;
  /** A new version's schedules begin when it leads. */
  readonly leading: Pick<LeadingVersions, "all">;
  readonly leadership: Pick<LeadershipService, "fence">;
  readonly calls: OutgoingCalls;
  readonly onFatal: (error: unknown) => void;
}

interface Wanted {
  readonly blueprint: string;
  readonly slice: string;
  readonly schedule: ResolvedSchedule;
}

/** A tick that this leader sends now. */
interface Tick extends Wanted {
  readonly key: KeyText;
  readonly tickMs: number;
  readonly modRevision: number;
}

/** A tick begins so late at most; the time of day may also have jumped. */
const LOOK_EVERY_MS = SECOND_MS;
/** A call that never started, or whose end is not known, is made again for so long. */
const SEND_MS_MAX = 10 * MINUTE_MS;
const SEND_PAUSE_MS = 5 * SECOND_MS;
const ERROR_LENGTH_MAX = 500;

export class ScheduleRunner {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: ScheduleRunnerPorts;
  private readonly rows: RowView<ScheduleRow>;
  private readonly scope: TaskScope;
  private readonly sending = new Set<KeyText>();
  /** By expression and time zone; undefined for one that this release cannot read. */
  private times = new Map<string, CronTimes | undefined>();

  constructor(env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: ScheduleRunnerPorts) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.rows = new RowView({ clock: env.clock, log: this.log }, ports.kv, prefixOf({ kind: "schedules" }), parseRow);
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

  /** Calls under way are given up; the next leader makes them again with their keys. */
  async close(): Promise<void> {
    await this.scope.close();
    await this.rows.close();
  }

  private async round(signal: AbortSignal): Promise<void> {
    if (this.ports.leadership.fence() === undefined || !this.ports.views.isComplete || !this.rows.isComplete) return;
    const wanted = this.wanted();
    this.forgetTimes(wanted);
    for (const [key, one] of wanted) {
      if (!this.sending.has(key)) await this.step(key, one, signal);
    }
    await this.removeUnwanted(wanted, signal);
  }

  private wanted(): ReadonlyMap<KeyText, Wanted> {
    const found = new Map<KeyText, Wanted>();
    for (const { blueprint, slice, resolved: { schedules = [] } } of this.ports.leading.all()) {
      for (const schedule of schedules) {
        found.set(formatKey({ kind: "schedule", slice, name: schedule.name }), { blueprint, slice, schedule });
      }
    }
    return found;
  }

  private async step(key: KeyText, wanted: Wanted, signal: AbortSignal): Promise<void> {
    const times = this.timesOf(wanted.schedule);
    if (times === undefined) return;
    const row = this.rows.get(key);
    const modRevision = row?.modRevision ?? this.rows.damaged.get(key)?.modRevision ?? 0;
    const step = nextScheduleStep(wanted.schedule, row?.value, { times, nowMs: this.clock.wallMs() });
    const { cron, method, timeZone } = wanted.schedule;
    switch (step.kind) {
      case "wait":
        return;
      case "begin":
        return void await this.write({ ...wanted, key, modRevision }, {
          cron, method, timeZone, state: "waiting", tickMs: step.sinceMs,
        }, signal);
      case "fire": {
        const { tickMs } = step;
        const row: ScheduleRow = { cron, method, timeZone, state: "sent", tickMs };
        const written = await this.write({ ...wanted, key, modRevision }, row, signal);
        if (written !== undefined) this.send({ ...wanted, key, tickMs, modRevision: written });
        return;
      }
      case "resend":
        return this.send({ ...wanted, key, tickMs: step.tickMs, modRevision });
      default:
        return unreachable(step);
    }
  }

  private send(tick: Tick): void {
    this.sending.add(tick.key);
    this.scope.spawn("schedule", async (signal) => {
      try {
        await this.run(tick, signal);
      } catch (thrown) {
        signal.throwIfAborted();
        // The row says "sent" still: the next round calls again, with the same key.
        const { code, message: reason } = toAetherError(thrown);
        this.log.debug({ event: "schedule.not-written", code, reason });
      } finally {
        this.sending.delete(tick.key);
      }
    });
  }

  private async run(tick: Tick, signal: AbortSignal): Promise<void> {
    const { slice, schedule: { name, cron, method, timeZone }, tickMs } = tick;
    const reply = await this.callUntilEnd(tick, signal);
    if (reply === undefined) return;
    const row = { cron, method, timeZone, tickMs, endedMs: this.clock.wallMs() };
    const what = { slice, schedule: name, tick: new Date(tickMs).toISOString() };
    if (reply.kind === "ok") {
      await this.write(tick, { ...row, state: "done" }, signal);
      return this.log.info({ event: "schedule.done", ...what });
    }
    const { code, message } = reply.error;
    const error = { code, message: message.slice(0, ERROR_LENGTH_MAX) };
    await this.write(tick, { ...row, state: "failed", error }, signal);
    this.log.warn({ event: "schedule.failed", ...what, code, reason: message });
  }

  /** Undefined when this node does not lead any more: another one goes on. */
  private async callUntilEnd(tick: Tick, signal: AbortSignal): Promise<CallReply | undefined> {
    const { slice, schedule: { name, method }, tickMs } = tick;
    const idempotencyKey = `schedule/${name}/${new Date(tickMs).toISOString()}`;
    const untilMs = this.clock.nowMs() + SEND_MS_MAX;
    for (;;) {
      const reply = await this.ports.calls.call({ slice, method, input: {}, idempotencyKey }, signal);
      signal.throwIfAborted();
      if (reply.kind === "ok" || !isWorthAnother(reply.error) || this.clock.nowMs() >= untilMs) return reply;
      await this.clock.sleep(SEND_PAUSE_MS, signal);
      if (this.ports.leadership.fence() === undefined) return undefined;
    }
  }

  /** The new revision of the row; undefined when something has changed meanwhile. */
  private async write(
    { key, blueprint, slice, modRevision }: Pick<Tick, "key" | "blueprint" | "slice" | "modRevision">,
    row: ScheduleRow,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    const guards = [unchanged(key, modRevision), ...this.versionGuards(blueprint, slice)];
    return await this.transact(guards, { kind: "put", key, value: storable(row) }, signal);
  }

  /** Nobody has changed meanwhile which version of the slice leads. */
  private versionGuards(name: string, slice: string): readonly Compare[] {
    const { blueprints, rollouts } = this.ports.views;
    const current = formatKey({ kind: "blueprint-current", name });
    const rollout = formatKey({ kind: "rollout", blueprint: name, slice });
    const row = rollouts.get(rollout) ?? rollouts.damaged.get(rollout);
    return [unchanged(current, blueprints.get(current)?.modRevision ?? 0), unchanged(rollout, row?.modRevision ?? 0)];
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
  private async removeUnwanted(wanted: ReadonlyMap<KeyText, Wanted>, signal: AbortSignal): Promise<void> {
    if (this.ports.views.unreadableBlueprints().size > 0) return;
    for (const { text, modRevision } of this.rows.rowsInKeyOrder()) {
      if (wanted.has(text)) continue;
      await this.transact([unchanged(text, modRevision)], { kind: "delete", key: text }, signal);
    }
  }

  private timesOf({ cron, timeZone }: ResolvedSchedule): CronTimes | undefined {
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

  private forgetTimes(wanted: ReadonlyMap<KeyText, Wanted>): void {
    if (this.times.size <= wanted.size) return;
    const used = new Set([...wanted.values()].map(({ schedule }) => `${schedule.timeZone} ${schedule.cron}`));
    this.times = new Map([...this.times].filter(([name]) => used.has(name)));
  }
}

/** Whether the same call, with the same key, may end differently. */
function isWorthAnother(error: ErrorBody): boolean {
  if (classOf(error) === "handler" || error.details?.["isFinal"] === true) return false;
  return ERRORS[error.code].retry !== "never";
}

function parseRow(key: AetherKey, value: unknown): ScheduleRow | undefined {
  return key.kind === "schedule" ? parseScheduleRow(value) : undefined;
}
