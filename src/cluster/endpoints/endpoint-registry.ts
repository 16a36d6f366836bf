// Owns: which endpoints a call may go to now, answered from memory. Does not own: picking one, the endpoints' rows.
import type { ArtifactId, NodeId } from "../../base/ids.ts";
import { parseKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { isUnderWay, type RolloutRow } from "../../slices/core/rollout-row.ts";
import type { ClusterViews } from "../cluster-views.ts";
import type { LeadingVersions } from "../rollouts/leading-versions.ts";
import { DeclaredMethods } from "./declared-methods.ts";
import { EndpointIndex, type SliceSplit } from "./endpoint-index.ts";
import type { EndpointLookup, EndpointSet } from "./endpoint-lookup.ts";
import type { MembershipService } from "../membership/membership-service.ts";

export interface EndpointRegistryPorts {
  readonly kv: Pick<Kv, "get">;
  readonly views: {
    readonly endpoints: Pick<ClusterViews["endpoints"], "get" | "subscribe">;
    readonly rollouts: Pick<ClusterViews["rollouts"], "rows" | "subscribe">;
  };
  readonly leading: Pick<LeadingVersions, "all" | "subscribe">;
  readonly membership: Pick<MembershipService, "isServing" | "onChange">;
  readonly self: NodeId;
}

/** Passive: follows rows and suspicions. An endpoint of a suspected node is skipped at once, and back with it. */
export class EndpointRegistry implements EndpointLookup {
  private readonly ports: EndpointRegistryPorts;
  private readonly listeners: (() => void)[] = [];
  private readonly index: EndpointIndex;
  private readonly declared: DeclaredMethods;
  /** As asked since the last change of a node. */
  private readonly serving = new Map<NodeId, boolean>();
  /** What each slice runs or is about to run; made on the first question after a change. */
  private artifacts: ReadonlyMap<string, readonly ArtifactId[]> | undefined;

  constructor(ports: EndpointRegistryPorts) {
    this.ports = ports;
    this.index = new EndpointIndex(ports.self);
    this.declared = new DeclaredMethods(ports.kv);
    ports.views.endpoints.subscribe((changed) => this.takeEndpoints(changed));
    ports.leading.subscribe(() => this.takeVersions());
    ports.views.rollouts.subscribe((changed) => this.takeRollouts(changed));
    ports.membership.onChange(() => this.takeNodes());
  }

  find(slice: string, method: string): EndpointSet {
    return this.index.find(slice, method);
  }

  isServing(node: NodeId): boolean {
    const known = this.serving.get(node);
    if (known !== undefined) return known;
    const isServing = this.ports.membership.isServing(node);
    this.serving.set(node, isServing);
    return isServing;
  }

  isKnown(slice: string): boolean {
    return this.artifactsBySlice().has(slice);
  }

  async declaredMethods(slice: string): Promise<readonly string[] | undefined> {
    const artifacts = this.artifactsBySlice().get(slice);
    if (artifacts === undefined) return undefined;
    const methods = new Set<string>();
    for (const artifact of artifacts) {
      const declared = await this.declared.of(artifact);
      if (declared === undefined) return undefined;
      for (const method of declared) methods.add(method);
    }
    return [...methods].sort();
  }

  /** Called when any of the above may answer differently. The listener must not throw. */
  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  private artifactsBySlice(): ReadonlyMap<string, readonly ArtifactId[]> {
    if (this.artifacts !== undefined) return this.artifacts;
    this.artifacts = new Map(this.ports.leading.all().map(({ slice, resolved, next }) =>
      [slice, next === undefined ? [resolved.artifact] : [resolved.artifact, next.artifact]]));
    this.declared.keepOnly(new Set([...this.artifacts.values()].flat()));
    return this.artifacts;
  }

  private takeEndpoints(changed: readonly KeyText[]): void {
    for (const key of changed) this.index.replace(key, this.ports.views.endpoints.get(key)?.value);
    this.notify();
  }

  private takeRollouts(changed: readonly KeyText[]): void {
    const keys = changed.map(parseKey);
    const rows = [...this.ports.views.rollouts.rows().values()].map(({ value }) => value);
    for (const slice of new Set(keys.flatMap((key) => (key.kind === "rollout" ? key.slice : [])))) {
      // Of several blueprints that had the slice one after the other, the one that has it now is on its way.
      const onItsWay = rows.find((found) => found.slice === slice && isUnderWay(found.row));
      this.index.setSplit(slice, onItsWay === undefined ? undefined : splitOf(onItsWay.row));
    }
    this.notify();
  }

  private takeVersions(): void {
    this.artifacts = undefined;
    this.notify();
  }

  private takeNodes(): void {
    this.serving.clear();
    this.notify();
  }

  private notify(): void {
    for (const listener of this.listeners) listener();
  }
}

function splitOf({ target, previous, targetShare }: RolloutRow): SliceSplit {
  return targetShare === undefined ? { kind: "even" } : { kind: "shares", target, previous, targetShare };
}
