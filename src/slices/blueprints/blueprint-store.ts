// Owns: the rows `blueprints/…` and (with owner-rows.ts and route-rows.ts) `slice-owners/…` and `routes/…`: the desired
// state, in immutable revisions.
// B1  A revision is written once; `current` points to one that exists.
// B2  Revision numbers of a name only grow, also over a delete: a row that was made from an old revision never looks
//     as if it were made from a new one.
// B3  A slice name belongs to one blueprint: the transaction that takes it requires it to be free or its own.
// B4  A revision that the row of an instance or of a rollout names is kept: these say what to run only by naming it.
// Not here: what the cluster does about it (cluster/), rollouts included; how it stands (read-status.ts).
import { z } from "zod";
import { encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId } from "../../base/ids.ts";
import { KiB } from "../../base/units.ts";
import type { CallOptions } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import { TXN_OPS_MAX } from "../../kvstore/core/limits.ts";
import type { Compare, Op } from "../../kvstore/core/schema.ts";
import type { Kv, KvReadOptions } from "../../kvstore/kv.ts";
import { parseBlueprintDocument, type BlueprintDocument } from "../../sdk/blueprint.ts";
import { nameSchema } from "../../sdk/name.ts";
import {
  artifactsOf, parseCurrentBlueprint, parseResolvedBlueprint, parseSliceOwner, type ResolvedBlueprint,
} from "../core/blueprint.ts";
import type { BlueprintStatus, Outlook } from "../core/blueprint-status.ts";
import { isSameData } from "../core/canonical.ts";
import { isDamage, readUndamaged } from "../core/damaged-row.ts";
import type { Manifest } from "../core/manifest.ts";
import { resolveBlueprint } from "../core/resolve-dependencies.ts";
import { parseArtifactReference, type ArtifactReference } from "../core/version.ts";
import { listRows } from "../list-rows.ts";
import { readInstanceRows, readKeptRevisions, readRolloutRows } from "./blueprint-rows.ts";
import { listSchedules, type ScheduleListed } from "./list-schedules.ts";
import { claimSlices, ownedSlices } from "./owner-rows.ts";
import { readStatus } from "./read-status.ts";
import { claimRoutes, ownedRoutes } from "./route-rows.ts";
import type { ArtifactSources, Offer } from "../sources/artifact-sources.ts";
import { claimTopics, releaseTopics } from "./topic-groups.ts";

export interface BlueprintStorePorts {
  readonly kv: Kv;
  readonly artifacts: {
    list(options?: KvReadOptions): Promise<readonly { readonly manifest: Manifest }[]>;
  };
  /** Places outside of the cluster; absent where none are known. */
  readonly sources?: Pick<ArtifactSources, "offersFor" | "bring">;
  /** What cannot come about now, as this node sees it; absent where nothing places instances. */
  outlook?(): Outlook;
}

type Slices = ResolvedBlueprint["slices"];

/** A blueprint and the revision it is at. */
export interface BlueprintRevision {
  readonly name: string;
  readonly revision: number;
}

/** A blueprint of which nobody can tell at which revision it is. */
export interface DamagedBlueprint {
  readonly name: string;
  readonly damage: string;
}

/** What a rollback made current: a new revision with the slices of an earlier one. */
export interface RolledBack extends BlueprintRevision {
  readonly rolledBackTo: number;
}

/** Earlier revisions kept of each blueprint, and older ones that instances are made from. */
const HISTORY_MAX = 20;
/** Revisions removed with one that is written: its transaction has 128 operations, most of them for slices. */
const PRUNED_AT_ONCE_MAX = 5;
/** Slices, routes and topics of one blueprint, and artifacts that it names: each is a guard of its transaction. */
const NAMES_MAX = 120;
/** Applies of one blueprint that overtake each other; more than this is a fight, not a coincidence. */
const ATTEMPTS_MAX = 5;
/** Of one resolved slice: half of what a value may have. */
const SLICE_BYTES_MAX = 256 * KiB;

const CURRENT_DAMAGED =
  "which revision is current cannot be read: apply the blueprint again, roll it back or delete it";

