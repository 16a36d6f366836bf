// Owns: the port through which invocation finds endpoints. endpoint-registry.ts implements it.
import type { NodeId } from "../base/ids.ts";
import type { InstanceKey } from "../slices/running-instances.ts";

export interface Endpoint {
  readonly slice: string;
  readonly method: string;
  readonly node: NodeId;
  readonly instance: InstanceKey;
  /** `group:name:version`. */
  readonly artifact: string;
  readonly effect: "read" | "idempotent" | "write";
  /** The callee's default deadline, in milliseconds. */
  readonly timeoutMs: number;
}

export interface EndpointLookup {
  /** Endpoints on nodes that are neither suspected nor draining. Empty when there is none; order is stable. */
  find(slice: string, method: string): readonly Endpoint[];
  /** Whether any blueprint knows this slice at all, to tell "unknown slice" from "no live instance". */
  isKnown(slice: string): boolean;
  /** Methods of this slice that have a live endpoint, sorted; to tell "unknown method" from "no live instance". */
  methodsOf(slice: string): readonly string[];
  /** Called when any of these may answer differently. The listener must not throw. */
  onChange(listener: () => void): void;
}
