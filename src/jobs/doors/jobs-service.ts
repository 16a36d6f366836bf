// Owns: what people and programs see of jobs.
// Does not own: how jobs are started (start-jobs.ts), what reaches a running job from outside (jobs-drive.ts).
import { present } from "../../base/assert.ts";
import { createDeferred } from "../../base/deferred.ts";
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId, Digest, JobId } from "../../base/ids.ts";
import type { CallOptions, Env } from "../../env/env.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";
import { formatKey, knownKey, prefixOf, type KeyPrefix, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry } from "../../kvstore/core/schema.ts";
import type { Kv, KvReadOptions } from "../../kvstore/kv.ts";
import { readUndamaged } from "../../slices/core/damaged-row.ts";
import { listRows } from "../../slices/list-rows.ts";
import { approvalOf } from "../inbox/approval-rows.ts";
import { refOf } from "../core/ids.ts";
import { parseUntoldRow } from "../core/flow/notice.ts";
import { repeatKey } from "../core/life/decide-repeat.ts";
import { headKey, resultKey, rowKey, specKey, untoldKey } from "../core/life/job-keys.ts";
import { numberedEvents, PAGE_EVENTS_MAX } from "../core/log/page.ts";
import {
  parseJobHead, parseJobPage, parseJobResult, parseJobRow, parseJobSpec, parsePinRow, parseRepeatRow,
  type JobResult, type JobRow,
} from "../core/rows.ts";
import { parseToolRow } from "../core/tools/tool-row.ts";
import { collectedJob, unknownJob } from "../job-store.ts";
import type { JobWatch } from "../job-watch.ts";
import { CHILDREN_SHOWN_MAX, JOBS_PAGE_MAX, JOBS_SCANNED_MAX, RESULT_WAIT_MS_MAX } from "../limits.ts";
import type { PendingReasons } from "../admission/pending-reasons.ts";
import type {
  EventsQuery, JobFilter, JobListed, JobPage, JobPageQuery, Jobs, JobShown, NumberedEvent,
} from "../ports.ts";

export interface JobsServicePorts {
  readonly kv: Kv;
  readonly watch: Pick<JobWatch, "listen">;
  readonly pending: Pick<PendingReasons, "why">;
}

const JOBS_PAGE_DEFAULT = 100;

export class JobsService implements Pick<Jobs, "show" | "list" | "events" | "result"> {
  private readonly clock: Env["clock"];
  private readonly ports: JobsServicePorts;

  constructor({ clock }: Pick<Env, "clock">, ports: JobsServicePorts) {
    this.clock = clock;
    this.ports = ports;
  }

  /** All of it as of one revision. */
  async show(job: JobId, options: KvReadOptions = {}): Promise<JobShown> {
    const { kv } = this.ports;
    const ref = refOf(job);
    const { entry, revision } = await this.read(ref, options);
    const at = { ...options, revision };
    const row = parseJobRow(entry.value);
    const keys = [headKey(ref), specKey(ref), resultKey(ref), untoldKey(ref), pinKey(row.pin), repeatKey(ref)];
    const [head, spec, result, untold, pin, repeat] = await Promise.all(keys.map((key) => kv.get(key, at)));
    const tools = await listRows(
      kv, prefixOf({ kind: "job-tools", ...ref, run: row.run }), { ...options, consistency: "local" },
    );
    const approvals = await listRows(
      kv, prefixOf({ kind: "job-approvals", ...ref }), { ...options, consistency: "local" },
    );
    const artifact = pin?.entry && readUndamaged(() => parsePinRow(pin.entry?.value).artifact);
    const pending = this.ports.pending.why(row);
    return {
      job,
      row,
      approvals: approvals.flatMap((found) => readUndamaged(() => approvalOf(found)) ?? []),
      head: parseJobHead(present(head?.entry, "a job has a head").value),
      spec: parseJobSpec(present(spec?.entry, "of a job is known what was started").value),
      tools: tools.map(({ value }) => parseToolRow(value)).sort((a, b) => a.seq - b.seq),
      children: (await this.list({ parent: job, limit: CHILDREN_SHOWN_MAX }, options)).jobs,
      ...(result?.entry !== undefined && { result: parseJobResult(result.entry.value) }),
      ...(repeat?.entry !== undefined && { repeatedBy: parseRepeatRow(repeat.entry.value).job }),
      ...(untold?.entry !== undefined && { untold: parseUntoldRow(untold.entry.value) }),
      ...(artifact !== undefined && { artifact }),
      ...(pending !== undefined && { pending }),
    };
  }

