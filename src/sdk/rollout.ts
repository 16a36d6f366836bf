// Owns: how a blueprint says that a slice is to get from one version to the next.
import { z } from "zod";

export const ROLLOUT_STRATEGIES = ["rolling"] as const;
export type RolloutStrategy = (typeof ROLLOUT_STRATEGIES)[number];

const rollingSchema = z
  .strictObject({
    strategy: z.literal("rolling"),
    surge: z.int().min(0).default(1).describe("Instances above `instances` while it lasts."),
    unavailable: z.int().min(0).default(0)
      .describe("Instances below `instances` that may be missing while it lasts."),
  })
  .refine(({ surge, unavailable }) => surge + unavailable > 0, {
    error: "surge and unavailable are both 0: nothing could ever be replaced",
    path: ["surge"],
  });

export const rolloutSchema = rollingSchema;

/** How a slice gets from one version to the next. */
export type RolloutSettings = z.output<typeof rolloutSchema>;

/** What holds for a slice whose blueprint says nothing. */
export const ROLLOUT_DEFAULT: RolloutSettings = rolloutSchema.parse({ strategy: "rolling" });

/** How many instances may be missing while it lasts. */
export function unavailableMax(settings: RolloutSettings = ROLLOUT_DEFAULT): number {
  return settings.unavailable;
}
