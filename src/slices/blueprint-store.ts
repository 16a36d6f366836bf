// Owns: the rows `blueprints/…` and `slice-owners/…`: the desired state, in immutable revisions.
// B1  A revision is written once; `current` points to one that exists.
// B2  Revision numbers of a name only grow, also over a delete: a row that was made from an old revision never looks
//     as if it were made from a new one.
// B3  A slice name belongs to one blueprint: the transaction that takes it requires it to be free or its own.
// Not here: what the cluster does about it (cluster/), roll back, roll outs.
import { z } from "zod";
import { encode } from "../base/codec.ts";
import { AetherError } from "../base/errors.ts";
import type { ArtifactId, NodeId } from "../base/ids.ts";
import { KiB } from "../base/units.ts";
import type { CallOptions } from "../env/env.ts";
import { formatKey, parseKey, prefixOf, type KeyText } from "../kvstore/core/key.ts";
import type { Compare, Op } from "../kvstore/core/schema.ts";
import type { Kv, KvReadOptions } from "../kvstore/kv.ts";
import { parseBlueprintDocument, type BlueprintDocument } from "../sdk/blueprint.ts";
import { nameSchema } from "../sdk/name.ts";
import { parseCurrentBlueprint, parseResolvedBlueprint, type ResolvedBlueprint } from "./core/blueprint.ts";
import { isSameData } from "./core/canonical.ts";
import { parseInstanceRow, type InstanceFailure, type InstanceRowState } from "./core/instance-row.ts";
import type { Manifest } from "./core/manifest.ts";
import { resolveBlueprint } from "./core/resolve-dependencies.ts";
import { listRows } from "./list-rows.ts";

export interface BlueprintStorePorts {
  readonly kv: Kv;
  readonly artifacts: {
    list(options?: KvReadOptions): Promise<readonly { readonly manifest: Manifest }[]>;
  };
}

/** A blueprint and the revision it is at. */
export interface BlueprintRevision {
  readonly name: string;
  readonly revision: number;
}

export interface InstanceStatus {
  readonly node: NodeId;
  /** Index of the instance among those of its artifact. */
  readonly instance: number;
  readonly artifact: ArtifactId;
  readonly state: InstanceRowState;
  /** When it entered the state, in milliseconds since the Unix epoch. */
  readonly since: number;
  readonly error?: InstanceFailure;
}

export interface SliceStatus {
  readonly artifact: ArtifactId;
  readonly want: number;
  /** ACTIVE instances of the wanted artifact. */
  readonly active: number;
  readonly instances: readonly InstanceStatus[];
}

export interface BlueprintStatus extends BlueprintRevision {
  /** Also slices that were dropped and still have instances: those want 0. */
  readonly slices: Readonly<Record<string, SliceStatus>>;
}

/** Earlier revisions kept of each blueprint. */
const HISTORY_MAX = 20;
/** Applies of one blueprint that overtake each other; more than this is a fight, not a coincidence. */
const ATTEMPTS_MAX = 5;
/** Of one resolved slice. Half of what a value may have: an instance's row holds more than its slice. */
const SLICE_BYTES_MAX = 256 * KiB;

const ownerSchema = z.object({ blueprint: z.string() });

/** What is there now, as read before a guarded write. */
interface Current {
  readonly key: KeyText;
  /** 0: no such blueprint; the guard of the next write. */
  readonly modRevision: number;
  readonly resolved: ResolvedBlueprint | undefined;
}

/** Keeps blueprints in the cluster's store. */
export class BlueprintStore {
  private readonly kv: Kv;
  private readonly artifacts: BlueprintStorePorts["artifacts"];

  constructor(ports: BlueprintStorePorts) {
    this.kv = ports.kv;
    this.artifacts = ports.artifacts;
  }

