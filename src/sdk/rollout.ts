// Owns: how a blueprint says that a slice is to get from one version to the next.
import { z } from "zod";
import { HOUR_MS, MINUTE_MS } from "../base/units.ts";

export const ROLLOUT_STRATEGIES = ["rolling", "blue-green"] as const;
export type RolloutStrategy = (typeof ROLLOUT_STRATEGIES)[number];

/** As many as a slice has instances at most. */
const SURGE_MAX = 1_000;
/** Both versions take memory for as long. */
const BAKE_MS_MAX = 24 * HOUR_MS;

const rollingSchema = z
  .strictObject({
    strategy: z.literal("rolling"),
    surge: z.int().min(0).max(SURGE_MAX).default(1).describe("Instances above `instances` while it lasts."),
    unavailable: z.int().min(0).default(0)
      .describe("Instances below `instances` that may be missing while it lasts."),
  })
  .refine(({ surge, unavailable }) => surge + unavailable > 0, {
    error: "surge and unavailable are both 0: nothing could ever be replaced",
    path: ["surge"],
  });

const blueGreenSchema = z.strictObject({
  strategy: z.literal("blue-green"),
  bakeMs: z.int().min(0).max(BAKE_MS_MAX).default(MINUTE_MS)
    .describe("Milliseconds for which the version before stays after the switch, to switch back to."),
});

export const rolloutSchema = z.discriminatedUnion("strategy", [rollingSchema, blueGreenSchema]);

/** How a slice gets from one version to the next. */
export type RolloutSettings = z.output<typeof rolloutSchema>;

/** What holds for a slice whose blueprint says nothing. */
export const ROLLOUT_DEFAULT: RolloutSettings = rolloutSchema.parse({ strategy: "rolling" });

/** How many instances may be missing while it lasts. */
export function unavailableMax(settings: RolloutSettings = ROLLOUT_DEFAULT): number {
  return settings.strategy === "rolling" ? settings.unavailable : 0;
}

/** How many instances there may be beside the wanted number while it lasts. */
export function surgeMax(settings: RolloutSettings = ROLLOUT_DEFAULT, instances: number): number {
  return settings.strategy === "rolling" ? settings.surge : instances;
}
