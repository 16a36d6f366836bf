// Owns: what one instance may use of its node: memory, stack, environment variables. Worker threads contain faults,
// not attackers. Does not own: how a worker is started (thread-adapter.ts).
import { AetherError } from "../../base/errors.ts";
import { MiB } from "../../base/units.ts";
import { RESERVED_VARIABLES } from "../../sdk/blueprint.ts";
import type { InstanceSpec } from "../host/instance-host.ts";
import { engineHeapBytesMax } from "./memory-rule.ts";

/** Below this V8 cannot start a worker and import a bundle. */
const HEAP_BYTES_MIN = 16 * MiB;
/** The engine's share for short-lived objects; more only makes its pauses longer. */
const YOUNG_HEAP_BYTES_MAX = 16 * MiB;
/** Node's own default for worker threads; a larger one needs a larger native stack. */
const STACK_BYTES_MAX = 4 * MiB;
/** Calls beyond this in one thread only wait for each other. */
const CONCURRENCY_MAX = 10_000;

export interface IsolationPlan {
  /** Of the engine, see memory-rule.ts. */
  readonly limits: {
    readonly heapBytesMax: number;
    readonly youngHeapBytesMax: number;
    readonly stackBytesMax: number;
  };
  /** What the instance may use. */
  readonly heapBytesMax: number;
  readonly variables: Readonly<Record<string, string>>;
  readonly concurrency: number;
}

/** @throws AetherError E_INVALID when the blueprint asks for what a worker cannot get. */
export function planIsolation(spec: InstanceSpec): IsolationPlan {
  if (!(spec.heapBytesMax >= HEAP_BYTES_MIN)) {
    throw invalid(spec, `heapBytesMax is ${spec.heapBytesMax}`, `give it at least ${HEAP_BYTES_MIN} bytes`);
  }
  if (!Number.isInteger(spec.concurrency) || spec.concurrency < 1 || spec.concurrency > CONCURRENCY_MAX) {
    throw invalid(spec, `concurrency is ${spec.concurrency}`, `use a whole number from 1 to ${CONCURRENCY_MAX}`);
  }
  const reserved = Object.keys(spec.variables).find((name) => RESERVED_VARIABLES.has(name));
  if (reserved !== undefined) {
    throw invalid(spec, `its variables name ${reserved}`, "remove it: it would change how Node itself runs");
  }
  return {
    limits: {
      heapBytesMax: engineHeapBytesMax(spec.heapBytesMax),
      youngHeapBytesMax: Math.min(YOUNG_HEAP_BYTES_MAX, spec.heapBytesMax / 4),
      stackBytesMax: STACK_BYTES_MAX,
    },
    heapBytesMax: spec.heapBytesMax,
    variables: spec.variables,
    concurrency: spec.concurrency,
  };
}

function invalid(spec: InstanceSpec, found: string, advice: string): AetherError {
  return new AetherError("E_INVALID", `cannot start ${spec.key}: ${found}; ${advice}`);
}
