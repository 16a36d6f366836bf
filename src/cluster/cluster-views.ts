// Owns: this node's live, parsed copies of the rows that the services of the cluster decide by.
// Does not own: the rows. Every service reads the same copy, so that two of them never disagree within one turn.
import type { ArtifactId, NodeId } from "../base/ids.ts";
import { formatKey, prefixOf, type AetherKey, type KeyText } from "../kvstore/core/key.ts";
import type { Kv } from "../kvstore/kv.ts";
import {
  parseCurrentBlueprint, parseResolvedBlueprint, type ResolvedBlueprint,
} from "../slices/core/blueprint.ts";
import { parseInstanceRow, type InstanceRow } from "../slices/core/instance-row.ts";
import { parseRolloutRow, type RolloutRow } from "../slices/core/rollout-row.ts";
import { parseScaleRow, withScales, type ScaleRow } from "../slices/core/scale-row.ts";
import {
  parseEndpointRow, parseLeaderBeatRow, parseLeaderRow, parseNodeIntentRow, parseNodeStateRow,
  type EndpointRow, type LeaderBeatRow, type LeaderRow, type NodeIntentRow, type NodeStateRow,
} from "./core/rows.ts";
import { RowView, type Row, type RowViewEnv } from "./row-view.ts";

export type LeaderValue =
  | { readonly kind: "leader"; readonly row: LeaderRow }
  | { readonly kind: "beat"; readonly row: LeaderBeatRow };

export type BlueprintValue =
  | { readonly kind: "revision"; readonly blueprint: ResolvedBlueprint }
  | { readonly kind: "current"; readonly name: string; readonly revision: number };

/** Where an instance's row is, whatever it says. */
export interface InstancePlace {
  readonly node: NodeId;
  readonly artifact: ArtifactId;
  readonly index: number;
}

export interface PlacedInstance extends InstancePlace {
  readonly row: InstanceRow;
}

export interface PlacedEndpoint extends EndpointRow {
  readonly slice: string;
  readonly method: string;
  readonly node: NodeId;
  readonly artifact: ArtifactId;
  readonly index: number;
}

export interface PlacedRollout {
  readonly blueprint: string;
  readonly slice: string;
  readonly row: RolloutRow;
}

export class ClusterViews {
  readonly leader: RowView<LeaderValue>;
  readonly nodes: RowView<NodeStateRow & { readonly node: NodeId }>;
  readonly intents: RowView<NodeIntentRow>;
  readonly blueprints: RowView<BlueprintValue>;
  readonly rollouts: RowView<PlacedRollout>;
  readonly slices: RowView<PlacedInstance>;
  readonly endpoints: RowView<PlacedEndpoint>;
  readonly scales: RowView<ScaleRow & { readonly slice: string }>;
  private readonly all: readonly RowView<unknown>[];
  /** The keys of the endpoints of each instance, by the key of its row. */
  private readonly endpointKeys = new Map<KeyText, Set<KeyText>>();
  private readonly endpointOwners = new Map<KeyText, KeyText>();

  constructor(env: RowViewEnv, kv: Kv) {
    this.leader = new RowView(env, kv, prefixOf({ kind: "leader" }), parseLeader);
    this.nodes = new RowView(env, kv, prefixOf({ kind: "nodes" }), parseNode);
    this.intents = new RowView(env, kv, prefixOf({ kind: "nodes" }), parseIntent);
    this.blueprints = new RowView(env, kv, prefixOf({ kind: "blueprints" }), parseBlueprint);
    this.rollouts = new RowView(env, kv, prefixOf({ kind: "rollouts" }), parseRollout);
    this.slices = new RowView(env, kv, prefixOf({ kind: "slices" }), parseInstance);
    this.endpoints = new RowView(env, kv, prefixOf({ kind: "endpoints" }), parseEndpoint);
    this.scales = new RowView(env, kv, prefixOf({ kind: "scales" }), parseScale);
    const { leader, nodes, intents, blueprints, rollouts, slices, endpoints, scales } = this;
    this.all = [leader, nodes, intents, blueprints, rollouts, slices, endpoints, scales];
    // First of all listeners: who is told after this one finds the index as the rows are.
    this.endpoints.subscribe((changed) => this.indexEndpoints(changed));
  }

  open(): void {
    for (const view of this.all) view.open();
  }

  async close(): Promise<void> {
    for (const view of this.all) await view.close();
  }

  /** False until each view has seen its whole prefix once. */
  get isComplete(): boolean {
    return this.all.every((view) => view.isComplete);
  }

  /** Every view has every change up to this revision of the store. */
  get revision(): number {
    return Math.min(...this.all.map((view) => view.revision));
  }

  /** Asks that `revision` takes in, by the end of the turn, what is applied here now. */
  requestProgress(): void {
    for (const view of this.all) view.requestProgress();
  }

  /** The current revision of each blueprint that is not deleted and can be read, by name. */
  currentBlueprints(): readonly ResolvedBlueprint[] {
    return this.currentRows().flatMap(({ name, revision }) => this.revisionOf(name, revision) ?? []);
  }

  /** The same, with as many instances of each slice as there are to be now. */
  scaledBlueprints(): readonly ResolvedBlueprint[] {
    return this.currentBlueprints().map((blueprint) => withScales(blueprint, (slice) => this.scaleOf(slice)?.value));
  }

