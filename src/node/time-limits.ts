// Owns: time limits that contain each other. A step that may take longer than the step it belongs to is cut off without
// having done its work, so a configuration in which the inner limit is not the smaller one is refused at start.
import type { ApiConfig } from "../api/config.ts";
import { AetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { DeploymentConfig } from "../cluster/deployment/deployment-config.ts";
import { CALLERS_KNOW_MS_MAX, GIVE_UP_WRITE_MS } from "../cluster/deployment/node-deployment-manager.ts";
import type { RuntimeConfig } from "../slices/host/runtime-config.ts";
import { LAST_RECORDS_MS_MAX } from "./node-work.ts";

/** An orderly stop gets at least this; more where the limits of its parts need more. */
export const STOP_MS_MIN = 35 * SECOND_MS;

/** Beyond its parts a step needs some time itself: turns of the event loop, messages to its worker. */
const STEP_MS = SECOND_MS;
/** Of an orderly stop: the last checkpoint, and closing the files. */
const CLOSE_MS = 5 * SECOND_MS;

export interface TimeLimits extends Pick<ApiConfig, "apiCloseTimeoutMs"> {
  readonly runtime: Pick<RuntimeConfig, "hookMsMax" | "drainMsMax">;
  readonly deployment: DeploymentConfig;
}

/** What one instance may take when its node stops: its calls in flight, and then `stop()`. */
export function instanceStopMs({ runtime, deployment }: Pick<TimeLimits, "runtime" | "deployment">): number {
  return deployment.stopDrainMsMax + runtime.hookMsMax + STEP_MS;
}

/** How long an orderly stop of the node may take before the process ends without it. */
export function nodeStopMs(limits: TimeLimits): number {
  // Rows are written before, and workers ended after, what an instance takes; then callers are to know of it.
  const instancesMs = 2 * GIVE_UP_WRITE_MS + instanceStopMs(limits) + CALLERS_KNOW_MS_MAX + LAST_RECORDS_MS_MAX;
  const needMs = instancesMs + limits.apiCloseTimeoutMs + CLOSE_MS;
  return Math.max(STOP_MS_MIN, needMs);
}

/** @throws AetherError E_CONFIG naming the limits that disagree. */
export function checkTimeLimits({ runtime, deployment }: Pick<TimeLimits, "runtime" | "deployment">): void {
  const { hookMsMax, drainMsMax } = runtime;
  const { activatingMsMax, deactivatingMsMax } = deployment;
  requireRoom({ "deployment.activatingMsMax": activatingMsMax }, { "runtime.hookMsMax": hookMsMax });
  requireRoom(
    { "deployment.deactivatingMsMax": deactivatingMsMax },
    { "runtime.drainMsMax": drainMsMax, "runtime.hookMsMax": hookMsMax },
  );
}

type Named = Readonly<Record<string, number>>;

function requireRoom(whole: Named, parts: Named): void {
  const needMs = total(parts) + STEP_MS;
  if (needMs <= total(whole)) return;
  throw new AetherError(
    "E_CONFIG",
    `${namesOf(whole)}: is ${total(whole)} ms, but ${namesOf(parts)} take up to ${needMs} ms of it: ` +
      "raise the former, or lower the latter",
  );
}

function total(values: Named): number {
  return Object.values(values).reduce((sum, value) => sum + value, 0);
}

function namesOf(values: Named): string {
  return Object.keys(values).join(" and ");
}
