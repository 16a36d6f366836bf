// Owns: the one door to the world. `startNode(config, env)` is the same code in production and simulation;
// only what is behind these ports differs. Ports only: no code here.
import type { Random } from "../base/random.ts";
import type { LogPort } from "./append-log.ts";
import type { Clock } from "./clock.ts";
import type { NetworkPort } from "./network.ts";
import type { ProcessMeter } from "./process-meter.ts";
import type { StorePort } from "./store.ts";
import type { Telemetry } from "./telemetry.ts";
import type { WorkersPort } from "./workers.ts";

export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: NetworkPort;
  readonly store: StorePort;
  readonly logs: LogPort;
  readonly workers: WorkersPort;
  readonly telemetry: Telemetry;
  readonly meter: ProcessMeter;
}

/** Every public asynchronous method takes these. */
export interface CallOptions {
  readonly signal?: AbortSignal;
}
