// Owns: endpoints made by hand, for tests of calls that need no store.
import { parseArtifactId, parseNodeId, type NodeId } from "../../src/base/ids.ts";
import { EndpointIndex, type SliceSplit } from "../../src/cluster/endpoints/endpoint-index.ts";
import type { Endpoint, EndpointSet } from "../../src/cluster/endpoints/endpoint-lookup.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";

/** An endpoint of `pricing.quote`, unless something else is said. */
export function endpointOn(node: string, more: Partial<Endpoint> & { readonly index?: number } = {}): Endpoint {
  const { artifact = parseArtifactId("demo:pricing:1.0.0"), index = 0, ...rest } = more;
  const instance = `${artifact}/${index}`;
  return {
    id: `${node}/${instance}`, slice: "pricing", method: "quote", node: parseNodeId(node), instance, artifact,
    specDigest: undefined, effect: "read", timeoutMs: 1_000, ...rest,
  };
}

/** As the registry of `self` would give them, all being of one method. */
export function endpointSet(endpoints: readonly Endpoint[], self: NodeId, split?: SliceSplit): EndpointSet {
  const index = new EndpointIndex(self);
  index.setSplit(endpoints[0]?.slice ?? "", split);
  for (const endpoint of endpoints) {
    const instance = Number(endpoint.instance.slice(endpoint.instance.lastIndexOf("/") + 1));
    const { slice, method, node, artifact } = endpoint;
    const key = formatKey({ kind: "endpoint", slice, method, node, artifact, instance });
    const { specDigest, ...rest } = endpoint;
    index.replace(key, { ...rest, index: instance, ...(specDigest === undefined ? {} : { specDigest }) });
  }
  const { slice = "", method = "" } = endpoints[0] ?? {};
  return index.find(slice, method);
}
