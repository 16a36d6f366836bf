// Owns: the form of a rule file: its schema, its defaults and its limits; and bounds of one slice.
// Does not own: reading it from YAML with places (parse-rules.ts), or what follows from it (decision-tree.ts).
import { z } from "zod";
import { HOUR_MS, KiB, MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import { INSTANCES_MAX } from "../../sdk/blueprint.ts";
import { nameSchema } from "../../sdk/name.ts";
import { mostOf, type Expression } from "./expression.ts";
import { FORECAST } from "./forecast.ts";
import { WINDOW_MS_MAX, WINDOW_MS_MIN } from "./parse-expression.ts";

/** Of one file: what a person can oversee, and well below a millisecond to evaluate. */
export const RULES_MAX = 100;
/** Of one file as text. */
export const RULE_FILE_BYTES_MAX = 64 * KiB;
/** Slices with bounds of their own. */
export const BOUNDED_SLICES_MAX = 100;
/** Where nothing is said: instances that no controller goes above. */
export const MAX_DEFAULT = 10;
/** Stands for every slice without bounds or rules of its own. */
export const ANY_SLICE = "*";

const DURATION_TEXT = /^(\d{1,6}(?:\.\d{1,3})?)(ms|s|min|m|h)$/;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: SECOND_MS, m: MINUTE_MS, min: MINUTE_MS, h: HOUR_MS };

/** A time as people write it here: `30s`, `5min`, `1h`. */
function durationSchema(leastMs: number, mostMs: number): z.ZodType<number, string> {
  const range = `${shownMs(leastMs)} to ${shownMs(mostMs)}`;
  const written = z.string({ error: "expected a time such as 30s, 5min or 1h" }).meta({ range });
  return written.transform((text, found) => {
    const [, amount, unit = ""] = DURATION_TEXT.exec(text) ?? [];
    const ms = Number(amount) * (UNIT_MS[unit] ?? Number.NaN);
    if (ms >= leastMs && ms <= mostMs) return ms;
    found.addIssue({ code: "custom", message: `expected a time of ${range}, such as 30s, 5min or 1h` });
    return z.NEVER;
  });
}

function shownMs(ms: number): string {
  return ms % HOUR_MS === 0 && ms > 0 ? `${ms / HOUR_MS}h` : `${ms / SECOND_MS}s`;
}

const instancesSchema = z.int().min(1).max(INSTANCES_MAX);
const stepSchema = z.int().min(1).max(INSTANCES_MAX);

export const boundsSchema = z.strictObject({
  min: instancesSchema.optional()
    .describe("Fewest instances. Default: as many as the blueprint says. Never below its minAvailable."),
  max: instancesSchema.optional()
    .describe(`Most instances. Default: ${MAX_DEFAULT}, or as many as the blueprint says, if that is more.`),
  stepUp: stepSchema.default(2).describe("Most instances that come with one change."),
  stepDown: stepSchema.default(1).describe("Most instances that go with one change."),
  every: durationSchema(SECOND_MS, HOUR_MS).default(10 * SECOND_MS)
    .describe("Least time between two changes of the slice, whoever wants them."),
  reverseAfter: durationSchema(0, 24 * HOUR_MS).default(2 * MINUTE_MS)
    .describe("Least time between instances that came and the first that go again."),
}).refine(({ min, max }) => min === undefined || max === undefined || min <= max, {
  error: "min is more than max", path: ["min"],
});
export type SliceBounds = z.output<typeof boundsSchema>;
export const BOUNDS_DEFAULT: SliceBounds = boundsSchema.parse({});

const expressionText = z.string({ error: 'expected an expression, such as "queued / instances > 50"' }).min(1);
const sliceOrAny = z.union([z.literal(ANY_SLICE), nameSchema], { error: 'expected the name of a slice, or "*"' });

const actionSchema = z.union([
  z.strictObject({ add: stepSchema }),
  z.strictObject({ remove: stepSchema }),
  z.strictObject({ set: z.union([instancesSchema, expressionText]) }),
], { error: "expected one of add: N, remove: N, set: N, or set: an expression" });

