// Owns: taking away what is left of jobs that ended long ago: the leader does it, a job at a time, oldest end first.
// Does not own: what is taken away in which transaction (core/life/collect.ts).
import type { ErrorCode } from "../../base/error-catalog.ts";
import { toAetherError } from "../../base/errors.ts";
import { MINUTE_MS } from "../../base/units.ts";
import type { LeadershipService } from "../../cluster/leadership/leadership-service.ts";
import { StoreLoop } from "../../cluster/store-loop.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";
import { knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry, Txn } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { readUndamaged } from "../../slices/core/damaged-row.ts";
import { listRows } from "../../slices/list-rows.ts";
import type { JobsConfig } from "../config.ts";
import { collectTxns, forgetEnd, forgetTxn, judgeCollect, type EndedJob } from "../core/life/collect.ts";
import { resultKey, rowKey, specKey } from "../core/life/job-keys.ts";
import type { BlobRef } from "../core/payloads/blob.ts";
import { parseJobResult, parseJobRow, parseJobSpec, type JobSpec } from "../core/rows.ts";
import { JobExport } from "../doors/job-export.ts";
import type { JobsMetrics } from "../metrics.ts";
import type { JobArchive } from "./job-archive.ts";

export interface JobCollectorPorts {
  readonly kv: Kv;
  readonly leadership: Pick<LeadershipService, "fence" | "onChange">;
  /** Where logs go before they are taken away, if anywhere. */
  readonly archive?: JobArchive;
  readonly metrics: Pick<JobsMetrics, "collected">;
  readonly onFatal: (error: unknown) => void;
}

/** How often the leader looks; what is kept is kept for days. */
const LOOK_EVERY_MS = MINUTE_MS;
/** Ends of one look: whoever cannot be collected yet must not hide those behind it for ever. */
const ENDS_PER_LOOK = 1_000;
/** Why one job cannot be archived, and others can: it is too long to be read at one revision, damaged, or gone. */
const OF_THE_JOB: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["E_COMPACTED", "E_DATA_CORRUPT", "E_NOT_FOUND"]);
const PAGE = 100;

type Stage = "job-end" | "job-collected";

