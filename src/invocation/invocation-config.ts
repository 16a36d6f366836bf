// Owns: the limits of calls made and answered by one node.
import { z } from "zod";
import { GiB, MiB } from "../base/units.ts";

export const InvocationConfig = z.strictObject({
  callsInFlightMax: z.int().min(1).max(1_000_000).default(4_096)
    .describe("Calls from this node under way at once; beyond it E_OVERLOADED, so that memory stays bounded."),
  callBytesMax: z.int().min(MiB).max(64 * GiB).default(256 * MiB)
    .describe("Bytes of input of calls from this node under way at once; beyond it E_OVERLOADED."),
  peerCallsMax: z.int().min(1).max(1_000_000).default(8_192)
    .describe("Calls of one peer under way here at once: twice what a well-behaved peer can have."),
  peerCallBytesMax: z.int().min(MiB).max(64 * GiB).default(256 * MiB)
    .describe("Bytes of calls of all peers here at once: inputs, answers that wait; beyond it calls are not started."),
  retriesMax: z.int().min(0).max(10).default(3)
    .describe("Retries after an attempt that may have run, or to an endpoint tried before."),
  retryBackoffMs: z.int().min(1).max(10_000).default(100)
    .describe("Milliseconds before the first of them, doubling; always within the deadline."),
  cacheBytesMax: z.int().min(0).max(4 * GiB).default(32 * MiB)
    .describe("Bytes of answers that this node keeps for methods whose contract has a cache; 0: none."),
  endpointWaitMsMax: z.int().min(0).max(600_000).default(5_000)
    .describe("Milliseconds to wait, within the deadline, for a slice without live endpoint to get one."),
});
export type InvocationConfig = z.output<typeof InvocationConfig>;
