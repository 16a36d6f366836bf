// Owns: what a request to a model can cost, and what its answer has cost, in whole tokens and micro-dollars,
// rounded up. Does not own: whether a job can pay for it (core/budget).
import { microsOf, type LlmPrice } from "../../sdk/budget.ts";
import type { LlmRequest, LlmUsage } from "../../sdk/llm.ts";
import type { Amount } from "../core/budget/account.ts";

/**
 * Bytes of a request's JSON for each token that it is taken to have at most. English text has four for a token, most
 * others three, and JSON adds some: so a reservation is about twice what is used of it.
 */
export const REQUEST_BYTES_PER_TOKEN = 2;
const MILLION = 1_000_000n;

/** `maxTokens` is what the model is told. */
export function costMaxOfRequest(price: LlmPrice | undefined, request: LlmRequest): Amount {
  const bytes = Buffer.byteLength(JSON.stringify(request));
  return costOfTokens(price, {
    inputTokens: Math.ceil(bytes / REQUEST_BYTES_PER_TOKEN), outputTokens: request.maxTokens ?? 0,
  });
}

export function costOfTokens(
  price: LlmPrice | undefined, { inputTokens, outputTokens }: Pick<LlmUsage, "inputTokens" | "outputTokens">,
): Amount {
  const tokens = inputTokens + outputTokens;
  if (price === undefined) return { tokens };
  // Micro-dollars of a million tokens; the product may be more than a double counts exactly.
  const input = BigInt(inputTokens) * BigInt(microsOf(price.inputPerMillion));
  const output = BigInt(outputTokens) * BigInt(microsOf(price.outputPerMillion));
  return { usdMicros: Number((input + output + MILLION - 1n) / MILLION), tokens };
}
