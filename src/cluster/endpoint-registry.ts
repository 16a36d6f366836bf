// Owns: which endpoints a call may go to now, answered from memory. Does not own: picking one, the endpoints' rows.
import type { NodeId } from "../base/ids.ts";
import { instanceKeyOf } from "../slices/core/instance-spec.ts";
import type { ClusterViews, PlacedEndpoint } from "./cluster-views.ts";
import type { Endpoint, EndpointLookup } from "./endpoint-lookup.ts";
import type { MembershipService } from "./membership-service.ts";

export interface EndpointRegistryPorts {
  readonly views: Pick<ClusterViews, "endpoints" | "blueprints" | "currentBlueprints">;
  readonly membership: Pick<MembershipService, "isServing" | "onChange">;
}

/** Passive: follows rows and suspicions. An endpoint of a suspected node is skipped at once, and back with it. */
export class EndpointRegistry implements EndpointLookup {
  private readonly ports: EndpointRegistryPorts;
  private readonly listeners: (() => void)[] = [];
  /** By slice, then method; built on the first question after a change. */
  private found: Map<string, Map<string, Endpoint[]>> | undefined;
  private known: ReadonlySet<string> | undefined;

  constructor(ports: EndpointRegistryPorts) {
    this.ports = ports;
    const onChange = (): void => this.onChanged();
    ports.views.endpoints.subscribe(onChange);
    ports.views.blueprints.subscribe(onChange);
    ports.membership.onChange(onChange);
  }

  find(slice: string, method: string): readonly Endpoint[] {
    this.found ??= this.build();
    return this.found.get(slice)?.get(method) ?? [];
  }

  isKnown(slice: string): boolean {
    this.known ??= new Set(this.ports.views.currentBlueprints().flatMap(({ slices }) => Object.keys(slices)));
    return this.known.has(slice);
  }

  /** Methods of the slice that have an endpoint now, for messages to people. */
  methodsOf(slice: string): readonly string[] {
    this.found ??= this.build();
    return [...(this.found.get(slice)?.keys() ?? [])].sort();
  }

  /** Called when `find` or `isKnown` may answer differently. The listener must not throw. */
  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  private onChanged(): void {
    this.found = undefined;
    this.known = undefined;
    for (const listener of this.listeners) listener();
  }

  private build(): Map<string, Map<string, Endpoint[]>> {
    const bySlice = new Map<string, Map<string, Endpoint[]>>();
    const serving = new Map<NodeId, boolean>();
    const isServing = (node: NodeId): boolean => {
      const answer = serving.get(node) ?? this.ports.membership.isServing(node);
      serving.set(node, answer);
      return answer;
    };
    // In the order of the keys, which is the same on every node and stays the same.
    for (const { value } of this.ports.views.endpoints.rowsInKeyOrder()) {
      if (isServing(value.node)) add(bySlice, endpointOf(value));
    }
    return bySlice;
  }
}

function endpointOf({ slice, method, node, artifact, index, effect, timeoutMs }: PlacedEndpoint): Endpoint {
  return { slice, method, node, instance: instanceKeyOf(artifact, index), artifact, effect, timeoutMs };
}

function add(bySlice: Map<string, Map<string, Endpoint[]>>, endpoint: Endpoint): void {
  const byMethod = bySlice.get(endpoint.slice) ?? new Map<string, Endpoint[]>();
  const endpoints = byMethod.get(endpoint.method) ?? [];
  endpoints.push(endpoint);
  byMethod.set(endpoint.method, endpoints);
  bySlice.set(endpoint.slice, byMethod);
}
