// Owns: tools: what an agent does to the world outside, and what must be known of each so that it is done once.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { checkCost } from "./budget.ts";
import { TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX } from "./call-timeouts.ts";
import { nameSchema } from "./name.ts";
import { SECRETS_MAX, type Secret } from "./secret.ts";
import type { ApprovalRule } from "./tool-approval.ts";

/**
 * What a second execution of a tool would do. `read` changes nothing and `idempotent` may be done twice: when nobody
 * knows whether a call happened it is made again, with the same effect id. `once` is not: then `reconcile` is asked,
 * or a person.
 */
export type ToolEffect = "read" | "idempotent" | "once";

/** What a tool gets beside its input. */
export interface ToolContext {
  /** The same for every attempt at this call of this job: the idempotency key for whoever is called. */
  readonly effectId: string;
  /** Aborts when the tool's time is over, or the job goes on elsewhere; with effect `read` also on a cancel. */
  readonly signal: AbortSignal;
  /**
   * Call it right before what cannot be taken back, after anything that takes time.
   * @throws AetherError E_FENCED when the job may belong to another node by now
   */
  assertOwner(): void;
  /**
   * The value of a secret that the tool lists.
   * @throws AetherError E_CONFIG for another one, and when the node does not have it any more
   */
  secret(reference: Secret): string;
}

/** What became of a call, as far as the other side can tell. */
export type Reconciled<R> =
  | { readonly status: "done"; readonly result: R }
  /** `final`: it also cannot happen any more. Without it the tool is asked again later, since a request may be late. */
  | { readonly status: "not-done"; readonly final?: boolean }
  | { readonly status: "unknown"; readonly reason?: string };

/** What a verifier says of a call that is recorded as done. */
export type Verified = boolean | { readonly agrees: boolean; readonly why?: string };

/** How a tool tells whether the world outside still agrees with what is recorded of its calls. */
export interface ToolVerifier<I, R> {
  /**
   * What follows where it does not: the job fails with E_EFFECT_MISMATCH (`strict`), goes on and is counted (`warn`),
   * or waits for a person (`human`).
   */
  readonly onMismatch: "strict" | "warn" | "human";
  /** Only looks. What it throws, or what takes longer than the tool's `timeoutMs`, says nothing: the job goes on. */
  check(
    input: I, result: R, context: Pick<ToolContext, "effectId" | "signal" | "secret">,
  ): Promise<Verified> | Verified;
}

export interface ToolDefinition<N extends string, I extends z.ZodType, O extends z.ZodType> {
  readonly name: N;
  /** What it does, for models that are told of it. */
  readonly description?: string;
  readonly input: I;
  readonly output: O;
  readonly effect: ToolEffect;
  /** How long one attempt may take. Default 15,000 ms, an hour at most. */
  readonly timeoutMs?: number;
  /**
   * Whether a person has to allow a call before it is made, see `ApprovalRule`. Each call is asked about by itself:
   * what is allowed is this call with this input.
   */
  readonly approval?: ApprovalRule<z.output<I>>;
  /** What `secret` of its context may be asked for. */
  readonly secrets?: readonly Secret[];
  /**
   * For tools with `reconcile`: how long after its time limit a call that was lost may still arrive at the other side.
   * A "not done" that is not final is believed only then. Default 60,000 ms, an hour at most.
   */
  readonly settleMs?: number;
  /**
   * Calls of tools of this name that the whole cluster makes: so many per second, and up to `burst` at once after a
   * time without any (default: half a second's, two at least). A call waits for its turn before it is granted.
   */
  readonly rate?: { readonly perSecond: number; readonly burst?: number };
  /**
   * Calls of tools of this name that the whole cluster has under way at once, at most: 1 to 1,000. A call waits for its
   * place before it is granted, and has it until what became of it is recorded, or its job goes on elsewhere.
   */
  readonly maxConcurrent?: number;
  /** What a call costs, in US dollars: reserved in the job's budget before it is made, and spent when it was done. */
  readonly cost?: { readonly usd: number };
  /**
   * Asked once of each call that is recorded as done, when a job is taken over from an owner that was lost, before its
   * code begins anything new. Default: what is recorded is believed.
   */
  readonly verify?: ToolVerifier<z.output<I>, z.output<O>>;
  /**
   * Does it. What a `once` tool throws leaves unknown whether it happened, unless it is `notDone(cause)`; what the
   * others throw is an error that the agent's code sees.
   */
  execute(input: z.output<I>, context: ToolContext): Promise<z.input<O>> | z.input<O>;
  /** Asks the other side what became of a call with this effect id. For tools of effect `once`. */
  reconcile?(
    input: z.output<I>, context: Pick<ToolContext, "effectId" | "signal" | "secret">,
  ): Promise<Reconciled<z.input<O>>> | Reconciled<z.input<O>>;
}

/** Calls of one tool, or requests to one model, that may be under way at once. */
export const CONCURRENT_CALLS_MAX = 1_000;
export const concurrentSchema = z.int().min(1).max(CONCURRENT_CALLS_MAX);