  /**
   * Makes `document` the desired state of `name`. What is desired already is not written again, so that applying
   * twice, for example after an unknown outcome, is harmless.
   * @throws AetherError E_INVALID with `details.issues`; E_CONFLICT when another blueprint has one of the slices.
   */
  async apply(name: string, document: unknown, options: CallOptions = {}): Promise<BlueprintRevision> {
    const parsed = parseBlueprintDocument(document);
    checkName(name);
    if (parsed.name !== undefined && parsed.name !== name) {
      throw new AetherError("E_INVALID", `the blueprint says it is "${parsed.name}", but it was applied as "${name}"`);
    }
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      options.signal?.throwIfAborted();
      const current = await this.readCurrent(name, options);
      const resolved = await this.resolve(name, parsed, options);
      if (current.resolved !== undefined && isSameData(current.resolved.slices, resolved.slices)) {
        return { name, revision: current.resolved.revision };
      }
      const revision = await this.nextRevision(name, current, options);
      if (await this.write({ ...resolved, revision }, current, options)) return { name, revision };
    }
    throw overtaken(name);
  }

  /** The blueprint as it is now, every range resolved. @throws AetherError E_NOT_FOUND */
  async get(name: string, options: CallOptions = {}): Promise<ResolvedBlueprint> {
    const { resolved } = await this.readCurrent(name, options);
    if (resolved === undefined) throw notFound(name);
    return resolved;
  }

  /** All blueprints, by name. */
  async list(options: CallOptions = {}): Promise<readonly BlueprintRevision[]> {
    const found: BlueprintRevision[] = [];
    for (const { key, value } of await listRows(this.kv, prefixOf({ kind: "blueprints" }), options)) {
      const parsed = parseKey(key);
      if (parsed.kind !== "blueprint-current") continue;
      found.push({ name: parsed.name, revision: parseCurrentBlueprint(value).revision });
    }
    return found;
  }

  /** Wants nothing of this blueprint any more; its instances stop and its slice names are free. @throws E_NOT_FOUND */
  async delete(name: string, options: CallOptions = {}): Promise<BlueprintRevision> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      options.signal?.throwIfAborted();
      const { key, modRevision, resolved } = await this.readCurrent(name, options);
      if (resolved === undefined) throw notFound(name);
      const owned = Object.keys(resolved.slices).map(ownerKey);
      // The latest revision stays, without `current`: it carries the number on (B2).
      const deleted = await this.kv.transact({
        compare: [{ key, target: "modRevision", op: "=", value: modRevision }],
        then: [key, ...owned].map((gone): Op => ({ kind: "delete", key: gone })),
        else: [],
      }, options);
      if (deleted.succeeded) return { name, revision: resolved.revision };
    }
    throw overtaken(name);
  }

  /** Desired and actual state. @throws AetherError E_NOT_FOUND */
  async status(name: string, options: CallOptions = {}): Promise<BlueprintStatus> {
    const blueprint = await this.get(name, options);
    const slices = new Map<string, SliceStatus>();
    for (const [slice, { artifact, instances }] of Object.entries(blueprint.slices)) {
      slices.set(slice, { artifact, want: instances, active: 0, instances: [] });
    }
    for (const { key, value } of await listRows(this.kv, prefixOf({ kind: "slices" }), options)) {
      const place = parseKey(key);
      const row = parseInstanceRow(value);
      if (place.kind !== "slice" || row.blueprint !== name) continue;
      const { node, artifact, instance } = place;
      const before = slices.get(row.slice) ?? { artifact, want: 0, active: 0, instances: [] };
      const isActive = row.state === "ACTIVE" && artifact === before.artifact;
      const status: InstanceStatus = {
        node, instance, artifact, state: row.state, since: row.sinceMs,
        ...(row.error === undefined ? {} : { error: row.error }),
      };
      const active = before.active + (isActive ? 1 : 0);
      slices.set(row.slice, { ...before, active, instances: [...before.instances, status] });
    }
    return { name, revision: blueprint.revision, slices: Object.fromEntries(slices) };
  }

  private async readCurrent(name: string, options: CallOptions): Promise<Current> {
    const key = formatKey({ kind: "blueprint-current", name });
    const { entry } = await this.kv.get(key, options);
    if (entry === undefined) return { key, modRevision: 0, resolved: undefined };
    const { revision } = parseCurrentBlueprint(entry.value);
    // Immutable (B1) and written together with `current`, which this node has applied.
    const revisionKey = formatKey({ kind: "blueprint", name, revision });
    const found = await this.kv.get(revisionKey, { ...options, consistency: "local" });
    // Pruned meanwhile: twenty newer revisions were applied since the line before.
    if (found.entry === undefined) throw overtaken(name);
    return { key, modRevision: entry.modRevision, resolved: parseResolvedBlueprint(found.entry.value) };
  }

  private async nextRevision(name: string, current: Current, options: CallOptions): Promise<number> {
    if (current.resolved !== undefined) return current.resolved.revision + 1;
    let last = 0;
    for (const { key } of await listRows(this.kv, prefixOf({ kind: "blueprints", name }), options)) {
      const parsed = parseKey(key);
      if (parsed.kind === "blueprint") last = Math.max(last, parsed.revision);
    }
    return last + 1;
  }

  private async resolve(name: string, document: BlueprintDocument, options: CallOptions): Promise<ResolvedBlueprint> {
    const artifacts = (await this.artifacts.list(options)).map(({ manifest }) => manifest);
    const elsewhere = await this.slicesElsewhere(name, document, artifacts, options);
    // The number is given when it is written; what is resolved does not depend on it.
    const resolved = resolveBlueprint({ name, revision: 1, document, artifacts, elsewhere });
    checkSizes(resolved);
    return resolved;
  }

  /** The slices of other blueprints that some slice of this one might use. */
  private async slicesElsewhere(
    name: string,
    document: BlueprintDocument,
    artifacts: readonly Manifest[],
    options: CallOptions,
  ): Promise<ReadonlyMap<string, ArtifactId>> {
    const used = artifacts
      .filter((manifest) => Object.hasOwn(document.slices, manifest.slice))
      .flatMap((manifest) => Object.values(manifest.uses).map((use) => use.slice))
      .filter((slice) => !Object.hasOwn(document.slices, slice));
    const found = new Map<string, ArtifactId>();
    for (const slice of new Set(used)) {
      const owner = await this.readOwner(slice, options);
      if (owner === undefined || owner === name) continue;
      const { resolved } = await this.readCurrent(owner, options);
      const artifact = resolved?.slices[slice]?.artifact;
      if (artifact !== undefined) found.set(slice, artifact);
    }
    return found;
  }

  /** False when somebody else was faster: read again. @throws AetherError E_CONFLICT naming the owner of a slice */
  private async write(blueprint: ResolvedBlueprint, current: Current, options: CallOptions): Promise<boolean> {
    const { name, revision } = blueprint;
    const slices = Object.keys(blueprint.slices);
    const dropped = Object.keys(current.resolved?.slices ?? {}).filter((slice) => !slices.includes(slice));
    const guards: Compare[] = [{ key: current.key, target: "modRevision", op: "=", value: current.modRevision }];
    const ops: Op[] = [];
    for (const slice of slices) {
      const owner = await this.readOwner(slice, options);
      if (owner !== undefined && owner !== name) throw takenBy(name, slice, owner);
      const key = ownerKey(slice);
      if (owner === undefined) {
        guards.push({ key, target: "exists", op: "=", value: false });
        ops.push({ kind: "put", key, value: { blueprint: name } });
      } else {
        guards.push({ key, target: "value", op: "=", value: { blueprint: name } });
      }
    }
    for (const slice of dropped) ops.push({ kind: "delete", key: ownerKey(slice) });
    if (revision > HISTORY_MAX) {
      ops.push({ kind: "delete", key: formatKey({ kind: "blueprint", name, revision: revision - HISTORY_MAX }) });
    }
    const revisionKey = formatKey({ kind: "blueprint", name, revision });
    guards.push({ key: revisionKey, target: "exists", op: "=", value: false });
    ops.push({ kind: "put", key: revisionKey, value: blueprint });
    ops.push({ kind: "put", key: current.key, value: { revision } });
    const written = await this.kv.transact({ compare: guards, then: ops, else: [] }, options);
    return written.succeeded;
  }

  /** The blueprint that has a slice. */
  private async readOwner(slice: string, options: CallOptions): Promise<string | undefined> {
    const { entry } = await this.kv.get(ownerKey(slice), options);
    return entry === undefined ? undefined : ownerSchema.parse(entry.value).blueprint;
  }
}

