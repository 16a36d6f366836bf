// Owns: the timers of jobs: the leader looks at the first rows of their index and fires what is due. Firing is one
// transaction: the timer's row goes, an entry comes into the job's inbox, and the job is woken when it waits for it.
// JOB10  A timer fires once, because its row goes with the entry, and not before it is due by the clocks of most nodes.
// Does not own: setting and clearing timers, which belong to transitions of a job (core/life).
import { toAetherError } from "../../base/errors.ts";
import type { JobId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import type { LeadershipService } from "../../cluster/leadership/leadership-service.ts";
import { StoreLoop } from "../../cluster/store-loop.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";
import { knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { KvChangeSet, KvEntry, Txn } from "../../kvstore/core/schema.ts";
import type { Kv, KvWatch } from "../../kvstore/kv.ts";
import { dueNow } from "../core/flow/due-timers.ts";
import { HeldTimers } from "../core/flow/held-timers.ts";
import { approvalNameSeen, approvalSeen, parseApprovalRow, type ApprovalMark } from "../core/flow/approval-row.ts";
import type { InboxEntry } from "../core/flow/inbox-entry.ts";
import { TIME_IS_OVER } from "../core/life/deadline.ts";
import { decideInbox, type Arrival } from "../core/life/decide-inbox.ts";
import { approvalKey, seenKey } from "../core/life/job-keys.ts";
import type { CallName } from "../core/ids.ts";
import { parseTimerRow, type TimerRow } from "../core/rows.ts";
import { readInboxView } from "./inbox-view.ts";

export interface TimerDriverPorts {
  readonly kv: Pick<Kv, "get" | "list" | "transact" | "watch">;
  readonly leadership: Pick<LeadershipService, "fence" | "onChange">;
  readonly onFatal: (error: unknown) => void;
}

/** Rows of one look. */
const TIMERS_PER_LOOK = 128;
/** Jobs whose timers are fired at once. */
const JOBS_AT_ONCE = 32;
/** The wall clock may jump while nothing else happens. */
const LOOK_EVERY_MS = 10 * SECOND_MS;
/** Before a timer is tried again that could not be fired. */
const RETRY_MS = 100;
const PREFIX = prefixOf({ kind: "job-timers" });
const NOTHING: Txn = { compare: [], then: [], else: [] };

type Firing = "done" | "again" | "held" | "unreadable";

interface TimerEntry {
  readonly key: KeyText;
  readonly modRevision: number;
  readonly ref: JobRef;
  readonly dueMs: number;
  readonly value: unknown;
}

export class TimerDriver {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: TimerDriverPorts;
  private readonly loop: StoreLoop;
  /** Timers of jobs whose inbox is full. */
  private readonly full = new HeldTimers<KeyText>();
  private watch: KvWatch | undefined;
  /** By the wall clock: what is set for earlier than this is a reason to look again. */
  private sleepsUntilMs = 0;

  constructor(env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: TimerDriverPorts) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.loop = new StoreLoop(env, "job timers", { look: (signal) => this.look(signal), onFatal: ports.onFatal });
    ports.leadership.onChange(() => this.loop.notify());
  }

  start(): void {
    this.loop.start();
  }

  async close(): Promise<void> {
    this.unfollow();
    await this.loop.close();
  }

  private async look(signal: AbortSignal): Promise<number> {
    const waitMs = await this.fireDue(signal);
    this.sleepsUntilMs = this.clock.wallMs() + waitMs;
    return waitMs;
  }

  /** Fires what is due, and says when to look again. */
  private async fireDue(signal: AbortSignal): Promise<number> {
    if (this.ports.leadership.fence() === undefined) {
      this.unfollow();
      return LOOK_EVERY_MS;
    }
    // What is set from now on is a reason to look again, unless the listing tells better.
    this.sleepsUntilMs = Number.POSITIVE_INFINITY;
    this.follow();
    let waitMs = LOOK_EVERY_MS;
    // Those that have to wait are at the front of the index: they do not keep the others from being seen.
    for (let after: KeyText | undefined; ;) {
      const page = await this.ports.kv.list(
        { prefix: PREFIX, limit: TIMERS_PER_LOOK, ...(after !== undefined && { after }) },
        { consistency: "local", signal },
      );
      const timers = page.entries.flatMap((entry) => timerOf(entry) ?? []);
      const { fire, nextDueMs } = dueNow(timers, this.clock.wallMs());
      const firings = await this.fireAll(fire.filter(({ key }) => !this.full.isHeld(key, this.clock.nowMs())), signal);
      if (firings.includes("again")) waitMs = RETRY_MS;
      if (nextDueMs !== undefined) waitMs = Math.min(waitMs, Math.max(0, nextDueMs - this.clock.wallMs()));
      after = page.entries.at(-1)?.key;
      if (nextDueMs !== undefined || !page.more) break;
    }
    return Math.min(waitMs, this.full.waitMs(this.clock.nowMs()));
  }

  private async fireAll(due: readonly TimerEntry[], signal: AbortSignal): Promise<readonly Firing[]> {
    const byJob = new Map<JobId, TimerEntry[]>();
    for (const timer of due) byJob.set(timer.ref.job, [...(byJob.get(timer.ref.job) ?? []), timer]);
    const jobs = [...byJob.values()];
    const firings: Firing[] = [];
    for (let at = 0; at < jobs.length; at += JOBS_AT_ONCE) {
      const some = jobs.slice(at, at + JOBS_AT_ONCE).map((timers) => this.fireOneByOne(timers, signal));
      firings.push(...(await Promise.all(some)).flat());
    }
    return firings;
  }

  /** Timers of one job share the count of its inbox. */
  private async fireOneByOne(timers: readonly TimerEntry[], signal: AbortSignal): Promise<readonly Firing[]> {
    const firings: Firing[] = [];
    for (const timer of timers) firings.push(await this.fire(timer, signal));
    return firings;
  }

  private async fire(timer: TimerEntry, signal: AbortSignal): Promise<Firing> {
    const row = this.rowOf(timer);
    if (row === undefined) return "unreadable";
    const { kv } = this.ports;
    const view = await readInboxView(kv, timer.ref, { consistency: "local", signal });
    if (view === undefined) return await this.write(timer, NOTHING, signal);
    const arrival = "call" in row ? await this.arrivalOf(timer.ref, row.call, signal) : { entry: TIME_IS_OVER };
    const decision = decideInbox(view, [arrival], this.clock.wallMs());
    if (decision.kind === "transition") return await this.write(timer, decision.txn, signal);
    if (decision.code === "E_OVERLOADED") {
      this.full.hold(timer.key, this.clock.nowMs());
      return "held";
    }
    // Nobody waits for it in a job that has ended.
    return decision.code === "E_CONFLICT" ? await this.write(timer, NOTHING, signal) : "again";
  }

  /** When the time of an approval is over nobody can decide it any more, from the same moment on. */
  private async arrivalOf(ref: JobRef, call: CallName, signal: AbortSignal): Promise<Arrival> {
    const entry: InboxEntry = { kind: "timer", call };
    const key = approvalKey(ref, call);
    const found = (await this.ports.kv.get(key, { consistency: "local", signal })).entry;
    if (found === undefined) return { entry };
    const mark: ApprovalMark = { call, atMs: this.clock.wallMs(), how: "expired" };
    const named = seenKey(ref, approvalNameSeen(parseApprovalRow(found.value).name));
    return {
      entry,
      seen: { digest: approvalSeen(call), value: mark },
      then: [{ kind: "delete", key }, { kind: "put", key: named, value: mark }],
    };
  }

  private async write({ key, modRevision }: TimerEntry, txn: Txn, signal: AbortSignal): Promise<Firing> {
    const fence = this.ports.leadership.fence();
    if (fence === undefined) return "again";
    const { succeeded } = await this.ports.kv.transact({
      compare: [fence, unchanged(key, modRevision), ...txn.compare],
      then: [{ kind: "delete", key }, ...txn.then],
      else: [],
    }, { signal });
    if (succeeded) this.full.forget(key);
    return succeeded ? "done" : "again";
  }

  private rowOf({ key, value }: TimerEntry): TimerRow | undefined {
    try {
      return parseTimerRow(value);
    } catch (error) {
      // One damaged row must not stop all timers; a person has to look at it.
      this.log.error({ event: "jobs.bad-timer", key, reason: toAetherError(error).message });
      return undefined;
    }
  }

  private follow(): void {
    this.watch ??= this.ports.kv.watch(PREFIX, {
      onChanges: (changes) => this.take(changes),
      onEnd: () => {
        this.watch = undefined;
        this.loop.notify();
      },
    });
  }

  private unfollow(): void {
    this.watch?.cancel();
    this.watch = undefined;
  }

  private take({ changes }: KvChangeSet): void {
    const isEarlier = changes.some((change) =>
      change.kind === "put" && (timerOf(change.entry)?.dueMs ?? Number.POSITIVE_INFINITY) < this.sleepsUntilMs);
    if (isEarlier) this.loop.notify();
  }
}

function timerOf({ key, modRevision, value }: KvEntry): TimerEntry | undefined {
  const parsed = knownKey(key);
  if (parsed?.kind !== "job-timer") return undefined;
  const { partition, job, dueMs } = parsed;
  return { key, modRevision, ref: { partition, job }, dueMs, value };
}