/** What is there now, as read before a guarded write. */
interface Current {
  readonly key: KeyText;
  /** 0: no such blueprint; the guard of the next write. */
  readonly modRevision: number;
  /** The number that it points to; 0 when it points to none, or nobody can tell. */
  readonly revision: number;
  readonly resolved: ResolvedBlueprint | undefined;
  /** Why there is a blueprint and what it wants cannot be read. */
  readonly damage: AetherError | undefined;
}

/** Keeps blueprints in the cluster's store. */
export class BlueprintStore {
  private readonly kv: Kv;
  private readonly ports: BlueprintStorePorts;

  constructor(ports: BlueprintStorePorts) {
    this.kv = ports.kv;
    this.ports = ports;
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
      const message = `the blueprint says it is "${parsed.name}", but it was applied as "${name}"`;
      throw new AetherError("E_INVALID", message, { details: { issues: [{ path: ["name"], message }] } });
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
  async get(name: string, options: KvReadOptions = {}): Promise<ResolvedBlueprint> {
    return readable(name, await this.readCurrent(name, options));
  }

  /** All blueprints, by name. One that is damaged does not hide the others. */
  async list(options: KvReadOptions = {}): Promise<readonly (BlueprintRevision | DamagedBlueprint)[]> {
    const found: (BlueprintRevision | DamagedBlueprint)[] = [];
    for (const { key, value } of await listRows(this.kv, prefixOf({ kind: "blueprints" }), options)) {
      const parsed = knownKey(key);
      if (parsed?.kind !== "blueprint-current") continue;
      const { name } = parsed;
      const current = readUndamaged(() => parseCurrentBlueprint(value));
      found.push(current === undefined ? { name, damage: CURRENT_DAMAGED } : { name, revision: current.revision });
    }
    return found;
  }

  /**
   * Wants nothing of this blueprint any more; its instances stop and its slice names are free. What it wanted need not
   * be readable: what it has is read from the rows of its slices, routes and topics. @throws E_NOT_FOUND
   */
  async delete(name: string, options: CallOptions = {}): Promise<BlueprintRevision> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      options.signal?.throwIfAborted();
      const current = await this.readCurrent(name, options);
      const { key, modRevision } = current;
      if (modRevision === 0) throw notFound(name);
      const revision = await this.lastRevision(name, current, options);
      const slices = await ownedSlices(this.kv, name, options);
      const routes = await ownedRoutes(this.kv, name, options);
      const topics = await releaseTopics(this.kv, name, options);
      const rows = [key, ...slices, ...routes];
      const then = [...rows.map((gone): Op => ({ kind: "delete", key: gone })), ...topics.then];
      checkOps(name, then.length, "apply it with fewer slices first");
      // The latest revision stays, without `current`: it carries the number on (B2). Where it is missing, the rows of
      // its instances do, until they are gone.
      const deleted = await this.kv.transact({
        compare: [unchanged(key, modRevision), ...topics.compare],
        then,
        else: [],
      }, options);
      if (deleted.succeeded) return { name, revision };
    }
    throw overtaken(name);
  }

  /**
   * Makes the slices of an earlier revision the desired state again, artifact by artifact, as a new revision.
   * `to` is the revision; without it the newest one before the current one that wants something else.
   * @throws AetherError E_NOT_FOUND when there is no such blueprint, revision or artifact any more; E_CONFLICT when
   * another blueprint has one of the slices now.
   */
  async rollback(name: string, to?: number, options: CallOptions = {}): Promise<RolledBack> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      options.signal?.throwIfAborted();
      const current = await this.readCurrent(name, options);
      if (current.modRevision === 0) throw notFound(name);
      const target = chooseRevision(name, await readKeptRevisions(this.kv, name, options), current.resolved, to);
      const rolledBackTo = target.revision;
      if (current.resolved !== undefined && isSameData(current.resolved.slices, target.slices)) {
        return { name, revision: current.resolved.revision, rolledBackTo };
      }
      await this.checkArtifacts(target, options);
      const revision = await this.nextRevision(name, current, options);
      if (await this.write({ ...target, revision }, current, options)) return { name, revision, rolledBackTo };
    }
    throw overtaken(name);
  }

  /**
   * Makes what `edit` makes of the slices the desired state, as a new revision. Artifacts and names of slices stay.
   * @throws AetherError E_NOT_FOUND when there is no such blueprint; what `edit` throws
   */
  async change(name: string, edit: (slices: Slices) => Slices, options: CallOptions = {}): Promise<BlueprintRevision> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      options.signal?.throwIfAborted();
      const current = await this.readCurrent(name, options);
      const { revision, slices } = readable(name, current);
      const edited = edit(slices);
      if (isSameData(edited, slices)) return { name, revision };
      const next = revision + 1;
      if (await this.write({ name, revision: next, slices: edited }, current, options)) return { name, revision: next };
    }
    throw overtaken(name);
  }

  /** A slice has as many instances as its blueprint says from now on, whatever it was scaled to. */
  async unscale(slice: string, options: CallOptions = {}): Promise<void> {
    const key = formatKey({ kind: "scale", slice });
    await this.kv.transact({ compare: [], then: [{ kind: "delete", key }], else: [] }, options);
  }

  /** The name of the blueprint that has a slice; undefined when none has it. */
  async ownerOf(slice: string, options: CallOptions = {}): Promise<string | undefined> {
    const { entry } = await this.kv.get(formatKey({ kind: "slice-owner", slice }), options);
    return entry === undefined ? undefined : parseSliceOwner(entry.value).blueprint;
  }

  /** Desired and actual state. @throws AetherError E_NOT_FOUND */
  async status(name: string, options: KvReadOptions = {}): Promise<BlueprintStatus> {
    const blueprint = await this.get(name, options);
    return await readStatus(this.kv, blueprint, this.ports.outlook?.() ?? { unplaced: [], waiting: [] }, options);
  }

  /** What runs by itself now. A blueprint that is damaged does not hide the schedules of the others. */
  async schedules(options: CallOptions = {}): Promise<readonly ScheduleListed[]> {
    const names = (await this.list(options)).map(({ name }) => name);
    const found = await Promise.all(names.map((name) => this.readCurrent(name, options)));
    return await listSchedules(this.kv, found.flatMap(({ resolved }) => resolved ?? []), options);
  }

  private async readCurrent(name: string, options: KvReadOptions): Promise<Current> {
    const key = formatKey({ kind: "blueprint-current", name });
    const { entry } = await this.kv.get(key, options);
    const modRevision = entry?.modRevision ?? 0;
    const found = { key, modRevision, revision: 0, resolved: undefined, damage: undefined };
    if (entry === undefined) return found;
    let revision = 0;
    try {
      revision = parseCurrentBlueprint(entry.value).revision;
      return { ...found, revision, resolved: await this.readRevision(name, revision, options) };
    } catch (error) {
      if (!isDamage(error)) throw error;
      return { ...found, revision, damage: error };
    }
  }

  /** Immutable (B1) and written together with `current`, which this node has applied: read here. */
  private async readRevision(name: string, revision: number, options: KvReadOptions): Promise<ResolvedBlueprint> {
    const key = formatKey({ kind: "blueprint", name, revision });
    const { entry } = await this.kv.get(key, { ...options, consistency: "local" });
    if (entry !== undefined) return parseResolvedBlueprint(entry.value);
    throw new AetherError("E_DATA_CORRUPT", `revision ${revision} of blueprint "${name}" is not there`);
  }

  /** An artifact that was deleted since a revision was applied cannot be gone back to. */
  private async checkArtifacts(blueprint: ResolvedBlueprint, options: CallOptions): Promise<void> {
    const { name, revision, slices } = blueprint;
    for (const artifact of artifactsOf(slices)) {
      const { entry } = await this.kv.get(formatKey({ kind: "artifact", artifact }), options);
      if (entry !== undefined) continue;
      const message = `revision ${revision} of blueprint "${name}" needs ${artifact}, which the cluster does not ` +
        "hold any more: push it again first";
      throw new AetherError("E_NOT_FOUND", message, { details: { artifact } });
    }
  }

  private async nextRevision(name: string, current: Current, options: CallOptions): Promise<number> {
    return (await this.lastRevision(name, current, options)) + 1;
  }

  /** The highest number that was given, as far as any row still knows it; 0 when none does. */
  private async lastRevision(name: string, current: Current, options: CallOptions): Promise<number> {
    if (current.resolved !== undefined) return current.revision;
    // Revisions may be missing: their numbers were given all the same.
    const given = [current.revision];
    for (const { key } of await listRows(this.kv, prefixOf({ kind: "blueprints", name }), options)) {
      const parsed = knownKey(key);
      if (parsed?.kind === "blueprint") given.push(parsed.revision);
    }
    for (const { row } of await readInstanceRows(this.kv, options)) {
      if (row?.blueprint === name) given.push(row.revision);
    }
    for (const { row } of await readRolloutRows(this.kv, name, options)) {
      if (row !== undefined) given.push(row.target.revision);
    }
    return Math.max(...given);
  }

  private async resolve(name: string, document: BlueprintDocument, options: CallOptions): Promise<ResolvedBlueprint> {
    const held = (await this.ports.artifacts.list(options)).map(({ manifest }) => manifest);
    const offers = await this.offersFor(document, held, options);
    const artifacts = [...held, ...offers.map(({ manifest }) => manifest)];
    const elsewhere = await this.slicesElsewhere(name, document, artifacts, options);
    // The number is given when it is written; what is resolved does not depend on it.
    const resolved = resolveBlueprint({ name, revision: 1, document, artifacts, elsewhere });
    checkSizes(resolved);
    // Only now: of a blueprint that is refused nothing is brought.
    const needed = artifactsOf(resolved.slices);
    for (const offer of offers) {
      if (needed.has(offer.manifest.artifact)) await this.ports.sources?.bring(offer, options);
    }
    return resolved;
  }

  /** What sources have for the references of a document and the cluster does not. */
  private async offersFor(
    { slices }: BlueprintDocument, held: readonly Manifest[], options: CallOptions,
  ): Promise<readonly Offer[]> {
    const { sources } = this.ports;
    if (sources === undefined) return [];
    const references = Object.values(slices).flatMap(({ artifact }) => readReference(artifact) ?? []);
    return sources.offersFor(references, held.map(({ artifact }) => artifact), options);
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
      const owner = await this.ownerOf(slice, options);
      if (owner === undefined || owner === name) continue;
      const { resolved } = await this.readCurrent(owner, options);
      const artifact = resolved?.slices[slice]?.artifact;
      if (artifact !== undefined) found.set(slice, artifact);
    }
    return found;
  }

  /** Revisions that are more than enough, that no instance was made from and no rollout may have to go back to. */
  private async prunable(name: string, next: number, options: CallOptions): Promise<readonly KeyText[]> {
    if (next <= HISTORY_MAX) return [];
    const local: KvReadOptions = { ...options, consistency: "local" };
    const old = new Map<number, KeyText>();
    for (const { key } of await listRows(this.kv, prefixOf({ kind: "blueprints", name }), local)) {
      const parsed = knownKey(key);
      if (parsed?.kind === "blueprint" && parsed.revision <= next - HISTORY_MAX) old.set(parsed.revision, key);
    }
    // From here on rows can only stop naming these: an instance is made from the current revision, which is guarded,
    // or from one that the row of a rollout names; and that row requires its revisions to be there when it is written.
    for (const { row } of await readRolloutRows(this.kv, name, local)) {
      if (row === undefined) return [];
      for (const { revision } of [row.target, row.previous]) old.delete(revision);
    }
    for (const { row } of await readInstanceRows(this.kv, local)) {
      // What a damaged row names is not known.
      if (row === undefined) return [];
      if (row.blueprint === name) old.delete(row.revision);
    }
    return [...old.values()].slice(0, PRUNED_AT_ONCE_MAX);
  }

  /** False when somebody else was faster: read again. @throws AetherError E_CONFLICT naming the owner of a slice */
  private async write(blueprint: ResolvedBlueprint, current: Current, options: CallOptions): Promise<boolean> {
    const { name, revision } = blueprint;
    const owners = await claimSlices(this.kv, blueprint, options);
    const guards: Compare[] = [unchanged(current.key, current.modRevision), ...owners.compare];
    const ops: Op[] = [...owners.then];
    for (const artifact of artifactsOf(blueprint.slices)) {
      guards.push({ key: formatKey({ kind: "artifact", artifact }), target: "exists", op: "=", value: true });
    }
    const routes = await claimRoutes(this.kv, blueprint, options);
    guards.push(...routes.compare);
    ops.push(...routes.then);
    const topics = await claimTopics(this.kv, blueprint, options);
    guards.push(...topics.compare);
    ops.push(...topics.then);
    for (const key of await this.prunable(name, revision, options)) ops.push({ kind: "delete", key });
    const revisionKey = formatKey({ kind: "blueprint", name, revision });
    guards.push({ key: revisionKey, target: "exists", op: "=", value: false });
    ops.push({ kind: "put", key: revisionKey, value: blueprint });
    ops.push({ kind: "put", key: current.key, value: { revision } });
    checkOps(name, ops.length, "apply it in two steps");
    const written = await this.kv.transact({ compare: guards, then: ops, else: [] }, options);
    return written.succeeded;
  }
}

