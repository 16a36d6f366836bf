// Owns: the settings of the cluster's metrics.
import { z } from "zod";

export const MetricsConfig = z.strictObject({
  collect: z.enum(["on", "off"]).default("on")
    .describe("off: this node reports nothing, shows as stale, and leads without metrics, alerts or control; to " +
      "compare what they cost."),
});
export type MetricsConfig = z.output<typeof MetricsConfig>;
