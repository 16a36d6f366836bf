// Owns: the port through which the node deployment manager runs instances. slice-store.ts implements it with one
// worker thread per instance.
import type { MethodPolicy } from "../../sdk/method-policy.ts";
import type { InstanceSpec } from "../core/instance-spec.ts";
import type { InstanceKey } from "./running-instances.ts";

export type { InstanceSpec, ResolvedUse } from "../core/instance-spec.ts";

export interface MethodSpec {
  readonly method: string;
  readonly effect: "read" | "idempotent" | "write";
  readonly timeoutMs: number;
  /** How calls of it are made, as its contract says. */
  readonly policy?: MethodPolicy;
}

export type HostedState = "loading" | "loaded" | "activating" | "active" | "deactivating" | "unloading";

export interface DeactivateLimits {
  /** Milliseconds for calls in flight, when there is less time than usual. */
  readonly drainMsMax: number;
}

/**
 * Drives instances on this node. Every operation rejects with an AetherError, and a failed or aborted one leaves no
 * worker behind.
 */
export interface InstanceHost {
  /** Fetches and verifies the artifact, starts the worker and imports the slice. */
  load(spec: InstanceSpec, signal: AbortSignal): Promise<void>;
  /** Runs `start(ctx)`; afterwards calls are accepted. */
  activate(key: InstanceKey, signal: AbortSignal): Promise<readonly MethodSpec[]>;
  /**
   * Refuses new calls, lets those in flight finish (until the signal aborts), runs `stop()`. The instance is loaded
   * afterwards.
   */
  deactivate(key: InstanceKey, signal: AbortSignal, limits?: DeactivateLimits): Promise<void>;
  /** Ends the worker. Idempotent. */
  unload(key: InstanceKey): Promise<void>;
  /** What really runs now. */
  hosted(): ReadonlyMap<InstanceKey, HostedState>;
  /** Called when a worker ended that nobody asked to end; its instance is no longer hosted. */
  onLost(listener: (key: InstanceKey, reason: string) => void): void;
}