  async list(query: JobPageQuery, options: KvReadOptions = {}): Promise<JobPage> {
    const limit = checkLimit(query.limit ?? JOBS_PAGE_DEFAULT);
    const { upTo = Number.MAX_SAFE_INTEGER } = query;
    const jobs: JobListed[] = [];
    const artifacts = new PinnedArtifacts(this.ports.kv);
    let revision: number | undefined;
    let from = query.after && placeOf(query, query.after);
    for (let scanned = 0, after = query.after; ;) {
      const consistency = revision === undefined ? options.consistency ?? "linearizable" : "local";
      const page = await this.page(query, from, { ...options, consistency });
      revision ??= page.revision;
      for (const { key, value, createRevision } of page.rows) {
        const job = jobOf(key);
        if (job === undefined) continue;
        after = job;
        const row = readUndamaged(() => parseJobRow(value));
        const isOne = row !== undefined && createRevision <= upTo && matches(row, query) &&
          (query.artifact === undefined || await artifacts.of(row.pin, options) === query.artifact);
        if (isOne) jobs.push({ job: after, row });
        if (jobs.length === limit) return { jobs, more: true, next: after, revision };
      }
      if (!page.more) return { jobs, more: false, revision };
      from = page.last;
      scanned += page.rows.length;
      if (scanned >= JOBS_SCANNED_MAX && after !== undefined) return { jobs, more: true, next: after, revision };
    }
  }

  async events(
    job: JobId,
    { afterSeq = 0, limit = JOBS_PAGE_MAX, run: wanted }: EventsQuery,
    options: KvReadOptions = {},
  ): Promise<{ readonly events: readonly NumberedEvent[]; readonly more: boolean }> {
    checkLimit(limit);
    const ref = refOf(job);
    const { run: current, collectedMs } = parseJobRow((await this.read(ref, options)).entry.value);
    if (collectedMs !== undefined) throw collectedJob(job, collectedMs);
    const run = wanted ?? current;
    if (run > current) throw new AetherError("E_NOT_FOUND", `job ${job} has no run ${run}: it is in run ${current}`);
    const events: NumberedEvent[] = [];
    // The page that has the first event wanted begins at most so far before it.
    const before = Math.max(0, afterSeq + 1 - PAGE_EVENTS_MAX);
    let after: KeyText = formatKey({ kind: "job-page", ...ref, run, seq: before });
    for (;;) {
      const page = await this.ports.kv.list(
        { prefix: prefixOf({ kind: "job-log", ...ref, run }), after },
        { ...options, consistency: "local" },
      );
      for (const { key: text, value } of page.entries) {
        const key = knownKey(text);
        if (key?.kind !== "job-page") continue;
        const found = numberedEvents({ run, seq: key.seq, page: parseJobPage(value) });
        events.push(...found.filter(({ seq }) => seq > afterSeq));
        if (events.length > limit) return { events: events.slice(0, limit), more: true };
      }
      after = page.entries.at(-1)?.key ?? after;
      if (!page.more) return { events, more: false };
    }
  }

  async result(job: JobId, waitMs: number, options: CallOptions = {}): Promise<JobResult | undefined> {
    const ref = refOf(job);
    let changed = createDeferred<void>();
    let isOver = waitMs <= 0;
    const end = (): void => {
      isOver = true;
      changed.resolve();
    };
    const unlisten = this.ports.watch.listen(job, {
      onRow: () => changed.resolve(),
      onGap: () => changed.resolve(),
    });
    const timer = this.clock.setTimer(Math.min(waitMs, RESULT_WAIT_MS_MAX), end);
    options.signal?.addEventListener("abort", end, { once: true });
    try {
      await this.read(ref, options);
      for (;;) {
        const found = await this.readResult(ref, options);
        options.signal?.throwIfAborted();
        if (found !== undefined || isOver) return found;
        await changed.promise;
        changed = createDeferred();
      }
    } finally {
      unlisten();
      timer.cancel();
      options.signal?.removeEventListener("abort", end);
    }
  }

