// Owns: how a blueprint says that a slice is to get from one version to the next.
import { z } from "zod";
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../base/units.ts";

export const ROLLOUT_STRATEGIES = ["rolling", "blue-green", "canary"] as const;
export type RolloutStrategy = (typeof ROLLOUT_STRATEGIES)[number];

/** As many as a slice has instances at most. */
const SURGE_MAX = 1_000;
/** Of a wrong value in a message. */
const SHOWN_CHARS_MAX = 40;
/** Both versions take memory for as long. */
const BAKE_MS_MAX = 24 * HOUR_MS;
const CANARY_STEPS_MAX = 20;
/** Counts of calls travel four times a second. */
const STEP_MS_MIN = SECOND_MS;

/** A number of instances, or a part of those that are wanted. */
export type InstanceShare = number | `${number}%`;

const PERCENT = /^(?:100|[1-9]?[0-9])%$/;
const SHARE_FORMS = `a number of instances, 0 to ${SURGE_MAX}, or percent of them: "0%" to "100%"`;

const shareSchema = z.custom<InstanceShare>(isShare, {
  error: ({ input }) => `is ${shownOf(input)}; it is ${SHARE_FORMS}`,
});

function isShare(value: unknown): boolean {
  if (typeof value === "string") return PERCENT.test(value);
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= SURGE_MAX;
}

function shownOf(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value.slice(0, SHOWN_CHARS_MAX)) : String(value);
}

const rollingSchema = z
  .strictObject({
    strategy: z.literal("rolling"),
    surge: shareSchema.default(1)
      .describe("Instances above `instances` while it lasts, or percent of them, rounded up."),
    unavailable: shareSchema.default(0)
      .describe("Instances below `instances` that may be missing while it lasts, or percent of them, rounded down."),
  })
  .refine(({ surge, unavailable }) => Number.parseInt(`${surge}`) + Number.parseInt(`${unavailable}`) > 0, {
    error: "surge and unavailable are both 0: nothing could ever be replaced",
    path: ["surge"],
  });

const blueGreenSchema = z.strictObject({
  strategy: z.literal("blue-green"),
  bakeMs: z.int().min(0).max(BAKE_MS_MAX).default(MINUTE_MS)
    .describe("Milliseconds for which the version before stays after the switch, to switch back to."),
});

const STEPS_DEFAULT = [1, 5, 25, 50, 100];

const canarySchema = z.strictObject({
  strategy: z.literal("canary"),
  steps: z.array(z.int().min(1).max(100)).min(1).max(CANARY_STEPS_MAX).default(STEPS_DEFAULT)
    .refine((steps) => steps.at(-1) === 100 && steps.every((step, at) => at === 0 || step > (steps[at - 1] ?? 0)), {
      error: "steps grow, and the last one is 100",
    })
    .describe("Percent of the calls that the new version gets, step by step."),
  stepMs: z.int().min(STEP_MS_MIN).max(BAKE_MS_MAX).default(MINUTE_MS)
    .describe("Milliseconds of a step at least, from when the calls have come."),
  minCalls: z.int().min(1).default(50).describe("Calls of the new version that a step needs to be judged."),
  errorRateMax: z.number().min(0).max(1).default(0.01)
    .describe("Part of its calls that may fail, or twice what the version before has in the same step."),
  p99MsMax: z.number().min(0).default(500)
    .describe("Milliseconds within which 99 of 100 calls end, or twice what the version before takes."),
});

export const rolloutSchema = z.discriminatedUnion("strategy", [rollingSchema, blueGreenSchema, canarySchema]);

/** How a slice gets from one version to the next. */
export type RolloutSettings = z.output<typeof rolloutSchema>;

export type CanarySettings = Extract<RolloutSettings, { strategy: "canary" }>;

/** What holds for a slice whose blueprint says nothing. */
export const ROLLOUT_DEFAULT: RolloutSettings = rolloutSchema.parse({ strategy: "rolling" });

/** How many of so many instances may be missing while it lasts. */
export function unavailableMax(settings: RolloutSettings = ROLLOUT_DEFAULT, instances: number): number {
  if (settings.strategy !== "rolling") return 0;
  const { surge, unavailable } = settings;
  const most = countOf(unavailable, instances, Math.floor);
  // Of few instances a part may be less than one: with nothing beside them none of them could ever be replaced.
  return most === 0 && countOf(surge, instances, Math.ceil) === 0 ? Math.min(1, instances) : most;
}

/** How many instances there may be beside the wanted number while it lasts. */
export function surgeMax(settings: RolloutSettings = ROLLOUT_DEFAULT, instances: number): number {
  return settings.strategy === "rolling" ? countOf(settings.surge, instances, Math.ceil) : instances;
}

function countOf(share: InstanceShare, instances: number, rounded: (value: number) => number): number {
  return typeof share === "number" ? share : rounded((Number.parseInt(share) * instances) / 100);
}
