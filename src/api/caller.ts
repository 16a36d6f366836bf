// Owns: who asks. This version serves loopback only and knows nobody by name: whoever is on the machine is one and the
// same. What people did is recorded under this name, and can be attributed to nobody.
import type { Caller } from "../jobs/ports.ts";

export const ANYBODY: Caller = { principal: "anonymous", tenant: "default" };
