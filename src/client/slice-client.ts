// Owns: calls of slices by a client: untyped by name, and typed by a contract.
import { AetherError } from "../base/errors.ts";
import { describeIssue, plainIssues } from "../base/schema-issues.ts";
import { CALL_BYTES_MAX, plainRefusalError, toPlain } from "../slices/core/plain-data.ts";
import type { CallOptions, Client, Contract, Method, MethodEffect } from "../sdk/contract.ts";
import { count, list } from "../api/core/message-fields.ts";
import { CALL_TIMEOUT_MS } from "../api/limits.ts";
import type { Multiplexer } from "./multiplexer.ts";

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
}

export async function callSlice(requests: Multiplexer, call: SliceCall): Promise<SliceAnswer> {
  const { slice, method, input, effect = "write", timeoutMs = CALL_TIMEOUT_MS } = call;
  const { signal, idempotencyKey, traceparent } = call;
  const what = `call ${slice}.${method}`;
  const plain = toPlain(input, CALL_BYTES_MAX);
  if (plain.kind !== "plain") throw plainRefusalError(what, plain);
  const result = await requests.request({
    what,
    effect,
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
  const [output, attempts] = list(result, "call");
  return { output, attempts: count(attempts, "attempts") };
}

/** The methods of a contract as functions. */
export function createSliceClient<C extends Contract>(requests: Multiplexer, contract: C): Client<C> {
  const methods: Record<string, (input: unknown, options?: CallOptions) => Promise<unknown>> = {};
  for (const [name, method] of Object.entries(contract.methods)) {
    methods[name] = async (input, options = {}) => {
      await checkInput(contract.name, name, { method, input });
      const { effect, timeoutMs } = method;
      const call = { timeoutMs, ...options, slice: contract.name, method: name, input, effect };
      const answer = await callSlice(requests, call);
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
    details: { issues },
  });
}
