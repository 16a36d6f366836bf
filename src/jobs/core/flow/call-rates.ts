// Owns: which rates of the whole cluster a call has to keep, how much of each it takes, and how many may be under way
// at once. Does not own: waiting for its turn (admission/rate-limits.ts) and its place (admission/call-places.ts).
//
// A bucket belongs to a tool of a slice: tools of one name in other slices have nothing to do with it. That of a model
// is one for all that ask it, by its provider's name.
import { MINUTE_MS, SECOND_MS } from "../../../base/units.ts";
import type { LlmLimits } from "../../../sdk/llm.ts";
import type { PermitLimit } from "./permits.ts";
import type { ToolRate } from "./rate-bucket.ts";

/** A model, as far as rates are concerned. */
export interface ModelUse {
  /** As the provider knows it. */
  readonly name: string;
  /** What its definition says. */
  readonly limits?: LlmLimits;
  /** The most that one request can take. */
  readonly tokens: number;
}

export interface RateTake {
  readonly rate: ToolRate;
  readonly count: number;
  /** What is not used of it is given back. */
  readonly isEstimate: boolean;
}

/** What this node's configuration says of models, by their names; it goes before what their definitions say. */
export type ModelLimits = Readonly<Record<string, LlmLimits>>;

/** Of what a model may be asked in a minute, as many requests may be made at once after a time without any. */
const REQUESTS_AT_ONCE_PARTS = 10;

export function ratesOf(
  { rate, model }: { readonly rate?: ToolRate; readonly model?: ModelUse },
  { slice, models }: { readonly slice: string; readonly models: ModelLimits },
): readonly RateTake[] {
  const ofTool: readonly RateTake[] = rate === undefined
    ? []
    : [{ rate: { ...rate, name: `${slice}/${rate.name}` }, count: 1, isEstimate: false }];
  return model === undefined ? ofTool : [...ofTool, ...modelRates(model, models)];
}

/** Calls that may be under way at once where this one counts; of a model, all that ask it. */
export function callLimitOf(
  { tool, maxConcurrent, model }: { readonly tool: string; readonly maxConcurrent?: number; readonly model?: ModelUse },
  { slice, models }: { readonly slice: string; readonly models: ModelLimits },
): PermitLimit<"call"> | undefined {
  const [name, max] = model === undefined
    ? [`${slice}/${tool}`, maxConcurrent]
    : [`model/${model.name}`, limitsOf(model, models).maxConcurrent];
  return max === undefined ? undefined : { scope: "call", name, max };
}

function limitsOf({ name, limits = {} }: ModelUse, models: ModelLimits): LlmLimits {
  return { ...limits, ...(Object.hasOwn(models, name) ? models[name] : {}) };
}

function modelRates(model: ModelUse, models: ModelLimits): readonly RateTake[] {
  const { name, tokens } = model;
  const { requestsPerMinute, tokensPerMinute } = limitsOf(model, models);
  const requests: readonly RateTake[] = requestsPerMinute === undefined ? [] : [{
    rate: {
      name: `model/${name}/requests`,
      perSecond: perSecond(requestsPerMinute),
      burst: Math.max(1, Math.floor(requestsPerMinute / REQUESTS_AT_ONCE_PARTS)),
    },
    count: 1,
    isEstimate: false,
  }];
  const ofTokens: readonly RateTake[] = tokensPerMinute === undefined ? [] : [{
    rate: { name: `model/${name}/tokens`, perSecond: perSecond(tokensPerMinute), burst: tokensPerMinute },
    count: Math.max(1, tokens),
    isEstimate: true,
  }];
  return [...requests, ...ofTokens];
}

function perSecond(perMinute: number): number {
  return (perMinute * SECOND_MS) / MINUTE_MS;
}
