// Owns: what providers of models say of their models beside how to reach them, checked.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { checkPrice } from "../budget.ts";
import type { LlmLimits, LlmTerms } from "../llm.ts";
import { CONCURRENT_CALLS_MAX, concurrentSchema } from "../tool.ts";

/** In a minute. */
export const MODEL_REQUESTS_MAX = 1_000_000;
export const MODEL_TOKENS_MAX = 1_000_000_000;

export const limitsSchema: z.ZodType<LlmLimits> = z.strictObject({
  requestsPerMinute: z.int().min(1).max(MODEL_REQUESTS_MAX).exactOptional(),
  tokensPerMinute: z.int().min(1).max(MODEL_TOKENS_MAX).exactOptional(),
  maxConcurrent: concurrentSchema.exactOptional(),
});

/** @throws AetherError E_INVALID */
export function termsOf(model: string, { price, maxTokens, limits }: LlmTerms): LlmTerms {
  const what = `the model ${model}`;
  checkPrice(what, price);
  if (maxTokens !== undefined && !(Number.isSafeInteger(maxTokens) && maxTokens >= 1)) {
    throw new AetherError("E_INVALID", `${what} has maxTokens ${maxTokens}: use a whole number from 1 on`);
  }
  if (limits !== undefined && !limitsSchema.safeParse(limits).success) {
    throw new AetherError("E_INVALID", `${what} has unusable limits: give requestsPerMinute from 1 to ` +
      `${MODEL_REQUESTS_MAX}, tokensPerMinute from 1 to ${MODEL_TOKENS_MAX}, maxConcurrent from 1 to ` +
      `${CONCURRENT_CALLS_MAX}, or some of them`);
  }
  return {
    ...(price !== undefined && { price }), ...(maxTokens !== undefined && { maxTokens }),
    ...(limits !== undefined && { limits }),
  };
}
