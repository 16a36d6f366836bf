// Owns: how current an answer of HTTP is to be, as the address asks for it.
import { z } from "zod";

export const consistencySchema = z.enum(["linearizable", "local"]).default("linearizable")
  .describe("local: as this node has it applied, at once and also without a quorum");

/** Of an address that says nothing else. */
export const readQuery = z.strictObject({ consistency: consistencySchema });
