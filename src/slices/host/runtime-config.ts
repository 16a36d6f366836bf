// Owns: the limits of running instances on one node.
import { z } from "zod";
import { SECOND_MS } from "../../base/units.ts";

export const RuntimeConfig = z.strictObject({
  callsQueuedMax: z.int().min(0).max(100_000).default(1_000)
    .describe("Calls waiting for one instance. Beyond it callers are sent elsewhere: waiting longer helps nobody."),
  outgoingCallsMax: z.int().min(1).max(100_000).default(1_024)
    .describe("Calls that one instance may have under way to others, and as many requests to its node: its share."),
  loadsAtOnceMax: z.int().min(1).max(1_000).default(4)
    .describe("Workers that start at once; the others wait. Each takes a core for a moment, and this node votes too."),
  hookMsMax: z.int().min(1).max(600_000).default(5 * SECOND_MS)
    .describe("Milliseconds for start() and stop(), within the limits of activating and deactivating."),
  drainMsMax: z.int().min(0).max(600_000).default(20 * SECOND_MS)
    .describe("Milliseconds for calls in flight to finish when an instance is deactivated; then they are cancelled."),
  stallMsMax: z.int().min(50).max(3_600_000).default(15 * SECOND_MS)
    .describe("Milliseconds for which the thread of an instance may stand still, called or not; then it is ended."),
  logLinesPerSecondMax: z.int().min(1).max(10_000).default(200)
    .describe("Lines one instance may log per second; the rest is counted and left out."),
});
export type RuntimeConfig = z.output<typeof RuntimeConfig>;
