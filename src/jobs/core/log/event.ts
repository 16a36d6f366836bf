// Owns: what can happen in a job, and the bytes of each event: hashed, stored, exported and replayed as they are.
// Does not own: how events are chained (chain.ts) and when which may happen (life/, tools/).
import { decode, encode } from "../../../base/codec.ts";
import { AetherError } from "../../../base/errors.ts";
import type { ArtifactId, Digest, JobId, NodeId } from "../../../base/ids.ts";
import type { Amount } from "../budget/account.ts";
import type { CallName, EffectId } from "../ids.ts";
import type { Apart, BlobRef } from "../payloads/blob.ts";
import type { JobError, JobResult, WaitReason } from "../rows.ts";

/** Version of the payloads; each has an up-caster to the next one (upcast.ts). */
export const EVENT_VERSION = 2;
/** Of an event that names no payload: versions that know of none read it, and must not read one that does. */
const WITHOUT_BLOB_VERSION = 1;
/** Largest event: its payloads are 64 KiB at most, what is larger is stored apart. */
export const EVENT_BYTES_MAX = 256 * 1024;

/** What a tool's effect is to the world outside, which says what may be done when nobody knows whether it happened. */
export type ToolEffect = "read" | "idempotent" | "once";

/** How it was found out what became of a call of a tool. */
export type Resolver =
  | { readonly kind: "reconcile" }
  /** The answer came after its time was over, within the same epoch. */
  | { readonly kind: "late" }
  | { readonly kind: "person"; readonly principal: string };

export type Resolution =
  | { readonly kind: "done"; readonly result: unknown }
  | { readonly kind: "not-done" }
  /** The job is to fail with it. */
  | { readonly kind: "given-up"; readonly reason: string };

export interface ModelUsage {
  readonly model: string;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Taken from the length of the texts: the model did not say. */
  readonly isEstimated?: boolean;
}

/** What is done where the world outside does not agree with what is recorded of a call. */
export const MISMATCH_ACTIONS = ["strict", "warn", "human"] as const;
export type MismatchAction = (typeof MISMATCH_ACTIONS)[number];

/** What a tool's verifier found out about a call that is recorded as done. */
export type Verdict =
  | { readonly kind: "agrees" }
  | { readonly kind: "differs"; readonly why: string }
  /** It could not be found out: that is no reason to do anything. */
  | { readonly kind: "unknown"; readonly why: string };

/** Why a job is to end, where nobody has asked for it: `deadline`, its longest duration is over. */
export const CANCEL_REASONS = ["deadline"] as const;
export type CancelReason = (typeof CANCEL_REASONS)[number];

