// Owns: what is stored of an approval that a job waits for, and of how it ended. The row is there for as long as
// anybody may decide; the mark stays, so that whoever comes second hears who was first.
import { z } from "zod";
import { decode, encode } from "../../../base/codec.ts";
import { AetherError } from "../../../base/errors.ts";
import type { Digest } from "../../../base/ids.ts";
import { digestSchema, parseStored } from "../../../base/stored-row.ts";
import { KiB } from "../../../base/units.ts";
import type { CallName } from "../ids.ts";
import { callNameSchema } from "../rows.ts";
import { seenOf } from "./seen.ts";

/** Name of the approval within the call of a tool that has to be allowed: `refund#1/approval#1`. */
export const TOOL_APPROVAL = "approval";
/** What a person is asked, in characters. */
export const APPROVAL_SUMMARY_LENGTH_MAX = 1_000;
/** What a person is shown beside it, encoded: all of it is in the list of what waits for a decision. */
export const APPROVAL_DATA_BYTES_MAX = 16 * KiB;
/** Approvals that one job waits for at once. */
export const APPROVALS_OPEN_MAX = 16;

/** The value of `job-approvals/…/{call}`. */
export interface ApprovalRow {
  readonly agent: string;
  /** What code calls it; of a tool's call, the tool's name. */
  readonly name: string;
  readonly summary: string;
  readonly data: unknown;
  /** Digest of what is shown: a decision holds for nothing else. */
  readonly shown: Digest;
  readonly tool?: string;
  /** Wall time. */
  readonly requestedMs: number;
  readonly untilMs?: number;
}

/**
 * How an approval ended, once nobody can decide it any more: the value of two `job-seen` rows, under its call and, for
 * the latest one of a name, under its name.
 */
export interface ApprovalMark {
  readonly call: CallName;
  readonly atMs: number;
  /** `expired`: its time was over. */
  readonly how: "approved" | "rejected" | "expired";
  /** Who decided. */
  readonly principal?: string;
  /** Digest of the idempotency key that it was decided under. */
  readonly key?: Digest;
}

const rowSchema = z.object({
  agent: z.string(),
  name: z.string(),
  summary: z.string(),
  /** Encoded: what code shows may be more than the store's plain values are. */
  data: z.instanceof(Uint8Array),
  shown: digestSchema,
  tool: z.string().exactOptional(),
  requestedMs: z.number(),
  untilMs: z.number().exactOptional(),
});

const markSchema: z.ZodType<ApprovalMark> = z.object({
  call: callNameSchema,
  atMs: z.number(),
  how: z.enum(["approved", "rejected", "expired"]),
  principal: z.string().exactOptional(),
  key: digestSchema.exactOptional(),
});

export function approvalValue({ data, ...row }: ApprovalRow): unknown {
  return { ...row, data: encode(data) };
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseApprovalRow(value: unknown): ApprovalRow {
  const { data, ...row } = parseStored(rowSchema, value, "an approval that a job waits for");
  try {
    return { ...row, data: decode(data, data.byteLength) };
  } catch (error) {
    throw new AetherError("E_DATA_CORRUPT", "what an approval shows is not MessagePack", { cause: error });
  }
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseApprovalMark(value: unknown): ApprovalMark {
  return parseStored(markSchema, value, "how an approval of a job ended");
}

/** What the mark of an approval is known by: there is one for each call. */
export function approvalSeen(call: CallName): Digest {
  return seenOf("approval", call);
}

/** Of the latest approval with this name that ended. */
export function approvalNameSeen(name: string): Digest {
  return seenOf("approval name", name);
}