function checkName(name: string): void {
  const checked = nameSchema.safeParse(name);
  if (checked.success) return;
  throw new AetherError("E_INVALID", `"${name}" cannot be the name of a blueprint: ${z.prettifyError(checked.error)}`);
}

function ownerKey(slice: string): KeyText {
  return formatKey({ kind: "slice-owner", slice });
}

function overtaken(name: string): AetherError {
  return new AetherError("E_CONFLICT", `blueprint "${name}" changed again and again while it was read and written: ` +
    "see who else applies it, then try again");
}

function notFound(name: string): AetherError {
  return new AetherError("E_NOT_FOUND", `there is no blueprint "${name}"`, { details: { name } });
}

function takenBy(name: string, slice: string, owner: string): AetherError {
  const found = `blueprint "${name}" cannot have the slice "${slice}": it belongs to "${owner}"`;
  return new AetherError("E_CONFLICT", `${found}. Rename it, or remove it there first`, { details: { slice, owner } });
}

/** Every instance's row repeats what its slice needs: what fits into the blueprint must fit there too. */
function checkSizes({ slices }: ResolvedBlueprint): void {
  for (const [slice, resolved] of Object.entries(slices)) {
    const actual = encode(resolved).byteLength;
    if (actual <= SLICE_BYTES_MAX) continue;
    const message = `slice ${slice} takes ${actual} bytes, the limit is ${SLICE_BYTES_MAX}: shorten its config`;
    throw new AetherError("E_TOO_LARGE", message, { details: { slice, limit: SLICE_BYTES_MAX, actual } });
  }
}
