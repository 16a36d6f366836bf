// Owns: the endpoints of the cluster by slice and method, kept by the keys that change: a call finds its own in two
// steps however many others there are, and a change costs what its own method has.
// Does not own: the rows (cluster-views.ts), which endpoints a call may go to now (endpoint-registry.ts).
import type { ArtifactId, NodeId } from "../../base/ids.ts";
import { compareKeyText, type KeyText } from "../../kvstore/core/key.ts";
import { instanceKeyOf } from "../../slices/core/instance-spec.ts";
import { ALL_CALLS, type RolloutVersion } from "../../slices/core/rollout-row.ts";
import { sortNewestFirst } from "../../slices/core/version.ts";
import type { PlacedEndpoint } from "../cluster-views.ts";
import type { Endpoint, EndpointGroup, EndpointSet, EndpointSplit, VersionEndpoints } from "./endpoint-lookup.ts";

interface MethodEndpoints {
  readonly members: Map<KeyText, Endpoint>;
  /** Made when it is asked for after a change. */
  set: EndpointSet | undefined;
}

const NO_GROUP: EndpointGroup = { endpoints: [], local: [] };
const NO_ENDPOINTS: EndpointSet = { all: NO_GROUP, versions: new Map<string, EndpointGroup>(), split: undefined };

/** How the calls of a slice are shared between the versions of its instances. */
export type SliceSplit =
  | { readonly kind: "even" }
  | {
      readonly kind: "shares";
      readonly target: RolloutVersion;
      readonly previous: RolloutVersion;
      /** Of 10,000 calls so many go to the target. */
      readonly targetShare: number;
    };

export class EndpointIndex {
  private readonly self: NodeId;
  private readonly byKey = new Map<KeyText, Endpoint>();
  private readonly bySlice = new Map<string, Map<string, MethodEndpoints>>();
  private readonly splits = new Map<string, SliceSplit>();

  constructor(self: NodeId) {
    this.self = self;
  }

  find(slice: string, method: string): EndpointSet {
    const found = this.bySlice.get(slice)?.get(method);
    if (found === undefined) return NO_ENDPOINTS;
    return (found.set ??= endpointSetOf(found.members, this.self, this.splits.get(slice)));
  }

  /** How calls of a slice are shared from now on. */
  setSplit(slice: string, split: SliceSplit | undefined): void {
    if (split === undefined) this.splits.delete(slice);
    else this.splits.set(slice, split);
    for (const method of this.bySlice.get(slice)?.values() ?? []) method.set = undefined;
  }

  /** Takes what the row says now; undefined when it is gone. */
  replace(key: KeyText, row: PlacedEndpoint | undefined): void {
    this.remove(key);
    if (row !== undefined) this.add(key, endpointOf(row));
  }

  private add(key: KeyText, endpoint: Endpoint): void {
    const methods = this.bySlice.get(endpoint.slice) ?? new Map<string, MethodEndpoints>();
    this.bySlice.set(endpoint.slice, methods);
    const found = methods.get(endpoint.method) ?? { members: new Map<KeyText, Endpoint>(), set: undefined };
    methods.set(endpoint.method, found);
    found.members.set(key, endpoint);
    found.set = undefined;
    this.byKey.set(key, endpoint);
  }

  private remove(key: KeyText): void {
    const endpoint = this.byKey.get(key);
    if (endpoint === undefined) return;
    this.byKey.delete(key);
    const methods = this.bySlice.get(endpoint.slice);
    const found = methods?.get(endpoint.method);
    if (methods === undefined || found === undefined) return;
    found.members.delete(key);
    found.set = undefined;
    if (found.members.size > 0) return;
    methods.delete(endpoint.method);
    if (methods.size === 0) this.bySlice.delete(endpoint.slice);
  }
}

function endpointOf({ policy, ...row }: PlacedEndpoint): Endpoint {
  const { slice, method, node, artifact, index, specDigest, effect, timeoutMs } = row;
  const instance = instanceKeyOf(artifact, index);
  const id = `${node}/${instance}`;
  const endpoint = { id, slice, method, node, instance, artifact, specDigest, effect, timeoutMs };
  return policy === undefined ? endpoint : { ...endpoint, policy };
}

function endpointSetOf(
  members: ReadonlyMap<KeyText, Endpoint>,
  self: NodeId,
  split: SliceSplit | undefined,
): EndpointSet {
  // In the order of the keys, which is the same on every node.
  const keys = [...members.keys()].sort(compareKeyText);
  const endpoints = keys.flatMap((key) => members.get(key) ?? []);
  const byArtifact = new Map<ArtifactId, Endpoint[]>();
  for (const endpoint of endpoints) {
    const ofVersion = byArtifact.get(endpoint.artifact);
    if (ofVersion === undefined) byArtifact.set(endpoint.artifact, [endpoint]);
    else ofVersion.push(endpoint);
  }
  const versions = new Map<string, EndpointGroup>();
  for (const artifact of sortNewestFirst([...byArtifact.keys()])) {
    versions.set(artifact, groupOf(byArtifact.get(artifact) ?? [], self));
  }
  return { all: groupOf(endpoints, self), versions, split: endpointSplitOf(split, endpoints, self) };
}

function endpointSplitOf(
  split: SliceSplit | undefined,
  endpoints: readonly Endpoint[],
  self: NodeId,
): EndpointSplit | undefined {
  if (split?.kind !== "shares") return split;
  const { target, previous, targetShare } = split;
  const partOf = ({ artifact, specDigest }: RolloutVersion, share: number): VersionEndpoints => ({
    // One that does not say what it is was there before the rollout.
    ...groupOf(endpoints.filter((one) => (one.specDigest ?? previous.specDigest) === specDigest), self),
    artifact,
    share,
  });
  return { kind: "shares", target: partOf(target, targetShare), previous: partOf(previous, ALL_CALLS - targetShare) };
}

function groupOf(endpoints: readonly Endpoint[], self: NodeId): EndpointGroup {
  return { endpoints, local: endpoints.filter(({ node }) => node === self) };
}
