// Owns: the configuration of consensus.
import { z } from "zod";

export const ConsensusConfig = z.strictObject({
  windowSlots: z
    .int()
    .min(8)
    .max(1_024)
    .default(64)
    .describe(
      "W: slots that votes may run ahead of the applied state. Fixed when the cluster forms; the stored value wins.",
    ),
  pipelineSlots: z
    .int()
    .min(1)
    .max(256)
    .default(8)
    .describe("P: slots in flight at once. 8 suits a LAN; a WAN wants more, at most windowSlots."),
});
export type ConsensusConfig = z.output<typeof ConsensusConfig>;