export type JobEvent =
  | ({
    readonly type: "job.created";
    readonly agent: string;
    readonly pin: Digest;
    readonly inputDigest: Digest;
    /** What it may spend; absent without a limit. */
    readonly budget?: Amount;
    /** What its earlier runs have spent of that. */
    readonly spent?: Amount;
  } & Apart)
  | { readonly type: "job.claimed"; readonly node: NodeId; readonly incarnation: number }
  | {
    readonly type: "job.waiting";
    readonly reason: WaitReason;
    readonly on: readonly string[];
    /** In `stuck`: what a person has to know. */
    readonly why?: string;
  }
  /** Its owner's node is being stopped: any other may go on. */
  | { readonly type: "job.released" }
  | { readonly type: "job.cancel-requested"; readonly principal: string; readonly reason?: CancelReason }
  /**
   * It does another job again from here on. What stands before it is as that one has it. First of what follows is what
   * calls that were under way came to there.
   */
  | {
    readonly type: "job.repeated";
    readonly of: JobId;
    readonly kind: "retry" | "fork";
    /** Of a job with a budget: what the other one has spent beside what of its log is here. */
    readonly spent?: Amount;
  }
  /** It was held since its cluster began from a backup, and a person has let it go on. */
  | { readonly type: "job.let-go"; readonly principal: string }
  /** The end of a run: the job goes on as `run`, with this input. */
  | { readonly type: "job.continued"; readonly run: number; readonly inputDigest: Digest }
  /** It runs another version of its code from here on, which has done all that stands before. */
  | {
    readonly type: "job.moved";
    /** Pins, and what of them people know. */
    readonly from: Digest;
    readonly to: Digest;
    readonly fromArtifact: ArtifactId;
    readonly toArtifact: ArtifactId;
    readonly principal: string;
  }
  /** `outputDigest` of an output that is stored apart is that of its bytes. */
  | ({ readonly type: "job.completed"; readonly outputDigest: Digest } & Apart)
  | { readonly type: "job.failed"; readonly error: JobError }
  | { readonly type: "job.cancelled" }
  | ({ readonly type: "step.completed"; readonly call: CallName; readonly value: unknown } & Apart)
  | {
    readonly type: "step.failed";
    readonly call: CallName;
    readonly error: JobError;
    /** Of a job whose steps are limited: the node refused a call, and nothing was done that would count. */
    readonly isRefusal?: true;
  }
  /** A value that code was given: the time. */
  | { readonly type: "value.recorded"; readonly call: CallName; readonly value: unknown }
  | ({
    readonly type: "tool.granted";
    readonly call: CallName;
    readonly tool: string;
    readonly effect: ToolEffect;
    /** Whether it can be asked what became of a call; absent in logs of earlier builds. */
    readonly canReconcile?: boolean;
    readonly effectId: EffectId;
    readonly attempt: number;
    readonly input: unknown;
    readonly inputDigest: Digest;
    readonly timeoutMs: number;
    /** Of a job with a budget: the most that it can cost. */
    readonly reserved?: Amount;
  } & Apart)
  | ({
    readonly type: "tool.succeeded";
    readonly call: CallName;
    readonly effectId: EffectId;
    readonly result: unknown;
    /** The name that the other side has for what happened. */
    readonly externalId?: string;
    /** It happened, but what it answered is not what its schema says, is too large, or cannot be stored. */
    readonly problem?: string;
    /** Of a model: what it was asked and said, in tokens. */
    readonly usage?: ModelUsage;
    /** What it cost, as far as that is known. */
    readonly cost?: Amount;
  } & Apart)
  | {
    readonly type: "tool.failed";
    readonly call: CallName;
    readonly effectId: EffectId;
    readonly error: JobError;
    /** What it may have cost all the same. */
    readonly cost?: Amount;
  }
  /** It may have been made after the backup that the job was restored from: `attempt` counts that one. */
  | ({
    readonly type: "tool.doubted";
    readonly call: CallName;
    readonly tool: string;
    readonly effect: ToolEffect;
    readonly canReconcile: boolean;
    readonly effectId: EffectId;
    readonly attempt: number;
    readonly input: unknown;
    readonly inputDigest: Digest;
    readonly timeoutMs: number;
    readonly reason: string;
    readonly reserved?: Amount;
  } & Apart)
  | { readonly type: "tool.unknown"; readonly call: CallName; readonly effectId: EffectId; readonly reason: string }
  | ({
    readonly type: "tool.resolved";
    readonly call: CallName;
    readonly effectId: EffectId;
    readonly by: Resolver;
    readonly resolution: Resolution;
    /** Of what the tool answered late: why it is no use. */
    readonly problem?: string;
  } & Apart)
  /** Of a call that is recorded as done, when another owner has taken over. */
  | {
    readonly type: "tool.verified";
    readonly call: CallName;
    readonly verdict: Verdict;
    readonly onMismatch: MismatchAction;
  }
  | { readonly type: "timer.set"; readonly call: CallName; readonly dueMs: number }
  | { readonly type: "timer.fired"; readonly call: CallName }
  | ({
    readonly type: "signal.received"; readonly call: CallName; readonly signal: string; readonly payload: unknown;
  } & Apart)
  | {
    readonly type: "approval.requested";
    readonly call: CallName;
    readonly name: string;
    readonly summary: string;
    readonly data: unknown;
    /** Of what was shown: a decision holds for nothing else. */
    readonly shown: Digest;
    /** The tool that is called once it is approved. */
    readonly tool?: string;
    /** Nobody can decide after this time. */
    readonly untilMs?: number;
  }
  | {
    readonly type: "approval.decided";
    readonly call: CallName;
    readonly approved: boolean;
    readonly principal: string;
    readonly data: unknown;
  }
  | {
    readonly type: "child.started";
    readonly call: CallName;
    readonly job: JobId;
    readonly agent: string;
    readonly inputDigest: Digest;
    readonly isDetached: boolean;
    /** What it may spend; absent without a limit. */
    readonly budget?: Amount;
  }
  /** `spent`: what of its budget it has spent. */
  | ({
    readonly type: "child.completed"; readonly call: CallName; readonly output: unknown; readonly spent?: Amount;
  } & Apart)
  | { readonly type: "child.failed"; readonly call: CallName; readonly error: JobError; readonly spent?: Amount }
  /** A child has ended that nobody waited for any more. */
  | { readonly type: "child.settled"; readonly call: CallName; readonly spent?: Amount }
  /** Somebody lets the job spend more. */
  | { readonly type: "budget.raised"; readonly add: Amount; readonly principal: string }
  /** The code was told the id of a child that it does not wait for. */
  | { readonly type: "child.detached"; readonly call: CallName; readonly job: JobId };

