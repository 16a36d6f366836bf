// Owns: the settings of the cluster's metrics.
import { z } from "zod";

export const MetricsConfig = z.strictObject({
  collect: z.enum(["on", "off"]).default("on")
    .describe("off: this node tells others nothing, shows as stale, and leads without metrics, alerts or control; to " +
      "compare what they cost. It still looks whether it stands still itself, for /readyz and /metrics."),
});
export type MetricsConfig = z.output<typeof MetricsConfig>;