export class JobCollector {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: JobCollectorPorts;
  private readonly keep: Readonly<Record<Stage, number>>;
  private readonly loop: StoreLoop;

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: JobCollectorPorts,
    { keepMs, keepOutcomeMs }: Pick<JobsConfig, "keepMs" | "keepOutcomeMs">,
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.keep = { "job-end": keepMs, "job-collected": Math.max(keepMs, keepOutcomeMs) };
    this.loop = new StoreLoop(env, "job retention", {
      look: (signal) => this.lookAtAll(signal),
      onFatal: ports.onFatal,
    });
    ports.leadership.onChange(() => this.loop.notify());
  }

  start(): void {
    this.loop.start();
  }

  async close(): Promise<void> {
    await this.loop.close();
  }

  private async lookAtAll(signal: AbortSignal): Promise<number> {
    if (this.ports.leadership.fence() !== undefined) {
      await this.look("job-end", signal);
      await this.look("job-collected", signal);
    }
    return LOOK_EVERY_MS;
  }

  /** Those whose time is over, oldest first. */
  private async look(stage: Stage, signal: AbortSignal): Promise<void> {
    const options = { consistency: "local", signal } as const;
    const untilMs = this.clock.wallMs() - this.keep[stage];
    let after: KeyText | undefined;
    for (let seen = 0; seen < ENDS_PER_LOOK;) {
      const prefix = prefixOf({ kind: stage === "job-end" ? "job-ends" : "jobs-collected" });
      const query = { prefix, limit: PAGE, ...(after === undefined ? {} : { after }) };
      const page = await this.ports.kv.list(query, options);
      for (const { key } of page.entries) {
        const end = knownKey(key);
        if (end?.kind !== stage) continue;
        if (end.endedMs > untilMs) return;
        const { partition, job, endedMs } = end;
        if (await this.handle(stage, { partition, job }, endedMs, signal) === "stop") return;
      }
      seen += page.entries.length;
      after = page.entries.at(-1)?.key;
      if (!page.more || after === undefined) return;
    }
  }

  private async handle(stage: Stage, ref: JobRef, endedMs: number, signal: AbortSignal): Promise<"on" | "stop"> {
    const found = await this.read(ref, endedMs, signal);
    // A person has to look at it; it stays as it is.
    if (found === undefined) {
      this.log.error({ event: "jobs.not-collected", job: ref.job, reason: "its row, or what was started, is damaged" });
      return "on";
    }
    const { job, spec } = found;
    if (stage === "job-collected") {
      const payloads = await listRows(this.ports.kv, prefixOf({ kind: "job-payloads", ...ref }), {
        consistency: "local", signal,
      });
      if (hasLaterRows(payloads)) return "on";
      const txn = forgetTxn(job, spec, payloads.map(({ key }) => key));
      if (await this.write(txn, signal)) this.ports.metrics.collected.add(1, { what: "outcome" });
      return "on";
    }
    const { kv } = this.ports;
    const options = { consistency: "local", signal } as const;
    const awaited = await kv.list({ prefix: prefixOf({ kind: "job-outboxes", ...ref }), limit: 1 }, options);
    switch (judgeCollect(job, awaited.entries.length > 0)) {
      case "needed":
        return "on";
      case "stale":
        await this.write(forgetEnd(job), signal);
        return "on";
      case "collect": {
        const kept = await this.archive(job, spec, signal);
        if (kept !== "kept") return kept;
        const prefixes = [prefixOf({ kind: "job-data", ...ref }), prefixOf({ kind: "job-inboxes", ...ref })];
        const data = (await Promise.all(prefixes.map((prefix) => listRows(kv, prefix, options)))).flat();
        if (hasLaterRows(data)) return "on";
        const keys = data.map(({ key }) => key);
        const txns = collectTxns(job, spec, { keys, output: outputIn(ref, data) }, this.clock.wallMs());
        for (const txn of txns) if (!await this.write(txn, signal)) return "on";
        this.ports.metrics.collected.add(1, { what: "log" });
        return "on";
      }
    }
  }

  /**
   * Whether it is in the archive: before the first row goes, so that a job whose rows are going already is. Otherwise
   * whether those behind it can be.
   */
  private async archive(
    { ref, row, endedMs }: EndedJob, { uid }: JobSpec, signal: AbortSignal,
  ): Promise<"kept" | "on" | "stop"> {
    const { archive, kv } = this.ports;
    if (archive === undefined || row.collectedMs !== undefined) return "kept";
    try {
      const lines = await new JobExport(kv).open(ref.job, { signal });
      await archive.keep({ job: ref.job, uid, endedMs }, lines);
      return "kept";
    } catch (thrown) {
      signal.throwIfAborted();
      const { code, message: reason } = toAetherError(thrown);
      // Otherwise another node, which leads by now, has taken it away.
      if (code !== "E_NOT_FOUND") this.log.error({ event: "jobs.not-archived", job: ref.job, reason });
      return OF_THE_JOB.has(code) ? "on" : "stop";
    }
  }

  private async read(ref: JobRef, endedMs: number, signal: AbortSignal):
  Promise<{ readonly job: EndedJob; readonly spec: JobSpec } | undefined> {
    const [row, spec] = await Promise.all([rowKey(ref), specKey(ref)].map((key) =>
      this.ports.kv.get(key, { consistency: "local", signal })));
    const rowEntry = row?.entry;
    const specEntry = spec?.entry;
    if (rowEntry === undefined || specEntry === undefined) return undefined;
    return readUndamaged(() => ({
      job: { ref, endedMs, row: parseJobRow(rowEntry.value), rowRevision: rowEntry.modRevision },
      spec: parseJobSpec(specEntry.value),
    }));
  }

  /** Whether it was applied; otherwise the job is met again at the next look, by whoever leads then. */
  private async write(txn: Txn, signal: AbortSignal): Promise<boolean> {
    const fence = this.ports.leadership.fence();
    if (fence === undefined) return false;
    const { succeeded } = await this.ports.kv.transact({ ...txn, compare: [fence, ...txn.compare] }, { signal });
    return succeeded;
  }
}

/** Only a later build knows all that goes with such a job: it takes it away. */
function hasLaterRows(rows: readonly KvEntry[]): boolean {
  return rows.some(({ key }) => knownKey(key) === undefined);
}

/** The output of a job, where it is stored apart: it stays as long as its outcome. */
function outputIn(ref: JobRef, data: readonly KvEntry[]): BlobRef | undefined {
  const row = data.find(({ key }) => key === resultKey(ref));
  const result = row && readUndamaged(() => parseJobResult(row.value));
  return result?.kind === "completed" ? result.blob : undefined;
}
