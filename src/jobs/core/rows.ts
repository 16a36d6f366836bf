// Owns: the rows of jobs as they are stored, and their parsing. What may follow what is core/life's matter, the calls
// of tools are core/tools'.
//
// A job's state is two rows because they have different readers. Whoever sends a signal, fires a timer or claims a job
// compares the job's row, which stands still while the job runs; the owner compares the head too, which changes with
// every append. So a signal never loses against a busy owner, and an owner never against a signal.
import { z } from "zod";
import { decode, encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { parseJobId, type ArtifactId, type Digest, type JobId } from "../../base/ids.ts";
import { digestSchema, parseStored } from "../../base/stored-row.ts";
import { nodeLifeSchema, type NodeLife } from "../../cluster/core/rows.ts";
import { PERMIT_SCOPES, type PermitPlace } from "../../kvstore/core/job-key.ts";
import { artifactIdSchema, resolvedUsesSchema, type ResolvedUse } from "../../slices/core/instance-spec.ts";
import type { Account, Amount } from "./budget/account.ts";
import { accountSchema, amountSchema } from "./budget/amounts.ts";
import type { RateRow } from "./flow/rate-bucket.ts";
import { blobRefSchema, type BlobRef } from "./payloads/blob.ts";
import { parseUid, type CallName, type JobUid } from "./ids.ts";

export const JOB_STATUSES = ["pending", "running", "waiting", "completed", "failed", "cancelled"] as const;
export type JobStatus = (typeof JOB_STATUSES)[number];

export const WAIT_REASONS = [
  "timer", "signal", "approval", "retry", "child", "admission", "budget", "unknown", "stuck", "restored",
] as const;
export type WaitReason = (typeof WAIT_REASONS)[number];

export const QUEUE_CLASSES = ["realtime", "default", "background", "heavy"] as const;
export type QueueClass = (typeof QUEUE_CLASSES)[number];

/** Why a job has no owner and no worker, and what ends that. */
export interface Waiting {
  readonly reason: WaitReason;
  /** What wakes it, see `wakesOf` of an inbox entry; 16 at most. */
  readonly on: readonly string[];
  /** Wall time at which it goes on by itself. */
  readonly untilMs?: number;
  /** In `stuck`, `restored` and `budget`: what a person has to know. */
  readonly why?: string;
}

/** The value of `jobs/{partition}/{job}`: changes only when the job enters another phase of its life. */
export interface JobRow {
  readonly agent: string;
  readonly tenant: string;
  /** What exactly runs: the row `job-pins/{pin}`. */
  readonly pin: Digest;
  readonly status: JobStatus;
  /** Present in `waiting`. */
  readonly waiting?: Waiting;
  /** Present in `running`. */
  readonly owner?: NodeLife;
  /** Grows with every claim: what an earlier owner writes is refused. */
  readonly epoch: number;
  /** 1, and one more each time the job continues as a new one under its id. */
  readonly run: number;
  /** Claims at which the log stood still: `count` of them at sequence number `atSeq`. */
  readonly claims: { readonly atSeq: number; readonly count: number };
  readonly queueClass: QueueClass;
  /** Higher goes first. */
  readonly priority: number;
  readonly attributes: Readonly<Record<string, string>>;
  /** Only nodes that have all of them run it; absent for any node. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Jobs of its agent that may run at once in the cluster; absent for any number. */
  readonly agentMax?: number;
  /** Present in `running`, for what is limited: the places that it has. */
  readonly permits?: readonly PermitPlace[];
  /** Wall time at which `status` was entered; for people. */
  readonly sinceMs: number;
  readonly createdMs: number;
  readonly restored?: RestoredPoint;
  /** The job that has started it. */
  readonly parent?: JobId;
  /** Wall time at which its log was taken away: only its outcome is left. */
  readonly collectedMs?: number;
}

/**
 * Where the job was in the backup that its cluster began with. Since then it may have gone on in the old cluster: what
 * comes after this point may have happened.
 */
export interface RestoredPoint {
  /** Number of the last event. */
  readonly seq: number;
  /** Number of the last entry of the inbox. */
  readonly inbox: number;
}

/** The value of `job-data/…/head`: how far the log is. */
export interface JobHead {
  readonly run: number;
  /** Sequence number of the last event; 0 before the first. */
  readonly seq: number;
  /** Link of the last event: see log/chain.ts. */
  readonly link: Uint8Array;
  /** Of all events of this run. */
  readonly bytes: number;
  /** Entries of the inbox that are in the log or were dropped. */
  readonly folded: number;
  /** Rows of the ledger that are granted or unknown: while there are any the job does not end. */
  readonly openEffects: number;
  readonly steps: number;
  /** Of a job with a budget. */
  readonly account?: Account;
}

/** The job that has started another one, and the call in its code. */
export interface ParentRef {
  readonly job: JobId;
  readonly call: CallName;
  /** The parent does not wait for it, and does not take it with it when it ends. */
  readonly isDetached: boolean;
  /** How many jobs are above it: 1 for the child of a job that nobody's code has started. */
  readonly depth: number;
}

/** The value of `job-data/…/spec`: what was started. */
export interface JobSpec {
  readonly uid: JobUid;
  /** What effect ids are made from: the job's own uid, or that of the job that it repeats. */
  readonly effectUid: JobUid;
  readonly input: unknown;
  /** Present where the input is stored apart. */
  readonly inputBlob?: BlobRef;
  readonly inputDigest: Digest;
  /** Digest of the idempotency key it was started under. */
  readonly startKey?: Digest;
  readonly parent?: ParentRef;
  /** Digest of the input that the job was started with; absent in its first run, where it is `inputDigest`. */
  readonly startDigest?: Digest;
  /** Of a job that does another one again: the run that it begins with. Absent for 1. */
  readonly firstRun?: number;
  /** From `createdMs` on; then it is asked to end, and has failed. */
  readonly maxDurationMs?: number;
  /** What it may spend, as it was started; its head has what was added since. */
  readonly budget?: Amount;
  /** W3C trace context of its start, which the spans of all its runs belong to; absent where nobody recorded it. */
  readonly traceparent?: string;
  readonly createdMs: number;
}

/** The value of `job-data/…/result`, when the job has ended. */
export type JobResult =
  /** `blob`: the output is stored apart. */
  | { readonly kind: "completed"; readonly output: unknown; readonly blob?: BlobRef }
  | { readonly kind: "failed"; readonly error: JobError }
  | { readonly kind: "cancelled" };

/** An error as a log has it: what code sees of it is the same live and in replay. Never a stack. */
export interface JobError {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** The value of `job-data/…/log/{run}/{seq}`: the events of one append, as they were hashed. */
export interface JobPage {
  /** Link of the event before the first. */
  readonly prev: Uint8Array;
  readonly events: readonly Uint8Array[];
}

/** The value of `job-data/…/runs/{run}`: how a run was left that the job continued after. */
export interface JobRunRow {
  readonly head: JobHead;
  readonly input: unknown;
  /** Present where the input is stored apart. */
  readonly inputBlob?: BlobRef;
  readonly inputDigest: Digest;
}

/** The value of `job-queue/…`. */
export interface QueueRow {
  readonly agent: string;
  readonly tenant: string;
  readonly queueClass: QueueClass;
  readonly priority: number;
  /** Wall time since when it waits. */
  readonly sinceMs: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly agentMax?: number;
}

/** The value of `job-permits/…`: who has the place. */
export interface PermitRow {
  readonly job: JobId;
  readonly epoch: number;
}

/** The value of `job-owned/{node}/…`. */
export interface OwnedRow {
  readonly epoch: number;
}

/** The value of `job-beats/{node}`: changes for as long as its node may own jobs. */
export interface BeatRow {
  readonly life: NodeLife;
  readonly count: number;
  /** How often others took the node for dead: what it owned before the latest time may be owned by others. */
  readonly seizures: number;
}

/** The value of `job-data/…/inbox`: `last` is the number of the latest entry, 0 before the first. */
export interface InboxCountRow {
  readonly last: number;
}

/** The value of `job-outbox/…`: goes as soon as all of it has been told. */
export interface OutboxRow {
  /** Its end is told to the call that waits for it. */
  readonly ended?: Pick<ParentRef, "job" | "call">;
  /** Jobs that are to be cancelled. */
  readonly cancel?: readonly JobId[];
}

/** The value of `job-timers/…`: which call waits for it, or that the time of the job itself is over. */
export type TimerRow = CallTimerRow | { readonly deadline: true };

export interface CallTimerRow {
  readonly call: CallName;
}

/** The value of `job-starts/…`: the job that was started under a key. */
export interface StartRow {
  readonly job: JobId;
  readonly inputDigest: Digest;
}

/** The value of `job-data/…/repeat`: the job that does this one again. */
export interface RepeatRow {
  readonly job: JobId;
}

/** The value of `job-pins/{digest}`: what jobs run, whatever blueprints say by now. */
export interface PinRow {
  /** The artifact's coordinates, and the digest of its archive. */
  readonly artifact: ArtifactId;
  readonly archive: Digest;
  readonly slice: string;
  readonly config: unknown;
  readonly uses: Readonly<Record<string, ResolvedUse>>;
  readonly heapBytesMax: number;
  readonly variables: Readonly<Record<string, string>>;
  /** Of the nodes that run the slice, when its blueprint names some. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Wall time at which a job was last about to be started with it, give or take half an hour. */
  readonly renewedMs: number;
}

const PAGE_FORMAT = 1;
const HEAD_FORMAT = 1;
/** What a job may wait for at once. */
export const WAKES_MAX = 16;
const LINK_BYTES = 32;

const uidSchema = z.string().transform((text): JobUid => parseUid(text) as JobUid);
const jobIdSchema = z.string().transform((text): JobId => parseJobId(text));
export const callNameSchema = z.string().transform((text): CallName => text as CallName);
const count = z.int().min(0);
const labelsSchema = z.record(z.string(), z.string());
export const jobErrorSchema: z.ZodType<JobError> = z.object({
  name: z.string(),
  message: z.string(),
  code: z.string().exactOptional(),
  details: z.record(z.string(), z.unknown()).exactOptional(),
});

const jobRowSchema: z.ZodType<JobRow> = z.object({
  agent: z.string(),
  tenant: z.string(),
  pin: digestSchema,
  status: z.enum(JOB_STATUSES),
  waiting: z.object({
    reason: z.enum(WAIT_REASONS),
    on: z.array(z.string()).max(WAKES_MAX),
    untilMs: z.number().exactOptional(),
    why: z.string().exactOptional(),
  }).exactOptional(),
  owner: nodeLifeSchema.exactOptional(),
  epoch: count,
  run: z.int().min(1),
  claims: z.object({ atSeq: count, count }),
  queueClass: z.enum(QUEUE_CLASSES),
  priority: z.int(),
  attributes: z.record(z.string(), z.string()),
  labels: labelsSchema.exactOptional(),
  agentMax: z.int().min(1).exactOptional(),
  permits: z.array(z.object({ scope: z.enum(PERMIT_SCOPES), name: z.string(), slot: count })).exactOptional(),
  sinceMs: z.number(),
  createdMs: z.number(),
  restored: z.object({ seq: count, inbox: count }).exactOptional(),
  parent: jobIdSchema.exactOptional(),
  collectedMs: z.number().exactOptional(),
});

const specSchema: z.ZodType<JobSpec> = z.object({
  uid: uidSchema,
  effectUid: uidSchema,
  input: z.unknown(),
  inputBlob: blobRefSchema.exactOptional(),
  inputDigest: digestSchema,
  startKey: digestSchema.exactOptional(),
  parent: z.object({ job: jobIdSchema, call: callNameSchema, isDetached: z.boolean(), depth: count }).exactOptional(),
  startDigest: digestSchema.exactOptional(),
  firstRun: z.int().min(1).exactOptional(),
  maxDurationMs: z.number().exactOptional(),
  budget: amountSchema.exactOptional(),
  traceparent: z.string().exactOptional(),
  createdMs: z.number(),
});

const runSchema = z.object({
  head: z.unknown(), input: z.unknown(), inputBlob: blobRefSchema.exactOptional(), inputDigest: digestSchema,
});

const resultSchema: z.ZodType<JobResult> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("completed"), output: z.unknown(), blob: blobRefSchema.exactOptional() }),
  z.object({ kind: z.literal("failed"), error: jobErrorSchema }),
  z.object({ kind: z.literal("cancelled") }),
]);

