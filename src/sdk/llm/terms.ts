// Owns: what providers of models say of their models beside how to reach them, checked.
import { AetherError } from "../../base/errors.ts";
import { checkPrice } from "../budget.ts";
import type { LlmTerms } from "../llm.ts";

/** @throws AetherError E_INVALID */
export function termsOf(model: string, { price, maxTokens }: LlmTerms): LlmTerms {
  const what = `the model ${model}`;
  checkPrice(what, price);
  if (maxTokens !== undefined && !(Number.isSafeInteger(maxTokens) && maxTokens >= 1)) {
    throw new AetherError("E_INVALID", `${what} has maxTokens ${maxTokens}: use a whole number from 1 on`);
  }
  return { ...(price !== undefined && { price }), ...(maxTokens !== undefined && { maxTokens }) };
}