  /** As this node has it applied: what the watch has told is. */
  private async readResult(ref: JobRef, options: CallOptions): Promise<JobResult | undefined> {
    const { entry } = await this.ports.kv.get(resultKey(ref), { ...options, consistency: "local" });
    return entry === undefined ? undefined : parseJobResult(entry.value);
  }

  private async read(
    ref: JobRef,
    options: KvReadOptions,
  ): Promise<{ readonly entry: KvEntry; readonly revision: number }> {
    const { entry, revision } = await this.ports.kv.get(rowKey(ref), options);
    if (entry === undefined) throw unknownJob(ref.job);
    return { entry, revision };
  }

  /** Rows of jobs in the order of their ids: of one agent or parent by its index, else of all. */
  private async page(
    query: JobPageQuery,
    after: KeyText | undefined,
    options: CallOptions & { readonly consistency: "linearizable" | "local" },
  ): Promise<RowsPage> {
    const { kv } = this.ports;
    const order = query.order === "newest" ? "descending" : "ascending";
    const page = await kv.list({ prefix: prefixOf(setOf(query)), order, ...(after && { after }) }, options);
    const last = page.entries.at(-1)?.key;
    const { more, revision } = page;
    if (query.parent === undefined && query.agent === undefined) return { rows: page.entries, more, last, revision };
    const reads = await Promise.all(page.entries.map(async ({ key }) => {
      const job = jobOf(key);
      return job && await kv.get(rowKey(refOf(job)), { ...options, consistency: "local" });
    }));
    return { rows: reads.flatMap((read) => read?.entry ?? []), more, last, revision };
  }
}

/** Where jobs of a query are found: in an index, or all of them. */
function setOf({ agent, parent }: JobFilter): KeyPrefix {
  if (parent !== undefined) return { kind: "job-children", ...refOf(parent) };
  return agent === undefined ? { kind: "jobs" } : { kind: "job-agents", agent };
}

function placeOf({ agent, parent }: JobFilter, job: JobId): KeyText {
  if (parent !== undefined) return formatKey({ kind: "job-child", ...refOf(parent), child: job });
  return agent === undefined ? rowKey(refOf(job)) : formatKey({ kind: "job-agent", agent, ...refOf(job) });
}

/** Which version of its package a pin is of, each read once. */
class PinnedArtifacts {
  private readonly kv: Pick<Kv, "get">;
  private readonly known = new Map<Digest, ArtifactId | undefined>();

  constructor(kv: Pick<Kv, "get">) {
    this.kv = kv;
  }

  /** Undefined for one that is not kept any more. */
  async of(pin: Digest, options: CallOptions): Promise<ArtifactId | undefined> {
    if (this.known.has(pin)) return this.known.get(pin);
    const { entry } = await this.kv.get(pinKey(pin), { ...options, consistency: "local" });
    const artifact = entry && readUndamaged(() => parsePinRow(entry.value).artifact);
    this.known.set(pin, artifact);
    return artifact;
  }
}

interface RowsPage {
  readonly rows: readonly KvEntry[];
  readonly more: boolean;
  /** Where the next one begins. */
  readonly last: KeyText | undefined;
  readonly revision: number;
}

function pinKey(digest: Digest): KeyText {
  return formatKey({ kind: "job-pin", digest });
}

/** Of a row of jobs, or of an index of them; undefined for what only a later build knows. */
function jobOf(text: KeyText): JobId | undefined {
  const key = knownKey(text);
  if (key?.kind === "job" || key?.kind === "job-agent") return key.job;
  return key?.kind === "job-child" ? key.child : undefined;
}

function matches(row: JobRow, filter: Omit<JobFilter, "parent" | "artifact">): boolean {
  const { agent, status, waiting, createdFromMs = 0, createdBeforeMs = Infinity, attributes = {} } = filter;
  return (agent === undefined || row.agent === agent) && (status === undefined || row.status === status) &&
    (waiting === undefined || row.waiting?.reason === waiting) &&
    row.createdMs >= createdFromMs && row.createdMs < createdBeforeMs &&
    Object.entries(attributes).every(([name, value]) => row.attributes[name] === value);
}

function checkLimit(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= JOBS_PAGE_MAX) return limit;
  throw new AetherError("E_INVALID", `the limit is ${limit}: use 1 to ${JOBS_PAGE_MAX}`);
}
