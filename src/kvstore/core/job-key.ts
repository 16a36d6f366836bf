// Owns: the keys of jobs and their one text form. Kind first: listing jobs never passes over their events, and one
// watch for each kind is enough. Does not own: what the rows say (jobs/core/rows.ts).
import { parseDigest, parseJobId, parseNodeId, type Digest, type JobId, type NodeId } from "../../base/ids.ts";
import { unreachable } from "../../base/assert.ts";
import { AetherError } from "../../base/errors.ts";
import { escapeName, nameOf, numberOf, padded } from "./key-parts.ts";

/** Which job: the partition is part of every key, so that jobs can be spread over several consensus groups. */
export interface JobRef {
  readonly partition: number;
  readonly job: JobId;
}

/** One key of one job. */
type KeyOfJob =
  /** State, owner and epoch. It changes only with the phases of a job, so comparing its modRevision fences. */
  | { readonly kind: "job" }
  /** How far the log has come; changes with every append. */
  | { readonly kind: "job-head" }
  /** What was started; never changes. */
  | { readonly kind: "job-spec" }
  /** Events of one append, from sequence number `seq` on. */
  | { readonly kind: "job-page"; readonly run: number; readonly seq: number }
  /** Pages from event `seq` on, once more, in one row. */
  | { readonly kind: "job-chunk"; readonly run: number; readonly seq: number }
  /** What became of one call of a tool, in this run of the job. */
  | { readonly kind: "job-tool"; readonly run: number; readonly effect: Digest }
  /** How a run was left that the job continued after. */
  | { readonly kind: "job-run"; readonly run: number }
  | { readonly kind: "job-result" }
  /** The job that does it again. */
  | { readonly kind: "job-repeat" }
  /** What webhooks could not be told of it. */
  | { readonly kind: "job-untold" }
  /** The job has a payload that is stored apart: where its references are found when it is collected. */
  | { readonly kind: "job-payload"; readonly digest: Digest }
  /** The same the other way round: who has this payload. */
  | { readonly kind: "job-blob-ref"; readonly digest: Digest }
  /** How many entries the inbox has had. */
  | { readonly kind: "job-inbox-count" }
  /** An entry of the inbox was sent under the idempotency key with this digest. */
  | { readonly kind: "job-seen"; readonly digest: Digest }
  | { readonly kind: "job-inbox"; readonly n: number }
  /** A job that waits for a node. */
  | { readonly kind: "job-queue" }
  | { readonly kind: "job-timer"; readonly dueMs: number; readonly name: string }
  | { readonly kind: "job-owned"; readonly node: NodeId }
  | { readonly kind: "job-agent"; readonly agent: string }
  | { readonly kind: "job-end"; readonly endedMs: number }
  /** A job that has ended, and of which only the outcome is left. */
  | { readonly kind: "job-collected"; readonly endedMs: number }
  | { readonly kind: "job-approval"; readonly name: string }
  /** A job that this one has started. */
  | { readonly kind: "job-child"; readonly child: JobId }
  /** What other jobs are to be told of this one; `n` is the number of the first event of its append. */
  | { readonly kind: "job-outbox"; readonly n: number }
  /** What a webhook is to be told of its event `seq`. */
  | { readonly kind: "job-notice"; readonly run: number; readonly seq: number; readonly hook: string };

/** What a number of jobs that run at once, or of calls that are under way, is for. */
export const PERMIT_SCOPES = ["agent", "tenant", "cluster", "call"] as const;
export type PermitScope = (typeof PERMIT_SCOPES)[number];

/** One place of those that jobs of an agent, of a tenant or of the cluster share, or calls of a tool or model. */
export interface PermitPlace {
  readonly scope: PermitScope;
  readonly name: string;
  readonly slot: number;
}

