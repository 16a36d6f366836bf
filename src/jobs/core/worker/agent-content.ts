// Owns: what a node accepts of the code of an agent. What arrives is plain and of bounded size already (worker-content
// of slices); here it gets its form, so that nothing of another one reaches the log.
import { z } from "zod";
import { digestSchema } from "../../../base/stored-row.ts";
import { AGENT_TOOLS_MAX } from "../../../sdk/agent.ts";
import { SECRETS_MAX } from "../../../sdk/secret.ts";
import { limitsSchema } from "../../../sdk/llm/terms.ts";
import { concurrentSchema, rateSchema } from "../../../sdk/tool.ts";
import { amountSchema } from "../budget/amounts.ts";
import type { CallName } from "../ids.ts";
import { MISMATCH_ACTIONS } from "../log/event.ts";
import { blobRefSchema, PAYLOAD_BYTES_MAX } from "../payloads/blob.ts";
import { modelUsageSchema } from "../tools/tool-row.ts";
import { CALL_NAME_LENGTH_MAX } from "./call-names.ts";
import { NEXT_CALLS_MAX, type AgentOp, type FromAgent } from "./messages.ts";

const TEXT_LENGTH_MAX = 4_096;
/** Of all tools of an agent together. */
const VERIFY_SECRETS_MAX = AGENT_TOOLS_MAX * SECRETS_MAX;

const text = z.string().max(TEXT_LENGTH_MAX);
const call = z.string().min(1).max(CALL_NAME_LENGTH_MAX).transform((name): CallName => name as CallName);
const count = z.int().min(0);
/** A step may answer nothing, and a field without value does not travel. */
const value = z.unknown().default(undefined);
/** Of a payload that is to be stored apart. */
const blob = blobRefSchema.exactOptional();
const timeMs = z.number().min(0).max(Number.MAX_SAFE_INTEGER);
const error = z.object({
  name: text,
  message: text,
  code: text.exactOptional(),
  details: z.record(z.string(), z.unknown()).exactOptional(),
});

const wait = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("timer"), dueMs: timeMs }),
  z.object({ kind: z.literal("signal"), signal: text, untilMs: timeMs.exactOptional() }),
  z.object({
    kind: z.literal("approval"),
    name: text,
    summary: text,
    data: value,
    shown: digestSchema,
    tool: text.exactOptional(),
    untilMs: timeMs.exactOptional(),
  }),
]);

const outcome = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("succeeded"),
    result: value,
    externalId: text.exactOptional(),
    problem: text.exactOptional(),
    usage: modelUsageSchema.exactOptional(),
    cost: amountSchema.exactOptional(),
    blob,
  }),
  z.object({ kind: z.literal("failed"), error, isNotDone: z.boolean(), cost: amountSchema.exactOptional() }),
  z.object({ kind: z.literal("unknown"), reason: text }),
]);

const verdict = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("agrees") }),
  z.object({ kind: z.literal("differs"), why: text }),
  z.object({ kind: z.literal("unknown"), why: text }),
]);

const ends = [
  z.object({ kind: z.literal("completed"), output: value, blob }),
  z.object({ kind: z.literal("failed"), error }),
  z.object({ kind: z.literal("cancelled") }),
  z.object({ kind: z.literal("continued"), input: value, inputDigest: digestSchema, blob }),
] as const;

/** Of a step; for people only. */
const tookMs = z.number().min(0).exactOptional();

const op: z.ZodType<AgentOp> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("step-completed"), call, value, tookMs, blob }),
  z.object({ kind: z.literal("step-failed"), call, error, tookMs }),
  z.object({ kind: z.literal("want-step"), call }),
  z.object({ kind: z.literal("value"), call, value }),
  z.object({ kind: z.literal("took"), offer: count }),
  z.object({
    kind: z.literal("want-tool"),
    call,
    tool: text,
    effect: z.enum(["read", "idempotent", "once"]),
    canReconcile: z.boolean(),
    input: value,
    inputDigest: digestSchema,
    timeoutMs: z.number().min(1),
    settleMs: z.number().min(0).exactOptional(),
    secrets: z.array(text).max(SECRETS_MAX).exactOptional(),
    rate: rateSchema.extend({ name: text }).exactOptional(),
    maxConcurrent: concurrentSchema.exactOptional(),
    model: z.object({ name: text, limits: limitsSchema.exactOptional(), tokens: count }).exactOptional(),
    cost: amountSchema.exactOptional(),
    blob,
  }),
  z.object({ kind: z.literal("outcome"), call, effectId: digestSchema, outcome }),
  z.object({ kind: z.literal("verified"), call, verdict, onMismatch: z.enum(MISMATCH_ACTIONS) }),
  z.object({ kind: z.literal("want-wait"), call, wait }),
  z.object({
    kind: z.literal("want-child"),
    call,
    agent: text,
    input: value,
    inputDigest: digestSchema,
    isDetached: z.boolean(),
    untilMs: timeMs.exactOptional(),
    budget: amountSchema.exactOptional(),
    blob,
  }),
  ...ends,
]);

const run = count;
const answer = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("done"), result: value }),
  z.object({ kind: z.literal("not-done"), isFinal: z.boolean() }),
  z.object({ kind: z.literal("unknown"), reason: text }),
]);

const message: z.ZodType<FromAgent> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("op"), run, n: count, op }),
  z.object({ kind: z.literal("idle"), run, after: count }),
  z.object({ kind: z.literal("not-dispatched"), run, call, effectId: digestSchema }),
  z.object({ kind: z.literal("not-begun"), run }),
  z.object({ kind: z.literal("left"), run }),
  z.object({ kind: z.literal("reconciled"), run, call, effectId: digestSchema, answer }),
  z.object({ kind: z.literal("verifying"), run, secrets: z.array(text).max(VERIFY_SECRETS_MAX) }),
  z.object({ kind: z.literal("want-room"), run, room: count, bytes: z.int().min(1).max(PAYLOAD_BYTES_MAX) }),
  z.object({ kind: z.literal("free-room"), run, room: count }),
  z.object({ kind: z.literal("want-part"), run, blob: blobRefSchema, part: count }),
  z.object({
    kind: z.literal("part"), run, digest: digestSchema, part: count,
    data: z.instanceof(Uint8Array).transform((data): Uint8Array => data),
  }),
  z.object({ kind: z.literal("diverged"), run, error }),
  z.object({
    kind: z.literal("replayed"), run,
    end: z.discriminatedUnion("kind", ends).exactOptional(),
    next: z.array(call).max(NEXT_CALLS_MAX),
  }),
  z.object({ kind: z.literal("emit"), run, data: value }),
]);

/** The message, made anew; undefined when it is none of ours, which a worker of ours never sends. */
export function readFromAgent(payload: unknown): FromAgent | undefined {
  return message.safeParse(payload).data;
}