const queueSchema: z.ZodType<QueueRow> = z.object({
  agent: z.string(),
  tenant: z.string(),
  queueClass: z.enum(QUEUE_CLASSES),
  priority: z.int(),
  sinceMs: z.number(),
  labels: labelsSchema.exactOptional(),
  agentMax: z.int().min(1).exactOptional(),
});
const rateSchema = z.object({ perSecond: z.number().positive(), burst: z.int().min(1), tokens: z.int() });
const permitSchema = z.object({ job: jobIdSchema, epoch: count });
const ownedSchema = z.object({ epoch: count });
const beatSchema = z.object({ life: nodeLifeSchema, count, seizures: count });
const inboxCountSchema = z.object({ last: count });
const outboxSchema: z.ZodType<OutboxRow> = z.object({
  ended: z.object({ job: jobIdSchema, call: callNameSchema }).exactOptional(),
  cancel: z.array(jobIdSchema).exactOptional(),
});
const timerSchema = z.union([z.object({ call: callNameSchema }), z.object({ deadline: z.literal(true) })]);
const startSchema = z.object({ job: jobIdSchema, inputDigest: digestSchema });
const repeatSchema = z.object({ job: jobIdSchema });
const pinSchema = z.object({
  artifact: artifactIdSchema,
  archive: digestSchema,
  slice: z.string(),
  config: z.unknown(),
  uses: resolvedUsesSchema,
  heapBytesMax: z.number(),
  variables: z.record(z.string(), z.string()),
  labels: labelsSchema.exactOptional(),
  renewedMs: z.number(),
});

