// Owns: how many jobs of the cluster wait, for what, and since when, as this node sees it: counted from the rows of
// jobs as they change, after one look at all of them.
// Does not own: those that wait for a node (claimer.ts has the queue).
import { toAetherError } from "../base/errors.ts";
import type { JobId } from "../base/ids.ts";
import { TaskScope } from "../base/task-scope.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import { knownKey, prefixOf } from "../kvstore/core/key.ts";
import type { Kv, KvListQuery } from "../kvstore/kv.ts";
import { WAIT_REASONS, type WaitReason } from "./core/rows.ts";
import type { JobWatch } from "./job-watch.ts";

/** Beyond these, jobs that wait are not counted: the numbers are then a lower bound. */
export const CENSUS_JOBS_MAX = 200_000;
/** A store that cannot be read yet is asked again. */
const RETRY_MS = SECOND_MS;

interface WaitingJob {
  readonly reason: WaitReason;
  /** Wall time. */
  readonly sinceMs: number;
}

/** What somebody has to look at: it is told how long the first has waited. */
type PersonReason = "unknown" | "approval";

export interface JobCensusPorts {
  readonly kv: Pick<Kv, "list">;
  readonly watch: Pick<JobWatch, "listenAll">;
  readonly onFatal: (error: unknown) => void;
}

export class JobCensus {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: JobCensusPorts;
  private readonly waiting = new Map<JobId, WaitingJob>();
  private readonly byReason = new Map<WaitReason, number>(WAIT_REASONS.map((reason) => [reason, 0]));
  /** Those of `waiting` that wait for a person: few, so that the first of them is found by a look at each. */
  private readonly forPerson = { unknown: new Map<JobId, number>(), approval: new Map<JobId, number>() };
  private readonly scope: TaskScope;
  /** Jobs that have changed while all are looked at: what the look finds of them is older. */
  private changed: Set<JobId> | undefined;

  constructor(env: { readonly clock: Clock; readonly log: Log }, ports: JobCensusPorts) {
    this.clock = env.clock;
    this.log = env.log;
    this.ports = ports;
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  /** Before the watch opens. */
  start(): void {
    this.ports.watch.listenAll({ onRow: (job, value) => this.takeChange(job, value), onGap: () => this.lookAgain() });
    this.lookAgain();
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  /** How many wait for it. */
  waitingFor(reason: WaitReason): number {
    return this.byReason.get(reason) ?? 0;
  }

  /** Wall time since when the first of those that wait for it does; undefined when there is none. */
  oldestSinceMs(reason: PersonReason): number | undefined {
    let oldest: number | undefined;
    for (const sinceMs of this.forPerson[reason].values()) oldest = Math.min(oldest ?? sinceMs, sinceMs);
    return oldest;
  }

  private lookAgain(): void {
    // A look under way sees what was missed, or has it among the changes.
    if (this.changed !== undefined) return;
    this.changed = new Set();
    this.scope.spawn("job-census", (signal) => this.look(signal));
  }

  private async look(signal: AbortSignal): Promise<void> {
    const found = new Set<JobId>();
    let query: KvListQuery = { prefix: prefixOf({ kind: "jobs" }) };
    while (!signal.aborted) {
      try {
        const page = await this.ports.kv.list(query, { consistency: "local" });
        for (const { key: text, value } of page.entries) {
          const key = knownKey(text);
          if (key?.kind !== "job") continue;
          found.add(key.job);
          if (this.changed?.has(key.job) !== true) this.take(key.job, value);
        }
        const after = page.entries.at(-1)?.key;
        if (!page.more || after === undefined) break;
        query = { prefix: prefixOf({ kind: "jobs" }), after };
        await this.clock.sleep(0, signal);
      } catch (error) {
        signal.throwIfAborted();
        this.log.debug({ event: "jobs.census-interrupted", reason: toAetherError(error).message });
        await this.clock.sleep(RETRY_MS, signal);
      }
    }
    for (const job of [...this.waiting.keys()]) {
      if (!found.has(job) && this.changed?.has(job) !== true) this.take(job, undefined);
    }
    this.changed = undefined;
  }

  private takeChange(job: JobId, value: unknown): void {
    this.changed?.add(job);
    this.take(job, value);
  }

  private take(job: JobId, value: unknown): void {
    const waits = waitOf(value);
    this.forget(job);
    if (waits === undefined || this.waiting.size >= CENSUS_JOBS_MAX) return;
    this.waiting.set(job, waits);
    this.byReason.set(waits.reason, this.waitingFor(waits.reason) + 1);
    if (isForPerson(waits.reason)) this.forPerson[waits.reason].set(job, waits.sinceMs);
  }

  private forget(job: JobId): void {
    const before = this.waiting.get(job);
    if (before === undefined) return;
    this.waiting.delete(job);
    if (isForPerson(before.reason)) this.forPerson[before.reason].delete(job);
    this.byReason.set(before.reason, this.waitingFor(before.reason) - 1);
  }
}

function isForPerson(reason: WaitReason): reason is PersonReason {
  return reason === "unknown" || reason === "approval";
}

/** Only what is counted is looked at: this is done for every change of every job, on every node. */
function waitOf(value: unknown): WaitingJob | undefined {
  const row = fieldsOf(value);
  if (row?.["status"] !== "waiting") return undefined;
  const reason = WAIT_REASONS.find((one) => one === fieldsOf(row["waiting"])?.["reason"]);
  const sinceMs = row["sinceMs"];
  return reason === undefined || typeof sinceMs !== "number" ? undefined : { reason, sinceMs };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}
