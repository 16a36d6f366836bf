// Owns: how long the steps in the life of an instance may take on one node. That these limits agree with those of the
// hooks and of the whole stop is checked where all of them are known (node/time-limits.ts).
import { z } from "zod";
import { HOUR_MS } from "../../base/units.ts";
import { INSTANCE_TIME_LIMITS } from "./instance-driver.ts";
import { DRAIN_MS } from "./node-deployment-manager.ts";

export const DeploymentConfig = z.strictObject({
  loadingMsMax: limit(INSTANCE_TIME_LIMITS.loadingMs)
    .describe("Milliseconds for fetching an artifact, and for its worker to import it. Equal on all nodes."),
  activatingMsMax: limit(INSTANCE_TIME_LIMITS.activatingMs)
    .describe("Milliseconds for activating an instance; above runtime.hookMsMax. Equal on all nodes."),
  deactivatingMsMax: limit(INSTANCE_TIME_LIMITS.deactivatingMs)
    .describe("Milliseconds for deactivating one; above runtime.drainMsMax + runtime.hookMsMax. Equal on all nodes."),
  unloadingMsMax: limit(INSTANCE_TIME_LIMITS.unloadingMs)
    .describe("Milliseconds for ending the worker of an instance; then it is tried again. Equal on all nodes."),
  lateMsMax: limit(INSTANCE_TIME_LIMITS.lateMs)
    .describe("Milliseconds by which a node may be late with an instance, to begin a command or beyond the limits " +
      "above, before the leader has it placed anew, or says so in its log. Equal on all nodes."),
  stopDrainMsMax: z.int().min(0).max(HOUR_MS).default(DRAIN_MS)
    .describe("Milliseconds for an instance's calls in flight when its node stops; stop() gets its time after them."),
});
export type DeploymentConfig = z.output<typeof DeploymentConfig>;

function limit(defaultMs: number): z.ZodDefault<z.ZodInt> {
  return z.int().min(1).max(HOUR_MS).default(defaultMs);
}