function checkName(name: string): void {
  const checked = nameSchema.safeParse(name);
  if (checked.success) return;
  throw new AetherError("E_INVALID", `"${name}" cannot be the name of a blueprint: ${z.prettifyError(checked.error)}`);
}

/** What the blueprint wants. @throws AetherError E_NOT_FOUND when there is none, E_DATA_CORRUPT when nobody can tell */
function readable(name: string, { resolved, damage }: Current): ResolvedBlueprint {
  if (resolved !== undefined) return resolved;
  if (damage === undefined) throw notFound(name);
  const message = `what blueprint "${name}" wants cannot be read, so its instances stay as they are: apply it again, ` +
    "roll it back or delete it";
  throw new AetherError("E_DATA_CORRUPT", message, { outcome: "none", cause: damage });
}

function chooseRevision(
  name: string,
  kept: readonly ResolvedBlueprint[],
  current: ResolvedBlueprint | undefined,
  to: number | undefined,
): ResolvedBlueprint {
  const earlier = kept.filter(({ revision, slices }) =>
    to === undefined ? current === undefined || !isSameData(slices, current.slices) : revision === to,
  );
  const chosen = earlier.at(-1);
  if (chosen !== undefined) return chosen;
  const wanted = to === undefined ? "no earlier revision that differs" : `no revision ${to}`;
  const revisions = kept.map(({ revision }) => revision);
  const message = `blueprint "${name}" has ${wanted}; the revisions kept are ${revisions.join(", ")}`;
  throw new AetherError("E_NOT_FOUND", message, { details: { revisions } });
}

