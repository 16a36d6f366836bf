// Owns: reading a job as its owner needs it, and proposing its transitions until it is known what became of them.
// Does not own: what a transition is (core/life), and who reads jobs to show them (jobs-service.ts).
import { AetherError } from "../base/errors.ts";
import type { JobId } from "../base/ids.ts";
import { StoreOutage } from "../cluster/store-outage.ts";
import type { CallOptions, Env } from "../env/env.ts";
import { parseKey, prefixOf } from "../kvstore/core/key.ts";
import type { JobRef } from "../kvstore/core/job-key.ts";
import type { KvEntry } from "../kvstore/core/schema.ts";
import type { Kv, KvListQuery, KvPage } from "../kvstore/kv.ts";
import { judgeCommit } from "./core/life/commit.ts";
import { rowKey } from "./core/life/job-keys.ts";
import type { PlacedPage } from "./core/log/page.ts";
import { verifyLog } from "./core/log/verify-log.ts";
import {
  parseInboxCount, parseJobHead, parseJobPage, parseJobRow, parseJobSpec, type JobHead, type JobSpec,
} from "./core/rows.ts";
import { parseToolRow, type ToolRow } from "./core/tools/tool-row.ts";
import type { JobsMetrics } from "./metrics.ts";
import type { JobLog, JobView, LoadedJob, Transition, Verdict } from "./ports.ts";

export interface JobStorePorts {
  readonly kv: Pick<Kv, "get" | "list" | "transact">;
  readonly metrics: Pick<JobsMetrics, "transitions" | "commitSeconds">;
}

export class JobStore implements JobLog {
  private readonly clock: Env["clock"];
  private readonly ports: JobStorePorts;
  private readonly outage: StoreOutage;

  constructor({ clock, telemetry }: Pick<Env, "clock" | "telemetry">, ports: JobStorePorts) {
    this.clock = clock;
    this.ports = ports;
    this.outage = new StoreOutage(telemetry.log, "jobs");
  }

  /** As of one revision, at least of the time of the call. @throws AetherError E_NOT_FOUND, E_DATA_CORRUPT */
  async load(ref: JobRef, options: CallOptions = {}): Promise<LoadedJob> {
    const { kv } = this.ports;
    const key = rowKey(ref);
    const latest = await kv.get(key, options);
    const query: KvListQuery = { prefix: prefixOf({ kind: "job-data", ...ref }) };
    const first = await kv.list(query, { ...options, consistency: "local" });
    const { revision } = first;
    const { entry } = revision === latest.revision ? latest : await kv.get(key, { ...options, revision });
    if (entry === undefined) throw unknownJob(ref.job);

    const data = new JobData();
    for (let page: KvPage = first; ;) {
      for (const found of page.entries) data.add(found);
      const after = page.entries.at(-1)?.key;
      if (!page.more || after === undefined) break;
      page = await kv.list({ ...query, after, revision }, options);
    }
    return data.finish(ref, entry);
  }

  async commit(transition: Transition, options: CallOptions = {}): Promise<Verdict> {
    const { metrics } = this.ports;
    const startMs = this.clock.nowMs();
    for (;;) {
      try {
        const result = await this.ports.kv.transact(transition.txn, options);
        this.outage.noteSuccess();
        const verdict = judgeCommit(transition, result);
        metrics.transitions.add(1, { result: verdict.kind });
        metrics.commitSeconds.observe((this.clock.nowMs() - startMs) / 1_000);
        return verdict;
      } catch (error) {
        // A copy may still be on its way: the same again is applied once or not at all.
        await this.clock.sleep(this.outage.noteFailure(error), options.signal);
      }
    }
  }
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

/** What stands under `job-data/` of one job, by kind. */
class JobData {
  private readonly pages: PlacedPage[] = [];
  private readonly tools: ToolRow[] = [];
  private head: { readonly row: JobHead; readonly revision: number } | undefined;
  private spec: JobSpec | undefined;
  private inbox: JobView["inbox"] = { last: 0, revision: 0 };

  add({ key: text, value, modRevision }: KvEntry): void {
    const key = parseKey(text);
    // Results, and what was seen of signals, are nothing that an owner needs.
    if (key.kind === "job-head") this.head = { row: parseJobHead(value), revision: modRevision };
    if (key.kind === "job-spec") this.spec = parseJobSpec(value);
    if (key.kind === "job-inbox-count") this.inbox = { last: parseInboxCount(value).last, revision: modRevision };
    if (key.kind === "job-tool") this.tools.push(parseToolRow(value));
    if (key.kind === "job-page") this.pages.push({ run: key.run, seq: key.seq, page: parseJobPage(value) });
  }

  finish(ref: JobRef, { value, modRevision }: KvEntry): LoadedJob {
    const { head, spec, inbox, tools } = this;
    if (head === undefined || spec === undefined) throw damagedJob(ref.job, "its head or what was started is missing");
    const row = parseJobRow(value);
    const pages = this.pages.filter(({ run }) => run === row.run);
    const verdict = verifyLog({ uid: spec.uid, run: row.run, head: head.row }, pages);
    if (verdict.kind === "broken") throw damagedJob(ref.job, `from event ${verdict.seq} on, ${verdict.reason}`);
    const view = { ref, row, rowRevision: modRevision, head: head.row, headRevision: head.revision, spec, inbox };
    return { view, tools, log: pages.flatMap(({ page }) => page.events) };
  }
}

function damagedJob(job: JobId, reason: string): AetherError {
  const message = `job "${job}" cannot go on, because it is damaged: ${reason}`;
  return new AetherError("E_DATA_CORRUPT", message, { details: { job } });
}
