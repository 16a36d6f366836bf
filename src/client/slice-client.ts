// Owns: calls of slices by a client: untyped by name, and typed by a contract.
import type { ErrorCode } from "../base/error-catalog.ts";
import { AetherError } from "../base/errors.ts";
import { describeIssue, plainIssues } from "../base/schema-issues.ts";
import { classOf, type CallFailureClass } from "../slices/core/call-failure.ts";
import { CALL_BYTES_MAX, plainRefusalError, toPlain } from "../slices/core/plain-data.ts";
import type { CallOptions, Client, Contract, Method, MethodEffect } from "../sdk/contract.ts";
import { count, list } from "../api/core/message-fields.ts";
import { CALL_TIMEOUT_MS } from "../api/limits.ts";
import type { Tracing } from "../env/tracing.ts";
import { rpcAttributes } from "../invocation/span-attributes.ts";
import type { Multiplexer } from "./multiplexer.ts";
import { traced } from "../invocation/traced.ts";

/** One call by name, for tools that do not know the contract. */
export interface SliceCall extends CallOptions {
  readonly slice: string;
  readonly method: string;
  readonly input?: unknown;
  /** What may be done when the connection is lost; default `write`, the careful choice. */
  readonly effect?: MethodEffect;
  /** W3C trace context, handed through. */
  readonly traceparent?: string;
}

export interface SliceAnswer {
  readonly output: unknown;
  /** How many instances the cluster tried. */
  readonly attempts: number;
  /** Whether an earlier call with the same idempotency key has got this answer: nothing ran for this one. */
  readonly isReplayed: boolean;
}

export async function callSlice(requests: Multiplexer, call: SliceCall): Promise<SliceAnswer> {
  const { slice, method, input, timeoutMs = CALL_TIMEOUT_MS } = call;
  const { signal, idempotencyKey, traceparent } = call;
  const what = `call ${slice}.${method}`;
  const plain = toPlain(input, CALL_BYTES_MAX);
  if (plain.kind !== "plain") throw classified(plainRefusalError(what, plain));
  const request = requests.request({
    what,
    effect: effectOf(call),
    // The cluster has looked for an instance already, on every node.
    persistence: "none",
    bytes: plain.bytes,
    timeoutMs,
    signal,
    message: (id, leftMs) => ({
      kind: "call",
      id,
      timeoutMs: leftMs,
      slice,
      method,
      input: plain.value,
      idempotencyKey,
      traceparent,
    }),
  });
  const result = await request.catch((error: unknown) => {
    // The reason of the caller's own signal stays what it is.
    throw error instanceof AetherError && error !== signal?.reason ? classified(error) : error;
  });
  const [output, attempts, isReplayed] = list(result, "call");
  return { output, attempts: count(attempts, "attempts"), isReplayed: isReplayed === true };
}

/** With a key the cluster keeps a write from running twice, however often it is sent. */
function effectOf({ effect = "write", idempotencyKey }: SliceCall): MethodEffect {
  return effect === "write" && idempotencyKey !== undefined ? "idempotent" : effect;
}

/** With the class of the failure, also where no node has said one, or said it of a later attempt than one in doubt. */
function classified(error: AetherError): AetherError {
  const { code, message, outcome = "none", details, cause } = error;
  const told = classOf(error);
  const isInDoubt = outcome === "unknown" || (told === undefined && code === "E_TIMEOUT" && outcome === "none");
  const found = told === "handler" ? told : isInDoubt ? "no-answer" : (told ?? unsentClass(code));
  if (found === told) return error;
  return new AetherError(code, message, { outcome, details: { ...details, class: found }, cause });
}

function unsentClass(code: ErrorCode): CallFailureClass {
  return code === "E_OVERLOADED" ? "overloaded" : "not-sent";
}

/** A call by name, as a part of what the process has under way. */
export function callTraced(requests: Multiplexer, call: SliceCall, tracing?: Tracing): Promise<SliceAnswer> {
  const { slice, method, traceparent } = call;
  const attributes = rpcAttributes(slice, method);
  const request = { name: `call ${slice}.${method}`, kind: "client", traceparent, attributes } as const;
  return traced(tracing, request, (traceparent) =>
    callSlice(requests, traceparent === undefined ? call : { ...call, traceparent }));
}

/** The methods of a contract as functions. */
export function createSliceClient<C extends Contract>(
  requests: Multiplexer, contract: C, tracing?: Tracing,
): Client<C> {
  const methods: Record<string, (input: unknown, options?: CallOptions) => Promise<unknown>> = {};
  for (const [name, method] of Object.entries(contract.methods)) {
    methods[name] = async (input, options = {}) => {
      await checkInput(contract.name, name, { method, input });
      const { effect, timeoutMs } = method;
      const call = { timeoutMs, ...options, slice: contract.name, method: name, input, effect };
      const answer = await callTraced(requests, call, tracing);
      return answer.output;
    };
  }
  // The one place where the contract's types are put on its untyped functions.
  return methods as Client<C>;
}

/** Fails early and without a journey; the callee parses the input again, and its answer has been parsed there. */
async function checkInput(
  slice: string,
  name: string,
  { method, input }: { readonly method: Method; readonly input: unknown },
): Promise<void> {
  const parsed = await method.input.safeParseAsync(input);
  if (parsed.success) return;
  const issues = plainIssues(parsed.error.issues);
  const found = issues.map(describeIssue).join("; ");
  throw new AetherError("E_INVALID", `the input of ${slice}.${name} does not match its contract: ${found}`, {
    details: { issues, class: "not-sent" satisfies CallFailureClass },
  });
}