/** Undefined for one that cannot be read: it is refused at its place in the document. */
function readReference(text: string): ArtifactReference | undefined {
  try {
    return parseArtifactReference(text);
  } catch (error) {
    if (error instanceof AetherError && error.code === "E_INVALID") return undefined;
    throw error;
  }
}

function overtaken(name: string): AetherError {
  return new AetherError("E_CONFLICT", `blueprint "${name}" changed again and again while it was read and written: ` +
    "see who else applies it, then try again");
}

function notFound(name: string): AetherError {
  return new AetherError("E_NOT_FOUND", `there is no blueprint "${name}"`, { details: { name } });
}

/** Slices and routes that go count as well as those that come. */
function checkOps(name: string, actual: number, advice: string): void {
  if (actual <= TXN_OPS_MAX) return;
  const message = `blueprint "${name}" changes ${actual} rows, the limit is ${TXN_OPS_MAX}: ${advice}`;
  throw new AetherError("E_TOO_LARGE", message, { details: { limit: TXN_OPS_MAX, actual } });
}

function checkSizes({ name, slices }: ResolvedBlueprint): void {
  const routes = Object.values(slices).flatMap((slice) => slice.routes ?? []);
  const topics = new Set(Object.values(slices).flatMap((slice) => (slice.topics ?? []).map(({ topic }) => topic)));
  const names = Object.keys(slices).length + artifactsOf(slices).size + routes.length + topics.size;
  if (names > NAMES_MAX) {
    const message = `blueprint "${name}" names ${names} slices, artifacts, routes and topics, the limit is ` +
      `${NAMES_MAX}: split it`;
    throw new AetherError("E_TOO_LARGE", message, { details: { limit: NAMES_MAX, actual: names } });
  }
  for (const [slice, resolved] of Object.entries(slices)) {
    const actual = encode(resolved).byteLength;
    if (actual <= SLICE_BYTES_MAX) continue;
    const message = `slice ${slice} takes ${actual} bytes, the limit is ${SLICE_BYTES_MAX}: shorten its config`;
    throw new AetherError("E_TOO_LARGE", message, { details: { slice, limit: SLICE_BYTES_MAX, actual } });
  }
}
