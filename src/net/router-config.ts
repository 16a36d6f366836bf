// Owns: the limits between nodes that an operator may set.
import { z } from "zod";
import { KiB, MiB } from "../base/units.ts";

export const RouterConfig = z.object({
  frameBytesMax: z.int().min(64 * KiB).max(64 * MiB).default(8 * MiB)
    .describe("Largest frame sent to or accepted from a peer, in bytes; the same on every node. Bounds one message."),
});
export type RouterConfig = z.output<typeof RouterConfig>;
