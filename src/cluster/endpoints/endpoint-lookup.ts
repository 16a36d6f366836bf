// Owns: the port through which invocation finds endpoints. endpoint-registry.ts implements it.
import type { ArtifactId, Digest, NodeId } from "../../base/ids.ts";
import type { MethodPolicy } from "../../sdk/method-policy.ts";
import type { InstanceKey } from "../../slices/host/running-instances.ts";

export interface Endpoint {
  /** `{node}/{instance}`: the instance, whose methods share it. */
  readonly id: string;
  readonly slice: string;
  readonly method: string;
  readonly node: NodeId;
  readonly instance: InstanceKey;
  readonly artifact: ArtifactId;
  /** What its instance was made from; undefined when its node did not say. */
  readonly specDigest: Digest | undefined;
  readonly effect: "read" | "idempotent" | "write";
  /** The callee's default deadline, in milliseconds. */
  readonly timeoutMs: number;
  /** How calls of it are made, as its contract says. */
  readonly policy?: MethodPolicy;
}

/** Endpoints that may stand for each other, in an order that stays the same. */
export interface EndpointGroup {
  readonly endpoints: readonly Endpoint[];
  /** Those of them on this node. */
  readonly local: readonly Endpoint[];
}

/** The endpoints of one method. Never changes: when they do, there is another set. */
export interface EndpointSet {
  readonly all: EndpointGroup;
  /** By artifact, the newest version first. */
  readonly versions: ReadonlyMap<string, EndpointGroup>;
  /** How calls are shared while the slice goes from one version to another; undefined while it does not. */
  readonly split: EndpointSplit | undefined;
}

export type EndpointSplit =
  /** Each endpoint is as good as another, whichever of the versions that will do for the caller it is of. */
  | { readonly kind: "even" }
  /** Each version has its share of the calls. */
  | {
      readonly kind: "shares";
      readonly target: VersionEndpoints;
      readonly previous: VersionEndpoints;
    };

export interface VersionEndpoints extends EndpointGroup {
  readonly artifact: ArtifactId;
  /** Of 10,000 calls. */
  readonly share: number;
}

export interface EndpointLookup {
  /** Every endpoint of this method, also those on nodes that serve nothing now (`isServing`); an empty set if none. */
  find(slice: string, method: string): EndpointSet;
  /** Whether calls may go to this node now: not suspected, not leaving. */
  isServing(node: NodeId): boolean;
  /** Whether any blueprint knows this slice at all, to tell "unknown slice" from "no live instance". */
  isKnown(slice: string): boolean;
  /**
   * The methods of the version of this slice that leads and of the one that is to lead next, sorted; to tell "unknown
   * method" from "no live instance". Undefined when that cannot be told. Never rejects.
   */
  declaredMethods(slice: string): Promise<readonly string[] | undefined>;
  /** Called when any of these may answer differently. The listener must not throw. */
  onChange(listener: () => void): void;
}