export type JobEventType = JobEvent["type"];

/** An event as it was read from a log. */
export interface StoredEvent {
  readonly event: JobEvent;
  /** Wall time of the proposer; for people, never for logic. */
  readonly atMs: number;
  readonly epoch: number;
  /** The version that it was written in. */
  readonly version: number;
}

/** How the job ended by this event; undefined for any that is not its last. */
export function endOf({ type }: JobEvent): JobResult["kind"] | undefined {
  switch (type) {
    case "job.completed":
      return "completed";
    case "job.failed":
      return "failed";
    case "job.cancelled":
      return "cancelled";
    default:
      return undefined;
  }
}

/** Numbers on the wire: they only grow, and are never given twice. */
const NUMBERS: Readonly<Record<JobEventType, number>> = {
  "job.created": 1,
  "job.claimed": 2,
  "job.waiting": 3,
  "job.released": 4,
  "job.cancel-requested": 5,
  "job.completed": 6,
  "job.failed": 7,
  "job.cancelled": 8,
  "step.completed": 16,
  "step.failed": 17,
  "value.recorded": 18,
  "tool.granted": 24,
  "tool.succeeded": 25,
  "tool.failed": 26,
  "tool.unknown": 27,
  "tool.resolved": 28,
  "tool.verified": 91,
  "timer.set": 32,
  "timer.fired": 33,
  "signal.received": 34,
  "approval.requested": 40,
  "approval.decided": 41,
  "child.started": 48,
  "child.completed": 49,
  "child.failed": 50,
  "child.detached": 51,
  "budget.raised": 56,
  "child.settled": 57,
  "job.let-go": 64,
  "tool.doubted": 65,
  "job.repeated": 66,
  "job.continued": 84,
  "job.moved": 67,
};
const TYPES: ReadonlyMap<number, JobEventType> =
  new Map(Object.entries(NUMBERS).map(([type, number]) => [number, type as JobEventType]));

export interface EventOrigin {
  readonly atMs: number;
  readonly epoch: number;
}

/** The bytes of an event: `[version, number of its type, time, epoch, payload]`. Its payload is plain data. */
export function encodeEvent(event: JobEvent, { atMs, epoch }: EventOrigin): Uint8Array {
  const { type, ...payload } = event;
  const version = blobOf(event) === undefined ? WITHOUT_BLOB_VERSION : EVENT_VERSION;
  return encode([version, NUMBERS[type], atMs, epoch, payload]);
}

/** The payload of the event that is stored apart. */
export function blobOf(event: JobEvent): BlobRef | undefined {
  return "blob" in event ? event.blob : undefined;
}

/** What stands in an event's bytes, before its payload is brought to this version. */
export interface RawEvent {
  readonly version: number;
  readonly type: JobEventType;
  readonly atMs: number;
  readonly epoch: number;
  readonly payload: Readonly<Record<string, unknown>>;
}

/** @throws AetherError E_DATA_CORRUPT for what is no event, E_VERSION for one of a later version */
export function readRawEvent(bytes: Uint8Array): RawEvent {
  const parts = decodeParts(bytes);
  const [version, number, atMs, epoch, payload] = parts;
  if (typeof version !== "number" || typeof number !== "number" || typeof atMs !== "number" ||
    typeof epoch !== "number" || !isRecord(payload)) {
    throw new AetherError("E_DATA_CORRUPT", "an event of a job has a part of another type");
  }
  const type = TYPES.get(number);
  if (version > EVENT_VERSION || type === undefined) {
    throw new AetherError("E_VERSION", `an event of a job has version ${version} and type ${number}, which this ` +
      "version does not know: run the job on nodes that have the version that wrote it");
  }
  return { version, type, atMs, epoch, payload };
}

function decodeParts(bytes: Uint8Array): readonly unknown[] {
  let value: unknown;
  try {
    value = decode(bytes, EVENT_BYTES_MAX);
  } catch (error) {
    throw new AetherError("E_DATA_CORRUPT", "an event of a job is not MessagePack of bounded size", { cause: error });
  }
  if (Array.isArray(value)) return value as readonly unknown[];
  throw new AetherError("E_DATA_CORRUPT", "an event of a job is not a list");
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}