export type JobKey =
  | (KeyOfJob & JobRef)
  /** The sign of life of a node that owns jobs. */
  | { readonly kind: "job-beat"; readonly node: NodeId }
  /** The job that was started under the idempotency key with this digest. */
  | { readonly kind: "job-start"; readonly tenant: string; readonly agent: string; readonly digest: Digest }
  /** What exactly jobs run: an artifact with its config. */
  | { readonly kind: "job-pin"; readonly digest: Digest }
  /** A payload that is stored apart, whole. */
  | { readonly kind: "job-blob"; readonly digest: Digest }
  /** One that is being written, or taken away. */
  | { readonly kind: "job-blob-write"; readonly digest: Digest }
  | { readonly kind: "job-blob-chunk"; readonly digest: Digest; readonly chunk: number }
  /** A place that a running job has, or a call of one. */
  | ({ readonly kind: "job-permit" } & PermitPlace)
  /** Tokens of a rate that calls of tools keep. */
  | { readonly kind: "job-rate"; readonly name: string };

/** The sets of keys of jobs that are listed and watched. Absent parts mean "all of them". */
export type JobKeyPrefix =
  | { readonly kind: "jobs" }
  | ({ readonly kind: "job-data" } & Partial<JobRef>)
  | ({ readonly kind: "job-log"; readonly run: number } & JobRef)
  | ({ readonly kind: "job-chunks"; readonly run: number } & JobRef)
  | ({ readonly kind: "job-tools"; readonly run: number } & JobRef)
  | ({ readonly kind: "job-runs" } & JobRef)
  | ({ readonly kind: "job-inboxes" } & Partial<JobRef>)
  | { readonly kind: "job-queue" }
  | { readonly kind: "job-timers" }
  | { readonly kind: "job-owned"; readonly node?: NodeId }
  | { readonly kind: "job-beats" }
  | { readonly kind: "job-starts" }
  | { readonly kind: "job-agents"; readonly agent?: string }
  | { readonly kind: "job-ends" }
  | { readonly kind: "jobs-collected" }
  | ({ readonly kind: "job-approvals" } & Partial<JobRef>)
  | ({ readonly kind: "job-children" } & Partial<JobRef>)
  | ({ readonly kind: "job-outboxes" } & Partial<JobRef>)
  | { readonly kind: "job-notices" }
  | { readonly kind: "job-pins" }
  | ({ readonly kind: "job-payloads" } & JobRef)
  | { readonly kind: "job-blobs" }
  | { readonly kind: "job-blob-writes" }
  | { readonly kind: "job-blob-chunks"; readonly digest?: Digest }
  | { readonly kind: "job-blob-refs"; readonly digest?: Digest }
  | { readonly kind: "job-permits" }
  | { readonly kind: "job-rates" };

const PARTITION_DIGITS = 3;
const RUN_DIGITS = 6;
/** Its tools had a key before there were other runs. */
const FIRST_RUN = 1;
const SEQ_DIGITS = 8;
const TIME_DIGITS = 15;
const SLOT_DIGITS = 6;
const CHUNK_DIGITS = 4;

const KINDS: Readonly<Record<JobKey["kind"], true>> = {
  "job": true, "job-head": true, "job-spec": true, "job-page": true, "job-tool": true, "job-result": true,
  "job-repeat": true, "job-run": true, "job-chunk": true, "job-untold": true, "job-notice": true,
  "job-inbox-count": true, "job-seen": true, "job-inbox": true, "job-queue": true, "job-timer": true,
  "job-owned": true, "job-agent": true, "job-end": true, "job-collected": true, "job-approval": true,
  "job-beat": true, "job-start": true, "job-pin": true, "job-child": true, "job-outbox": true,
  "job-permit": true, "job-rate": true, "job-payload": true, "job-blob-ref": true, "job-blob": true,
  "job-blob-write": true, "job-blob-chunk": true,
};
const PREFIX_KINDS: Readonly<Record<JobKeyPrefix["kind"], true>> = {
  "jobs": true, "job-data": true, "job-log": true, "job-tools": true, "job-inboxes": true, "job-queue": true,
  "job-timers": true, "job-owned": true, "job-beats": true, "job-starts": true, "job-agents": true,
  "job-ends": true, "jobs-collected": true, "job-approvals": true, "job-pins": true, "job-children": true,
  "job-outboxes": true, "job-notices": true, "job-permits": true, "job-rates": true, "job-runs": true,
  "job-chunks": true, "job-payloads": true, "job-blobs": true, "job-blob-writes": true, "job-blob-chunks": true,
  "job-blob-refs": true,
};