/** Calls per second, and at once. */
export const RATE_MAX = 100_000;
export const rateSchema = z.object({
  perSecond: z.number().positive().max(RATE_MAX), burst: z.int().min(1).max(RATE_MAX),
});

/** A defined tool. */
export interface Tool<N extends string = string, I extends z.ZodType = z.ZodType, O extends z.ZodType = z.ZodType>
  extends ToolDefinition<N, I, O> {
  readonly kind: "aether-tool";
  readonly timeoutMs: number;
  readonly rate?: { readonly perSecond: number; readonly burst: number };
}

/**
 * Defines a tool.
 * @throws AetherError E_INVALID for an unusable name, `timeoutMs`, `rate`, `maxConcurrent` or `cost`, and for
 *   `reconcile` where nobody would ask it.
 * @example
 * const refund = defineTool({
 *   name: "refund",
 *   input: z.object({ order: z.string(), cents: z.int() }),
 *   output: z.object({ refund: z.string() }),
 *   effect: "once",
 *   execute: ({ order, cents }, { effectId, signal }) => payments.refund(order, cents, { key: effectId, signal }),
 *   reconcile: async (_input, { effectId }) => {
 *     const refund = await payments.find(effectId);
 *     return refund === undefined ? { status: "not-done" } : { status: "done", result: { refund } };
 *   },
 * });
 */
export function defineTool<const N extends string, I extends z.ZodType, O extends z.ZodType>(
  definition: ToolDefinition<N, I, O>,
): Tool<N, I, O> {
  const { name, effect, timeoutMs = TIMEOUT_MS_DEFAULT, settleMs, secrets = [], reconcile } = definition;
  const checked = nameSchema.safeParse(name);
  if (!checked.success) {
    const reason = checked.error.issues[0]?.message ?? "";
    throw new AetherError("E_INVALID", `"${name}" cannot be the name of a tool: ${reason}`);
  }
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > TIMEOUT_MS_MAX) {
    throw new AetherError("E_INVALID", `the tool "${name}" has timeoutMs ${timeoutMs}; use 1 to ${TIMEOUT_MS_MAX}`);
  }
  if (settleMs !== undefined && !(Number.isInteger(settleMs) && settleMs >= 0 && settleMs <= TIMEOUT_MS_MAX)) {
    throw new AetherError("E_INVALID", `the tool "${name}" has settleMs ${settleMs}; use 0 to ${TIMEOUT_MS_MAX}`);
  }
  if (settleMs !== undefined && reconcile === undefined) {
    throw new AetherError("E_INVALID", `the tool "${name}" has settleMs and no reconcile that it could be for: ` +
      "leave it out, or add reconcile");
  }
  if (secrets.length > SECRETS_MAX) {
    const found = `the tool "${name}" lists ${secrets.length} secrets`;
    throw new AetherError("E_INVALID", `${found}; ${SECRETS_MAX} is the limit`);
  }
  if (reconcile !== undefined && effect !== "once") {
    throw new AetherError("E_INVALID", `the tool "${name}" has effect "${effect}" and is made again when nobody ` +
      'knows what became of it: leave out reconcile, or make its effect "once"');
  }
  checkCost(`the tool "${name}"`, definition.cost);
  const { maxConcurrent } = definition;
  if (maxConcurrent !== undefined && !concurrentSchema.safeParse(maxConcurrent).success) {
    throw new AetherError("E_INVALID", `the tool "${name}" has maxConcurrent ${maxConcurrent}; ` +
      `use 1 to ${CONCURRENT_CALLS_MAX}`);
  }
  const { rate, ...rest } = definition;
  return { ...rest, kind: "aether-tool", timeoutMs, ...(rate !== undefined && { rate: checkRate(name, rate) }) };
}

function checkRate(
  tool: string, { perSecond, burst = Math.max(2, Math.ceil(perSecond / 2)) }: NonNullable<ToolDefinition<
    string, z.ZodType, z.ZodType>["rate"]>,
): NonNullable<Tool["rate"]> {
  const checked = rateSchema.safeParse({ perSecond, burst });
  if (checked.success) return checked.data;
  const range = `perSecond above 0 and up to ${RATE_MAX}, burst 1 to ${RATE_MAX}`;
  throw new AetherError("E_INVALID", `the tool "${tool}" has the rate ${perSecond} per second with burst ${burst}; ` +
    `use ${range}`);
}

/** Longer texts of causes are cut: they travel to the log of the job. */
const CAUSE_LENGTH_MAX = 2_000;

class NotDoneError extends Error {
  override readonly name = "NotDone";
  /** What the runtime knows it by: each slice carries its own copy of this class. */
  readonly isNotDone = true;
}

/**
 * What a `once` tool throws when it is sure that nothing has happened outside: `throw notDone(error)`. The agent's
 * code sees the error, and may call the tool again.
 */
export function notDone(cause: unknown): Error {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new NotDoneError(text.slice(0, CAUSE_LENGTH_MAX), { cause });
}