  /** How many instances a slice has while that is not what its blueprint says. */
  scaleOf(slice: string): Row<ScaleRow> | undefined {
    return this.scales.get(formatKey({ kind: "scale", slice }));
  }

  /**
   * Blueprints that are there and cannot be read: `current` is damaged, or the revision that it names is damaged or
   * missing. Nobody knows what they want, which is not the same as wanting nothing.
   */
  unreadableBlueprints(): ReadonlySet<string> {
    const unread = this.currentRows().filter(({ name, revision }) => this.revisionOf(name, revision) === undefined);
    const damaged = [...this.blueprints.damaged.values()].flatMap(({ key }) =>
      key.kind === "blueprint-current" ? key.name : [],
    );
    return new Set([...unread.map(({ name }) => name), ...damaged]);
  }

  /** A revision of a blueprint, while it is kept. */
  revisionOf(name: string, revision: number): ResolvedBlueprint | undefined {
    const value = this.blueprints.get(formatKey({ kind: "blueprint", name, revision }))?.value;
    return value?.kind === "revision" ? value.blueprint : undefined;
  }

  /** Instances whose row is there and cannot be read. */
  unreadableInstances(): readonly (InstancePlace & { readonly modRevision: number })[] {
    return [...this.slices.damaged.values()].flatMap(({ key, modRevision }) =>
      key.kind === "slice" ? { node: key.node, artifact: key.artifact, index: key.instance, modRevision } : [],
    );
  }

  /** How many instances have a row on this node, whatever it says. */
  instancesOn(node: NodeId): number {
    const rows = [...this.slices.rows().values()].map(({ value }) => value);
    return [...rows, ...this.unreadableInstances()].filter((one) => one.node === node).length;
  }

  private currentRows(): readonly Extract<BlueprintValue, { kind: "current" }>[] {
    return this.blueprints.rowsInKeyOrder().flatMap(({ value }) => (value.kind === "current" ? value : []));
  }

  /** The keys of the endpoints of one instance, damaged ones too. */
  endpointsOf(node: NodeId, artifact: ArtifactId, index: number): readonly KeyText[] {
    return [...(this.endpointKeys.get(keyOfInstance({ node, artifact, index })) ?? [])];
  }

  private indexEndpoints(changed: readonly KeyText[]): void {
    for (const text of changed) {
      const before = this.endpointOwners.get(text);
      if (before !== undefined) this.endpointKeys.get(before)?.delete(text);
      if (before !== undefined && this.endpointKeys.get(before)?.size === 0) this.endpointKeys.delete(before);
      const owner = this.ownerOf(text);
      if (owner === undefined) {
        this.endpointOwners.delete(text);
        continue;
      }
      this.endpointOwners.set(text, owner);
      this.endpointKeys.set(owner, (this.endpointKeys.get(owner) ?? new Set()).add(text));
    }
  }

  /** The key of the row of the instance that an endpoint belongs to. */
  private ownerOf(endpoint: KeyText): KeyText | undefined {
    const value = this.endpoints.get(endpoint)?.value;
    if (value !== undefined) return keyOfInstance(value);
    const key = this.endpoints.damaged.get(endpoint)?.key;
    return key?.kind === "endpoint" ? keyOfInstance({ ...key, index: key.instance }) : undefined;
  }
}

function keyOfInstance({ node, artifact, index }: InstancePlace): KeyText {
  return formatKey({ kind: "slice", node, artifact, instance: index });
}

function parseLeader(key: AetherKey, value: unknown): LeaderValue | undefined {
  if (key.kind === "leader") return { kind: "leader", row: parseLeaderRow(value) };
  return key.kind === "leader-beat" ? { kind: "beat", row: parseLeaderBeatRow(value) } : undefined;
}

function parseNode(key: AetherKey, value: unknown): (NodeStateRow & { readonly node: NodeId }) | undefined {
  return key.kind === "node-state" ? { ...parseNodeStateRow(value), node: key.node } : undefined;
}

function parseIntent(key: AetherKey, value: unknown): NodeIntentRow | undefined {
  return key.kind === "node-intent" ? parseNodeIntentRow(value) : undefined;
}

function parseBlueprint(key: AetherKey, value: unknown): BlueprintValue | undefined {
  if (key.kind === "blueprint") return { kind: "revision", blueprint: parseResolvedBlueprint(value) };
  if (key.kind !== "blueprint-current") return undefined;
  return { kind: "current", name: key.name, revision: parseCurrentBlueprint(value).revision };
}

function parseRollout(key: AetherKey, value: unknown): PlacedRollout | undefined {
  if (key.kind !== "rollout") return undefined;
  return { blueprint: key.blueprint, slice: key.slice, row: parseRolloutRow(value) };
}

function parseScale(key: AetherKey, value: unknown): (ScaleRow & { readonly slice: string }) | undefined {
  return key.kind === "scale" ? { ...parseScaleRow(value), slice: key.slice } : undefined;
}

function parseInstance(key: AetherKey, value: unknown): PlacedInstance | undefined {
  if (key.kind !== "slice") return undefined;
  return { node: key.node, artifact: key.artifact, index: key.instance, row: parseInstanceRow(value) };
}

function parseEndpoint(key: AetherKey, value: unknown): PlacedEndpoint | undefined {
  if (key.kind !== "endpoint") return undefined;
  const { slice, method, node, artifact, instance } = key;
  return { slice, method, node, artifact, index: instance, ...parseEndpointRow(value) };
}
