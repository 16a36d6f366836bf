// Owns: the configuration of consensus.
import { z } from "zod";
import { GiB, MiB } from "../base/units.ts";
import { LOG_LIMITS } from "./core/journal-index.ts";

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
  logSlotsKept: z
    .int()
    .min(64)
    .max(1_000_000)
    .default(LOG_LIMITS.slotsKept)
    .describe("Applied slots kept for nodes that come back; one that was away for longer fetches the whole state."),
  logBytesKept: z
    .int()
    .min(1 * MiB)
    .max(16 * GiB)
    .default(LOG_LIMITS.bytesKept)
    .describe("The same as bytes of the journal: what is reached first counts."),
});
export type ConsensusConfig = z.output<typeof ConsensusConfig>;
