// Owns: reading a job as its owner needs it, and proposing its transitions until it is known what became of them.
// Does not own: what a transition is (core/life), and who reads jobs to show them (jobs-service.ts).
import { AetherError } from "../base/errors.ts";
import type { JobId } from "../base/ids.ts";
import { StoreOutage, throughOutage } from "../cluster/store-outage.ts";
import type { CallOptions, Env } from "../env/env.ts";
import type { Log } from "../env/telemetry.ts";
import { parseKey, prefixOf } from "../kvstore/core/key.ts";
import { TXN_OPS_MAX } from "../kvstore/core/limits.ts";
import type { JobRef } from "../kvstore/core/job-key.ts";
import type { Kv, StoreUsage } from "../kvstore/kv.ts";
import { noticeOps, type NoticeRule } from "./core/flow/notice.ts";
import { judgeRefusal, readForJudgement, settle } from "./core/life/commit.ts";
import { headKey, inboxCountKey, rowKey, specKey } from "./core/life/job-keys.ts";
import { hasRoomForWork, isOnlyWork } from "./core/room.ts";
import { parseInboxCount, parseJobHead, parseJobRow, parseJobSpec } from "./core/rows.ts";
import { parseToolRow } from "./core/tools/tool-row.ts";
import type { JobCounts } from "./job-counts.ts";
import type { JobsMetrics } from "./metrics.ts";
import type { JobLog, JobView, LoadedJob, Transition, Verdict } from "./ports.ts";
import { listAll, readLog, writeChunk } from "./stored-log.ts";

export interface JobStorePorts {
  readonly kv: Pick<Kv, "get" | "list" | "transact">;
  readonly metrics: Pick<JobsMetrics, "transitions" | "commitSeconds" | "webhooks">;
  /** Counts the events that are in the store. */
  readonly counts?: JobCounts;
  /** Who is told of events, in the transactions that write them. */
  readonly webhooks?: readonly NoticeRule[];
  /** Absent where nothing is ever full. */
  readonly usage?: () => StoreUsage;
}

export class JobStore implements JobLog {
  private readonly clock: Env["clock"];
  private readonly ports: JobStorePorts;
  private readonly log: Log;
  private readonly outage: StoreOutage;

  constructor({ clock, telemetry }: Pick<Env, "clock" | "telemetry">, ports: JobStorePorts) {
    this.clock = clock;
    this.ports = ports;
    this.log = telemetry.log;
    this.outage = new StoreOutage(telemetry.log, "jobs");
  }

  /** As of one revision, at least of the time of the call. @throws AetherError E_NOT_FOUND, E_DATA_CORRUPT */
  async load(ref: JobRef, options: CallOptions = {}): Promise<LoadedJob> {
    const { kv } = this.ports;
    const { entry, revision } = await kv.get(rowKey(ref), options);
    if (entry === undefined) throw unknownJob(ref.job);
    const row = parseJobRow(entry.value);
    const at = { ...options, revision };
    // Of its own run only: however many it had before, taking it costs the same.
    const [singles, tools] = await Promise.all([
      Promise.all([headKey(ref), specKey(ref), inboxCountKey(ref)].map((key) => kv.get(key, at))),
      listAll(kv, { prefix: prefixOf({ kind: "job-tools", ...ref, run: row.run }) }, at),
    ]);
    const [head, spec, count] = singles.map((found) => found.entry);
    if (head === undefined || spec === undefined) throw damagedJob(ref.job, "its head or what was started is missing");
    const view: JobView = {
      ref, row, rowRevision: entry.modRevision, head: parseJobHead(head.value), headRevision: head.modRevision,
      spec: parseJobSpec(spec.value),
      inbox: { last: count === undefined ? 0 : parseInboxCount(count.value).last, revision: count?.modRevision ?? 0 },
    };
    const read = await readLog({ kv, log: this.log }, view, at);
    if (read.kind === "broken") throw damagedJob(ref.job, `from event ${read.seq} on, ${read.reason}`);
    const { events: log, chunkedTo } = read;
    return { view, log, chunkedTo, tools: tools.map(({ value }) => parseToolRow(value)) };
  }

  async chunk(view: JobView, after: number, options: CallOptions = {}): Promise<number | undefined> {
    return this.isShort ? undefined : await writeChunk(this.ports.kv, view, after, options);
  }

  async commit(transition: Transition, options: CallOptions = {}): Promise<Verdict> {
    const { metrics } = this.ports;
    const startMs = this.clock.nowMs();
    const told = this.withNotices(transition);
    if (isOnlyWork(transition.events) && this.isShort) {
      await this.clock.sleep(this.outage.noteFailure(fullStore()), options.signal);
      return { kind: "contended" };
    }
    // A copy may still be on its way when it is proposed again: the same again is applied once or not at all.
    const propose = (): Promise<Verdict> => proposeTransition(this.ports.kv, told, options);
    const verdict = await throughOutage(this.clock, this.outage, propose, options.signal);
    metrics.transitions.add(1, { result: verdict.kind });
    if (verdict.kind === "applied") this.ports.counts?.note(transition.events);
    metrics.commitSeconds.observe((this.clock.nowMs() - startMs) / 1_000);
    return verdict;
  }

  private get isShort(): boolean {
    const { usage } = this.ports;
    return usage !== undefined && !hasRoomForWork(usage());
  }

  private withNotices(transition: Transition): Transition {
    const notices = noticeOps(transition, this.ports.webhooks ?? [], this.clock.wallMs());
    if (notices.length === 0) return transition;
    const { txn } = transition;
    const room = Math.max(0, TXN_OPS_MAX - txn.then.length - txn.else.length);
    // Rather than the job: it asks more people at once than its webhooks can be told of.
    for (const { key: text } of notices.slice(room)) {
      const key = parseKey(text);
      const webhook = key.kind === "job-notice" ? key.hook : "";
      this.ports.metrics.webhooks.add(1, { webhook, result: "given-up" });
    }
    return { ...transition, txn: { ...txn, then: [...txn.then, ...notices.slice(0, room)] } };
  }
}

/** Once. @throws AetherError as the store does: then it may be applied, or may be yet */
export async function proposeTransition(
  kv: Pick<Kv, "transact">, transition: Transition, options: CallOptions = {},
): Promise<Verdict> {
  const { succeeded, revision } = await kv.transact(transition.txn, options);
  if (succeeded) return { kind: "applied", view: settle(transition, revision) };
  return judgeRefusal(transition, await kv.transact(readForJudgement(transition), options));
}

export function unknownJob(job: JobId): AetherError {
  return new AetherError("E_NOT_FOUND", `there is no job "${job}"`, { details: { job } });
}

/** Who asks for what is not there any more. */
export function collectedJob(job: JobId, collectedMs: number): AetherError {
  const at = new Date(collectedMs).toISOString();
  return new AetherError("E_NOT_FOUND", `the log of job "${job}" was taken away at ${at}: only its outcome is kept`, {
    details: { job, collectedMs },
  });
}

function fullStore(): AetherError {
  return new AetherError("E_QUOTA", "the store is full, and jobs hold still: raise its quota, or delete data");
}

function damagedJob(job: JobId, reason: string): AetherError {
  const message = `job "${job}" cannot go on, because it is damaged: ${reason}`;
  return new AetherError("E_DATA_CORRUPT", message, { details: { job } });
}