// Heads and pages are read and written with every step of every job, so that they are arrays with readers of their own.
export function headValue(head: JobHead): unknown {
  const { run, seq, link, bytes, folded, openEffects, steps, account } = head;
  const values = [HEAD_FORMAT, run, seq, link, bytes, folded, openEffects, steps];
  return account === undefined ? values : [...values, account];
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseJobHead(value: unknown): JobHead {
  if (!Array.isArray(value)) throw damaged("the head of a job", "it is not a list");
  const [format, run, seq, link, bytes, folded, openEffects, steps, account] = value as readonly unknown[];
  const isHead = format === HEAD_FORMAT && isCount(run) && isCount(seq) && isLink(link) && isCount(bytes) &&
    isCount(folded) && isCount(openEffects) && isCount(steps);
  if (!isHead) throw damaged("the head of a job", "a field is missing or of another type");
  return {
    run, seq, link, bytes, folded, openEffects, steps,
    ...(account !== undefined && { account: parseStored(accountSchema, account, "the account of a job") }),
  };
}

export function pageValue(page: JobPage): unknown {
  return [PAGE_FORMAT, page.prev, page.events];
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseJobPage(value: unknown): JobPage {
  if (!Array.isArray(value)) throw damaged("a page of a job's log", "it is not a list");
  const [format, prev, events] = value as readonly unknown[];
  const isPage = format === PAGE_FORMAT && isLink(prev) && Array.isArray(events) &&
    events.length > 0 && events.every((bytes) => bytes instanceof Uint8Array);
  if (!isPage) throw damaged("a page of a job's log", "a field is missing or of another type");
  return { prev, events };
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseJobRow(value: unknown): JobRow {
  return parseStored(jobRowSchema, value, "the row of a job");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseJobSpec(value: unknown): JobSpec {
  return parseStored(specSchema, value, "what was started as a job");
}

export function runValue({ head, ...row }: JobRunRow): unknown {
  return { ...row, head: headValue(head) };
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseJobRun(value: unknown): JobRunRow {
  const { head, ...row } = parseStored(runSchema, value, "a run that a job continued after");
  return { ...row, head: parseJobHead(head) };
}

/** As bytes: what code answers may be more than the store's plain values are, and a job has to be able to end. */
export function resultValue(result: JobResult): Uint8Array {
  return encode(result);
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseJobResult(value: unknown): JobResult {
  if (!(value instanceof Uint8Array)) throw damaged("the result of a job", "it is not bytes");
  return parseStored(resultSchema, decodeResult(value), "the result of a job");
}

function decodeResult(bytes: Uint8Array): unknown {
  try {
    return decode(bytes, bytes.byteLength);
  } catch {
    // ignored: what it is instead is said where it is parsed
    return undefined;
  }
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseQueueRow(value: unknown): QueueRow {
  return parseStored(queueSchema, value, "a job's place in the queue");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parsePermitRow(value: unknown): PermitRow {
  return parseStored(permitSchema, value, "the place of a running job");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseRateRow(value: unknown): RateRow {
  return parseStored(rateSchema, value, "the tokens of a rate");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseOwnedRow(value: unknown): OwnedRow {
  return parseStored(ownedSchema, value, "the row that says who owns a job");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseBeatRow(value: unknown): BeatRow {
  return parseStored(beatSchema, value, "the sign of life of an owner of jobs");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseInboxCount(value: unknown): InboxCountRow {
  return parseStored(inboxCountSchema, value, "how many entries a job's inbox has had");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseOutboxRow(value: unknown): OutboxRow {
  return parseStored(outboxSchema, value, "what a job has to tell others");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseTimerRow(value: unknown): TimerRow {
  return parseStored(timerSchema, value, "a timer of a job");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseStartRow(value: unknown): StartRow {
  return parseStored(startSchema, value, "the row of a start key");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseRepeatRow(value: unknown): RepeatRow {
  return parseStored(repeatSchema, value, "the row that says who does a job again");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parsePinRow(value: unknown): PinRow {
  return parseStored(pinSchema, value, "what jobs are pinned to");
}

function damaged(what: string, reason: string): AetherError {
  return new AetherError("E_DATA_CORRUPT", `${what} does not parse: ${reason}`);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isLink(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.byteLength === LINK_BYTES;
}