export const ruleSchema = z.strictObject({
  name: nameSchema.describe("Stands in every decision that follows from it."),
  slice: sliceOrAny.describe('The slice that it changes; "*": each slice by itself.'),
  when: expressionText.describe("What has to hold."),
  for: durationSchema(0, HOUR_MS).default(10 * SECOND_MS).describe("For how long it has to hold without a break."),
  window: durationSchema(WINDOW_MS_MIN, WINDOW_MS_MAX).default(30 * SECOND_MS)
    .describe("What functions look back at that name no window."),
  do: actionSchema.describe("How many instances: add, remove, or set to a number or an expression (rounded up)."),
  cooldown: durationSchema(0, 24 * HOUR_MS).default(MINUTE_MS)
    .describe("Least time after a change of the slice before this rule changes it again."),
  bounds: z.strictObject({ min: instancesSchema.optional(), max: instancesSchema.optional() }).default({})
    .describe("This rule goes no further than that; within the bounds of the slice."),
});

const URL_TEXT = z.url({ protocol: /^https?$/, error: "expected an http or https address" });

export const advisorSchema = z.strictObject({
  provider: z.enum(["openai", "anthropic"])
    .describe("openai: whatever speaks its chat completions, also Ollama, LM Studio and vLLM."),
  model: z.string().min(1).max(200).describe("As its provider calls it."),
  url: URL_TEXT.optional().describe("Where it is; the provider's own address without it."),
  secret: nameSchema.optional()
    .describe("Name of the secret with its key, of the nodes' configuration; none for a model without a key."),
  every: durationSchema(10 * SECOND_MS, 24 * HOUR_MS).default(MINUTE_MS).describe("How often it is asked."),
  timeout: durationSchema(SECOND_MS, 5 * MINUTE_MS).default(20 * SECOND_MS).describe("How long one answer may take."),
  retries: z.int().min(0).max(3).default(1).describe("How often it is asked again after a failure, before the next."),
}).refine(({ provider, secret }) => provider !== "anthropic" || secret !== undefined, {
  error: "anthropic wants a key: name the secret that has it", path: ["secret"],
});
export type Advisor = z.output<typeof advisorSchema>;
/** The second is asked when the first gives no advice. */
export const ADVISORS_MAX = 3;

export const ruleFileSchema = z.strictObject({
  version: z.literal(1, { error: "expected version: 1" }).default(1).describe("Of the form of this file."),
  bounds: z.record(sliceOrAny, boundsSchema).default({})
    .describe('By slice; "*" for those without bounds of their own.')
    .refine((bounds) => Object.keys(bounds).length <= BOUNDED_SLICES_MAX, {
      error: `at most ${BOUNDED_SLICES_MAX} slices have bounds of their own`,
    }),
  rules: z.array(ruleSchema).max(RULES_MAX, { error: `a file has at most ${RULES_MAX} rules` }).default([])
    .describe("Of several that speak about one slice, the one that wants most instances wins."),
  advisors: z.array(advisorSchema).max(ADVISORS_MAX, { error: `at most ${ADVISORS_MAX} models are asked` }).default([])
    .describe("Models that give advice where no rule says anything: the first that answers."),
});
export type RuleFile = z.output<typeof ruleFileSchema>;

export type RuleAction =
  | { readonly kind: "add" | "remove"; readonly count: number }
  | { readonly kind: "set"; readonly to: Expression };

/** A rule whose expressions are read. */
export interface Rule {
  readonly name: string;
  readonly slice: string;
  readonly when: Expression;
  /** As it was written, for reasons of decisions. */
  readonly text: string;
  readonly forMs: number;
  readonly action: RuleAction;
  readonly cooldownMs: number;
  readonly min: number | undefined;
  readonly max: number | undefined;
}

/** A whole file, checked. */
export interface RuleSet {
  readonly bounds: Readonly<Record<string, SliceBounds>>;
  readonly rules: readonly Rule[];
  readonly advisors: readonly Advisor[];
}

export const NO_RULES: RuleSet = { bounds: {}, rules: [], advisors: [] };

export function boundsOf({ bounds }: RuleSet, slice: string): SliceBounds {
  const own = Object.hasOwn(bounds, slice) ? bounds[slice] : undefined;
  return own ?? bounds[ANY_SLICE] ?? BOUNDS_DEFAULT;
}

/** How far back anything looks that evaluates these rules; models are told of the last minutes. */
export function lookbackMsOf({ rules }: RuleSet): number {
  const expressions = rules.flatMap(({ when, action }) => (action.kind === "set" ? [when, action.to] : [when]));
  const windowsMs = expressions.map((one) => mostOf(one, (leaf) =>
    (leaf.kind === "forecast" ? FORECAST.stepMs * FORECAST.stepsMax : leaf.windowMs)));
  return Math.max(2 * MINUTE_MS, ...windowsMs);
}