export function isJobKey(key: { readonly kind: string }): key is JobKey {
  return Object.hasOwn(KINDS, key.kind);
}

export function isJobKeyPrefix(prefix: { readonly kind: string }): prefix is JobKeyPrefix {
  return Object.hasOwn(PREFIX_KINDS, prefix.kind);
}

/** @throws AetherError E_INVALID when a part is empty or out of range */
export function jobKeyText(key: JobKey): string {
  switch (key.kind) {
    case "job-beat":
      return `job-beats/${key.node}`;
    case "job-start":
      return `job-starts/${escapeName(key.tenant)}/${escapeName(key.agent)}/${key.digest}`;
    case "job-pin":
      return `job-pins/${key.digest}`;
    case "job-rate":
      return `job-rates/${escapeName(key.name)}`;
    case "job-blob":
      return `job-blobs/${key.digest}`;
    case "job-blob-write":
      return `job-blob-writes/${key.digest}`;
    case "job-blob-chunk":
      return `job-blob-chunks/${key.digest}/${padded(key.chunk, CHUNK_DIGITS)}`;
    case "job-blob-ref":
      return `job-blob-refs/${key.digest}/${refText(key)}`;
    case "job-permit":
      return `job-permits/${key.scope}/${escapeName(key.name)}/${padded(key.slot, SLOT_DIGITS)}`;
    case "job":
      return `jobs/${refText(key)}`;
    case "job-inbox":
      return `job-inbox/${refText(key)}/${padded(key.n, SEQ_DIGITS)}`;
    case "job-queue":
      return `job-queue/${refText(key)}`;
    case "job-timer":
      return `job-timers/${partitionText(key)}/${padded(key.dueMs, TIME_DIGITS)}/${key.job}/${escapeName(key.name)}`;
    case "job-owned":
      return `job-owned/${key.node}/${refText(key)}`;
    case "job-agent":
      return `job-agents/${escapeName(key.agent)}/${refText(key)}`;
    case "job-end":
      return `job-ends/${partitionText(key)}/${padded(key.endedMs, TIME_DIGITS)}/${key.job}`;
    case "job-collected":
      return `jobs-collected/${partitionText(key)}/${padded(key.endedMs, TIME_DIGITS)}/${key.job}`;
    case "job-approval":
      return `job-approvals/${refText(key)}/${escapeName(key.name)}`;
    case "job-child":
      return `job-children/${refText(key)}/${key.child}`;
    case "job-outbox":
      return `job-outbox/${refText(key)}/${padded(key.n, SEQ_DIGITS)}`;
    case "job-notice": {
      const at = `${padded(key.run, RUN_DIGITS)}/${padded(key.seq, SEQ_DIGITS)}`;
      return `job-notices/${refText(key)}/${at}/${escapeName(key.hook)}`;
    }
    case "job-head":
    case "job-spec":
    case "job-page":
    case "job-chunk":
    case "job-tool":
    case "job-run":
    case "job-result":
    case "job-repeat":
    case "job-untold":
    case "job-inbox-count":
    case "job-seen":
    case "job-payload":
      return `job-data/${refText(key)}/${dataText(key)}`;
    default:
      return unreachable(key);
  }
}

type DataKey = Extract<KeyOfJob, {
  readonly kind:
    "job-head" | "job-spec" | "job-page" | "job-chunk" | "job-tool" | "job-run" | "job-result" | "job-repeat" |
    "job-untold" | "job-inbox-count" | "job-seen" | "job-payload";
}>;

