// Owns: contracts: the typed interface of a slice, shared by the slice and its callers. Data and types, no behaviour.
import type { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX } from "./call-timeouts.ts";
import { parsePolicy, type MethodPolicy, type PolicyOptions } from "./method-policy.ts";
import { nameSchema } from "./name.ts";

/**
 * What a second execution of a method would do. It decides what the runtime may do when a call was sent and no answer
 * came: `read` (changes nothing) and `idempotent` (twice is the same as once) are tried again on another instance;
 * `write` fails with `E_TIMEOUT`, outcome unknown, unless the call has an idempotency key.
 */
export type MethodEffect = "read" | "idempotent" | "write";

/** One callable of a contract. */
export interface Method<I extends z.ZodType = z.ZodType, O extends z.ZodType = z.ZodType> {
  readonly input: I;
  readonly output: O;
  readonly effect: MethodEffect;
  /** How long a caller waits if it says nothing else, in milliseconds. */
  readonly timeoutMs: number;
  /** How calls of it are made; absent when its author says nothing. */
  readonly policy?: MethodPolicy;
}

export type Methods = Readonly<Record<string, Method>>;

/** The typed interface of a slice: a name and its methods. */
export interface Contract<N extends string = string, M extends Methods = Methods> {
  readonly name: N;
  readonly methods: M;
}

export interface MethodOptions<I extends z.ZodType, O extends z.ZodType> extends PolicyOptions {
  readonly input: I;
  /** Required: it lets two slices call each other without circular types, and keeps a handler's answer honest. */
  readonly output: O;
  /** Default `write`, the careful choice. */
  readonly effect?: MethodEffect;
  /** Default 15,000 ms. */
  readonly timeoutMs?: number;
}

/** What a caller may say about one call. */
export interface CallOptions {
  /** Milliseconds until the caller gives up; never longer than what is left of the caller's own deadline. */
  readonly timeoutMs?: number;
  /**
   * Two calls of a method with the same key are the same call: it runs once within a day, and both get its answer.
   * Up to 256 characters. A read just gets it.
   */
  readonly idempotencyKey?: string;
  /** Aborting it reaches the callee's `ctx.signal`. */
  readonly signal?: AbortSignal;
}

/** How callers see one method: what they pass is parsed, what they get has been. */
export type ClientMethod<M extends Method> =
  (input: z.input<M["input"]>, options?: CallOptions) => Promise<z.output<M["output"]>>;

/** How callers see a contract. */
export type Client<C extends Contract> = { readonly [K in keyof C["methods"]]: ClientMethod<C["methods"][K]> };

export const METHODS_MAX = 100;

/**
 * Describes one method of a contract.
 * @throws AetherError E_INVALID when `timeoutMs` is not between 1 ms and an hour, or a policy is out of range.
 * @example
 * const quote = method({
 *   input: z.object({ sku: z.string() }),
 *   output: z.object({ cents: z.int() }),
 *   effect: "read",
 * });
 */
export function method<I extends z.ZodType, O extends z.ZodType>(options: MethodOptions<I, O>): Method<I, O> {
  const { input, output, effect = "write", timeoutMs = TIMEOUT_MS_DEFAULT } = options;
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > TIMEOUT_MS_MAX) {
    throw new AetherError("E_INVALID", `a method has timeoutMs ${timeoutMs}; use 1 to ${TIMEOUT_MS_MAX}`);
  }
  const parsed = parsePolicy(options);
  if (parsed.kind === "refused") {
    throw new AetherError("E_INVALID", `a method has an unusable policy: ${parsed.reason}`);
  }
  const { policy } = parsed;
  if (policy?.cache !== undefined && effect !== "read") {
    throw new AetherError("E_INVALID", `a method with effect "${effect}" has a cache; only "read" may have one`);
  }
  return { input, output, effect, timeoutMs, ...(policy === undefined ? {} : { policy }) };
}

/**
 * Defines the contract of a slice. Its name is the name under which others call the slice.
 * @throws AetherError E_INVALID when a name cannot be part of a URL, or there are more than 100 methods.
 * @example
 * export const pricing = defineContract("pricing", {
 *   quote: method({ input: z.object({ sku: z.string() }), output: z.object({ cents: z.int() }), effect: "read" }),
 * });
 */
export function defineContract<const N extends string, M extends Methods>(name: N, methods: M): Contract<N, M> {
  const names = Object.keys(methods);
  for (const text of [name, ...names]) {
    const checked = nameSchema.safeParse(text);
    if (!checked.success) {
      const reason = checked.error.issues[0]?.message ?? "";
      throw new AetherError("E_INVALID", `contract "${name}": "${text}" cannot be used as a name: ${reason}`);
    }
  }
  if (names.length > METHODS_MAX) {
    throw new AetherError("E_INVALID", `contract "${name}" has ${names.length} methods; ${METHODS_MAX} is the limit`);
  }
  return { name, methods };
}
