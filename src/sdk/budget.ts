// Owns: what jobs may spend as people write it, and what calls cost. Money is in US dollars here, and in whole
// millionths of them wherever it is counted.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { describeIssue, plainIssues } from "../base/schema-issues.ts";

/** What a job may spend, with all that it starts; what is left out has no limit. */
export interface Budget {
  /** US dollars, up to a millionth. */
  readonly usd?: number;
  /** Of models: what they are asked and what they say. */
  readonly tokens?: number;
  /** Steps that may be recorded. */
  readonly steps?: number;
}

/** What a million tokens cost in US dollars. */
export interface LlmPrice {
  readonly inputPerMillion: number;
  readonly outputPerMillion: number;
}

export const MICROS_PER_USD = 1_000_000;
export const BUDGET_USD_MAX = 1_000_000;
export const BUDGET_TOKENS_MAX = 1_000_000_000_000;
export const BUDGET_STEPS_MAX = 1_000_000;
/** Dollars of one call of a tool, and of a million tokens of a model. */
export const COST_USD_MAX = 10_000;

export const budgetSchema: z.ZodType<Budget> = z.strictObject({
  usd: z.number().min(0).max(BUDGET_USD_MAX).exactOptional(),
  tokens: z.int().min(0).max(BUDGET_TOKENS_MAX).exactOptional(),
  steps: z.int().min(0).max(BUDGET_STEPS_MAX).exactOptional(),
});
export const costSchema = z.object({ usd: z.number().min(0).max(COST_USD_MAX) });
export const priceSchema: z.ZodType<LlmPrice> = z.object({
  inputPerMillion: z.number().min(0).max(COST_USD_MAX),
  outputPerMillion: z.number().min(0).max(COST_USD_MAX),
});

/** Whole micro-dollars. */
export function microsOf(usd: number): number {
  return Math.round(usd * MICROS_PER_USD);
}

/** @throws AetherError E_INVALID */
export function checkCost(what: string, cost: { readonly usd: number } | undefined): void {
  if (cost === undefined || costSchema.safeParse(cost).success) return;
  throw new AetherError("E_INVALID", `${what} has a cost of ${cost.usd} dollars; use 0 to ${COST_USD_MAX}`);
}

/** @throws AetherError E_INVALID */
export function checkPrice(what: string, price: LlmPrice | undefined): void {
  if (price === undefined || priceSchema.safeParse(price).success) return;
  throw new AetherError("E_INVALID", `${what} has an unusable price: give what a million tokens cost in dollars as ` +
    `inputPerMillion and outputPerMillion, each 0 to ${COST_USD_MAX}`);
}

/** @throws AetherError E_INVALID; `what` is whose budget it is */
export function checkBudget(what: string, budget: Budget | undefined): void {
  if (budget === undefined) return;
  const checked = budgetSchema.safeParse(budget);
  if (checked.success) return;
  const found = plainIssues(checked.error.issues).map(describeIssue).join("; ");
  throw new AetherError("E_INVALID", `the budget of ${what} cannot be that: ${found}`);
}
