// Owns: the rows of the ledger: what is known of each call of a tool. Does not own: what may follow what (ledger.ts).
import { z } from "zod";
import type { Digest } from "../../../base/ids.ts";
import { digestSchema, parseStored } from "../../../base/stored-row.ts";
import type { Amount } from "../budget/account.ts";
import { amountSchema } from "../budget/amounts.ts";
import type { CallName, EffectId } from "../ids.ts";
import type { ModelUsage, ToolEffect } from "../log/event.ts";
import { callNameSchema } from "../rows.ts";

export const TOOL_STATES = ["granted", "succeeded", "failed", "unknown"] as const;

/**
 * `granted`: it may be dispatched, or was. `unknown`: whether it happened is to be found out; not left by time alone.
 * `failed`: it has not happened, and may be granted again. `succeeded`: it has happened, with this result for ever.
 */
export type ToolState = (typeof TOOL_STATES)[number];

/** The value of `job-data/…/tools/{effectId}`. */
export interface ToolRow {
  readonly state: ToolState;
  readonly effectId: EffectId;
  readonly call: CallName;
  readonly tool: string;
  readonly effect: ToolEffect;
  /** Whether the tool can be asked what became of a call. */
  readonly canReconcile: boolean;
  /** Epoch of the owner that it was granted to. */
  readonly epoch: number;
  /** 1 for the first grant. */
  readonly attempt: number;
  readonly inputDigest: Digest;
  readonly timeoutMs: number;
  /** How long after its time limit a lost call may still arrive; absent: the default. */
  readonly settleMs?: number;
  /** Sequence number of the event that made it as it is. */
  readonly seq: number;
  readonly externalId?: string;
  /** Present in `unknown`: why. */
  readonly reason?: string;
  /** Present when a model answered. */
  readonly usage?: ModelUsage;
  /** While it is granted or unknown, of a job with a budget: the most that it can cost. */
  readonly reserved?: Amount;
  /** What it has cost, as far as that is known. */
  readonly cost?: Amount;
}

export const modelUsageSchema: z.ZodType<ModelUsage> = z.object({
  model: z.string(),
  inputTokens: z.int().min(0),
  outputTokens: z.int().min(0),
  isEstimated: z.boolean().exactOptional(),
});

const schema: z.ZodType<ToolRow> = z.object({
  state: z.enum(TOOL_STATES),
  effectId: digestSchema,
  call: callNameSchema,
  tool: z.string(),
  effect: z.enum(["read", "idempotent", "once"]),
  canReconcile: z.boolean(),
  epoch: z.int().min(1),
  attempt: z.int().min(1),
  inputDigest: digestSchema,
  timeoutMs: z.number(),
  settleMs: z.number().exactOptional(),
  seq: z.int().min(1),
  externalId: z.string().exactOptional(),
  reason: z.string().exactOptional(),
  usage: modelUsageSchema.exactOptional(),
  reserved: amountSchema.exactOptional(),
  cost: amountSchema.exactOptional(),
});

/** @throws AetherError E_DATA_CORRUPT */
export function parseToolRow(value: unknown): ToolRow {
  return parseStored(schema, value, "a row of a job's tools");
}