function dataText(key: DataKey): string {
  switch (key.kind) {
    case "job-head":
      return "head";
    case "job-spec":
      return "spec";
    case "job-page":
      return `log/${padded(key.run, RUN_DIGITS)}/${padded(key.seq, SEQ_DIGITS)}`;
    case "job-chunk":
      return `snap/${padded(key.run, RUN_DIGITS)}/${padded(key.seq, SEQ_DIGITS)}`;
    case "job-tool":
      return `${toolsText(key.run)}${key.effect}`;
    case "job-run":
      return `runs/${padded(key.run, RUN_DIGITS)}`;
    case "job-result":
      return "result";
    case "job-repeat":
      return "repeat";
    case "job-untold":
      return "untold";
    case "job-inbox-count":
      return "inbox";
    case "job-seen":
      return `seen/${key.digest}`;
    case "job-payload":
      return `payloads/${key.digest}`;
    default:
      return unreachable(key);
  }
}

/** Those of a later run stand apart: whoever takes the job reads no more than its own run. */
function toolsText(run: number): string {
  return run === FIRST_RUN ? "tools/" : `run-tools/${padded(run, RUN_DIGITS)}/`;
}

/** The key of a job that `text` is; undefined when it looks like none. @throws AetherError E_INVALID for a bad part */
export function jobKeyOf(text: string, segments: readonly string[]): JobKey | undefined {
  const [root = "", a = "", b = "", c = "", d = "", e = ""] = segments;
  switch (`${root}/${segments.length}`) {
    case "job-beats/2":
      return { kind: "job-beat", node: parseNodeId(a) };
    case "job-starts/4":
      return { kind: "job-start", tenant: nameOf(text, a), agent: nameOf(text, b), digest: parseDigest(c) };
    case "job-pins/2":
      return { kind: "job-pin", digest: parseDigest(a) };
    case "job-blobs/2":
      return { kind: "job-blob", digest: parseDigest(a) };
    case "job-blob-writes/2":
      return { kind: "job-blob-write", digest: parseDigest(a) };
    case "job-blob-chunks/3":
      return { kind: "job-blob-chunk", digest: parseDigest(a), chunk: numberOf(text, b) };
    case "job-blob-refs/4":
      return { kind: "job-blob-ref", digest: parseDigest(a), ...refOf(text, b, c) };
    case "job-rates/2":
      return { kind: "job-rate", name: nameOf(text, a) };
    case "job-permits/4": {
      const scope = PERMIT_SCOPES.find((one) => one === a);
      return scope && { kind: "job-permit", scope, name: nameOf(text, b), slot: numberOf(text, c) };
    }
    case "jobs/3":
      return { kind: "job", ...refOf(text, a, b) };
    case "job-inbox/4":
      return { kind: "job-inbox", ...refOf(text, a, b), n: numberOf(text, c) };
    case "job-queue/3":
      return { kind: "job-queue", ...refOf(text, a, b) };
    case "job-timers/5":
      return { kind: "job-timer", ...refOf(text, a, c), dueMs: numberOf(text, b), name: nameOf(text, d) };
    case "job-owned/4":
      return { kind: "job-owned", node: parseNodeId(a), ...refOf(text, b, c) };
    case "job-agents/4":
      return { kind: "job-agent", agent: nameOf(text, a), ...refOf(text, b, c) };
    case "job-ends/4":
      return { kind: "job-end", ...refOf(text, a, c), endedMs: numberOf(text, b) };
    case "jobs-collected/4":
      return { kind: "job-collected", ...refOf(text, a, c), endedMs: numberOf(text, b) };
    case "job-approvals/4":
      return { kind: "job-approval", ...refOf(text, a, b), name: nameOf(text, c) };
    case "job-children/4":
      return { kind: "job-child", ...refOf(text, a, b), child: parseJobId(c) };
    case "job-outbox/4":
      return { kind: "job-outbox", ...refOf(text, a, b), n: numberOf(text, c) };
    case "job-notices/6":
      return {
        kind: "job-notice", ...refOf(text, a, b), run: numberOf(text, c), seq: numberOf(text, d), hook: nameOf(text, e),
      };
    case "job-data/4":
    case "job-data/5":
    case "job-data/6": {
      const key = dataKeyOf(text, segments.slice(3));
      if (key === undefined) return undefined;
      const { partition, job } = refOf(text, a, b);
      return { partition, job, ...key };
    }
    default:
      return undefined;
  }
}

function dataKeyOf(text: string, [what = "", a = "", b = "", ...more]: readonly string[]): DataKey | undefined {
  if (more.length > 0) return undefined;
  if (b !== "") {
    if (what === "run-tools") return { kind: "job-tool", run: laterRunOf(text, a), effect: parseDigest(b) };
    if (what === "snap") return { kind: "job-chunk", run: numberOf(text, a), seq: numberOf(text, b) };
    return what === "log" ? { kind: "job-page", run: numberOf(text, a), seq: numberOf(text, b) } : undefined;
  }
  if (a !== "") {
    if (what === "tools") return { kind: "job-tool", run: FIRST_RUN, effect: parseDigest(a) };
    if (what === "runs") return { kind: "job-run", run: numberOf(text, a) };
    if (what === "payloads") return { kind: "job-payload", digest: parseDigest(a) };
    return what === "seen" ? { kind: "job-seen", digest: parseDigest(a) } : undefined;
  }
  switch (what) {
    case "head":
      return { kind: "job-head" };
    case "spec":
      return { kind: "job-spec" };
    case "result":
      return { kind: "job-result" };
    case "repeat":
      return { kind: "job-repeat" };
    case "untold":
      return { kind: "job-untold" };
    case "inbox":
      return { kind: "job-inbox-count" };
    default:
      return undefined;
  }
}

/** One key has one text. */
function laterRunOf(text: string, digits: string): number {
  const run = numberOf(text, digits);
  if (run !== FIRST_RUN) return run;
  throw new AetherError("E_INVALID", `"${text}" is not a key: tools of the first run stand under tools/`);
}

/** The text with which every key of the set begins, and no other key. */
export function jobPrefixText(prefix: JobKeyPrefix): string {
  switch (prefix.kind) {
    case "jobs":
    case "job-queue":
    case "job-timers":
    case "job-beats":
    case "job-starts":
    case "job-ends":
    case "jobs-collected":
    case "job-pins":
    case "job-permits":
    case "job-rates":
    case "job-notices":
    case "job-blobs":
    case "job-blob-writes":
      return `${prefix.kind}/`;
    case "job-blob-chunks":
      return prefix.digest === undefined ? "job-blob-chunks/" : `job-blob-chunks/${prefix.digest}/`;
    case "job-blob-refs":
      return prefix.digest === undefined ? "job-blob-refs/" : `job-blob-refs/${prefix.digest}/`;
    case "job-approvals":
      return `job-approvals/${partialRef(prefix)}`;
    case "job-data":
      return `job-data/${partialRef(prefix)}`;
    case "job-inboxes":
      return `job-inbox/${partialRef(prefix)}`;
    case "job-children":
      return `job-children/${partialRef(prefix)}`;
    case "job-outboxes":
      return `job-outbox/${partialRef(prefix)}`;
    case "job-log":
      return `job-data/${refText(prefix)}/log/${padded(prefix.run, RUN_DIGITS)}/`;
    case "job-chunks":
      return `job-data/${refText(prefix)}/snap/${padded(prefix.run, RUN_DIGITS)}/`;
    case "job-tools":
      return `job-data/${refText(prefix)}/${toolsText(prefix.run)}`;
    case "job-runs":
      return `job-data/${refText(prefix)}/runs/`;
    case "job-payloads":
      return `job-data/${refText(prefix)}/payloads/`;
    case "job-owned":
      return prefix.node === undefined ? "job-owned/" : `job-owned/${prefix.node}/`;
    case "job-agents":
      return prefix.agent === undefined ? "job-agents/" : `job-agents/${escapeName(prefix.agent)}/`;
    default:
      return unreachable(prefix);
  }
}

function partialRef({ partition, job }: Partial<JobRef>): string {
  return partition === undefined || job === undefined ? "" : `${refText({ partition, job })}/`;
}

function refText(ref: JobRef): string {
  return `${partitionText(ref)}/${ref.job}`;
}

function partitionText({ partition }: Pick<JobRef, "partition">): string {
  return padded(partition, PARTITION_DIGITS);
}

function refOf(text: string, partition: string, job: string): JobRef {
  return { partition: numberOf(text, partition), job: parseJobId(job) };
}
