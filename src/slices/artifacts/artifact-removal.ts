// Owns: taking artifacts out of the store: who needs which, removing what nobody needs, and chunks without a row.
// Does not own: when (cluster/leadership/artifact-collector.ts, or somebody who asks for it).
//
// R4  An artifact that a blueprint runs, or could go back to, or that an instance is made from, is not removed.
// It is needed by every stored revision of a blueprint that is not deleted, for its slices and what they use, and by
// every instance. Removing it compares the row, who has the name of its slice, and that blueprint's `current`: a
// blueprint that comes to run it changes one of these, and its own transaction compares that the row is there. So one
// of the two fails, in whatever order they come. (Of what a slice only uses, the artifact is a preference: calls go to
// whatever runs. A blueprint that is applied in the very moment may come to prefer one that is gone.)
// It is needed by pins of jobs too, see PinnedArtifacts. What nobody needs of these goes with it, compared unchanged:
// whoever is about to start a job renews a pin that is not new.
import { AetherError } from "../../base/errors.ts";
import { type ArtifactId, type Digest } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, knownKey, prefixOf, type AetherKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, KvEntry, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import {
  chunkKey, corruptArtifact, digestIn, parseArtifactRow, trustStored, type ArtifactRow,
} from "../core/artifact-row.ts";
import {
  artifactsOf, parseCurrentBlueprint, parseResolvedBlueprint, parseSliceOwner, type ResolvedBlueprint, type SliceOwner,
} from "../core/blueprint.ts";
import { instanceKeyOf } from "../core/instance-spec.ts";
import { listRows } from "../list-rows.ts";

/** An artifact that is stored, and who needs it. */
export interface StoredArtifact {
  readonly artifact: ArtifactId;
  readonly row: ArtifactRow;
  /** In words: `blueprint shop, revision 3` or `instance demo:orders:1.0.0/0 on n1`. Empty: nobody. */
  readonly neededBy: readonly string[];
  /** What must still be so when it is removed. */
  readonly guards: readonly Compare[];
  /** Rows that go with it. */
  readonly pins: readonly KeyText[];
}

/** Chunks that belong to no row: of a push that did not end, or of a removal that did not. */
export interface Leftover {
  readonly digest: Digest;
  /** Changes when somebody writes these chunks. */
  readonly seen: string;
  readonly guards: readonly Compare[];
}

/** What jobs hold an artifact by. */
export interface PinnedArtifact {
  readonly artifact: ArtifactId;
  readonly pin: KeyText;
  readonly modRevision: number;
  /** Who needs it, in words; absent when nobody does. */
  readonly neededBy?: string;
}

/** Jobs are to the right of this area. */
export interface PinnedArtifacts {
  /** Every pin there is. */
  survey(options: CallOptions): Promise<readonly PinnedArtifact[]>;
}

export interface RemovalPorts {
  readonly kv: Kv;
  /** Absent where there are no jobs. */
  readonly pins?: PinnedArtifacts;
  /** Called between reads of which there may be many: the thread also votes. */
  readonly pause: () => Promise<void>;
}

/** Deletes of one transaction, which has 128 operations at most, with room for the guards and pins of a removal. */
const CHUNKS_PER_TRANSACTION = 80;
/** Pins that go with one artifact: with more of them it stays, until a person says that it may go. */
const PINS_PER_REMOVAL_MAX = 20;
/** Of the largest archive, see ARCHIVE_BYTES_MAX. */
const CHUNKS_MAX = 256;
const ATTEMPTS_MAX = 5;
/** Needs named in an error or a listing. */
const NEEDS_SHOWN = 10;

export class ArtifactRemoval {
  private readonly kv: Kv;
  private readonly pause: () => Promise<void>;
  private readonly pins: PinnedArtifacts | undefined;

  constructor(ports: RemovalPorts) {
    this.kv = ports.kv;
    this.pins = ports.pins;
    this.pause = ports.pause;
  }

  /**
   * Every artifact that is stored, in key order. What of it cannot be read is left out.
   * @throws AetherError E_DATA_CORRUPT, E_UNAVAILABLE when it is not known who needs what: then nothing may be removed.
   */
  async survey(options: CallOptions = {}): Promise<readonly StoredArtifact[]> {
    // Rows first: what is pushed after this is not looked at.
    const entries = await listRows(this.kv, prefixOf({ kind: "artifacts" }), options);
    const found = entries.flatMap(readable);
    const owners = await this.readOwners(new Set(found.map(({ row }) => row.manifest.slice)), options);
    const blueprints = await this.readBlueprints(options);
    const instances = await listRows(this.kv, prefixOf({ kind: "slices" }), options);
    // After the blueprints: a pin is made of what a blueprint has.
    const pins = await this.pins?.survey(options) ?? [];
    const needs = new Map<ArtifactId, string[]>();
    const all = [...blueprints.needs, ...instances.flatMap(needOfInstance), ...pins.flatMap(needOfPin)];
    for (const { artifact, by } of all) {
      needs.set(artifact, [...(needs.get(artifact) ?? []), by]);
    }
    return found.map(({ entry, row }) => {
      const { slice, artifact } = row.manifest;
      const owner = owners.get(slice);
      const guards: Compare[] = [
        unchanged(entry.key, entry.modRevision),
        unchanged(formatKey({ kind: "slice-owner", slice }), owner?.modRevision ?? 0),
      ];
      if (owner !== undefined) {
        const current = formatKey({ kind: "blueprint-current", name: owner.blueprint });
        guards.push(unchanged(current, blueprints.currents.get(owner.blueprint) ?? 0));
      }
      const held = pins.filter((pin) => pin.artifact === artifact);
      for (const { pin, modRevision } of held) guards.push(unchanged(pin, modRevision));
      const neededBy = [...needs.get(artifact) ?? [], ...tooManyPins(held)].slice(0, NEEDS_SHOWN);
      return { artifact, row, neededBy, guards, pins: held.map(({ pin }) => pin) };
    });
  }

  /**
   * Removes an artifact and its chunks, for somebody who asks for it.
   * @throws AetherError E_NOT_FOUND; E_CONFLICT naming who needs it
   */
  async remove(artifact: ArtifactId, options: CallOptions = {}): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      options.signal?.throwIfAborted();
      const found = (await this.survey(options)).find((stored) => stored.artifact === artifact);
      if (found === undefined) {
        throw new AetherError("E_NOT_FOUND", `there is no artifact ${artifact}`, { details: { artifact } });
      }
      if (found.neededBy.length > 0) throw stillNeeded(found);
      if (await this.removeUnneeded(found, [], options)) return;
    }
    throw new AetherError("E_CONFLICT", `blueprints changed again and again while ${artifact} was to be removed: ` +
      "see who applies them, then try again");
  }

  /** Removes what a survey found that nobody needs. False when that, or one of `fences`, is not so any more. */
  async removeUnneeded(
    { artifact, row, guards, pins }: StoredArtifact,
    fences: readonly Compare[],
    options: CallOptions = {},
  ): Promise<boolean> {
    const key = formatKey({ kind: "artifact", artifact });
    const chunks = chunkRange(row.digest, 0, Math.min(row.chunks, CHUNKS_PER_TRANSACTION));
    const then = [key, ...pins, ...chunks].map(deletion);
    const removed = await this.kv.transact({ compare: [...fences, ...guards], then, else: [] }, options);
    // What is left if this node ends before the rest is gone is found as chunks without a row.
    if (removed.succeeded) await this.deleteRest(row.digest, CHUNKS_PER_TRANSACTION, row.chunks, options);
    return removed.succeeded;
  }

  /** Chunks that no row names. A push under way is among them. */
  async leftovers(options: CallOptions = {}): Promise<readonly Leftover[]> {
    const digests = await this.listDigests(options);
    const suspects = without(digests, await this.digestsOfRows(options));
    const found: Leftover[] = [];
    for (const digest of suspects) found.push(await this.lookAt(digest, options));
    // Once more: a row that was written before the chunks were looked at is here now, a later one changes chunk 0.
    const rowless = new Set(suspects.length === 0 ? [] : without(suspects, await this.digestsOfRows(options)));
    return found.filter(({ digest }) => rowless.has(digest));
  }

  /** False when somebody has written these chunks since they were found, or one of `fences` does not hold. */
  async sweep(leftover: Leftover, fences: readonly Compare[], options: CallOptions = {}): Promise<boolean> {
    const { digest, guards } = leftover;
    const then = chunkRange(digest, 0, CHUNKS_PER_TRANSACTION).map(deletion);
    const swept = await this.kv.transact({ compare: [...fences, ...guards], then, else: [] }, options);
    if (swept.succeeded) await this.deleteRest(digest, CHUNKS_PER_TRANSACTION, CHUNKS_MAX, options);
    return swept.succeeded;
  }

  /** The chunks from `from` on, while nobody pushes them again: that would begin with chunk 1. */
  private async deleteRest(digest: Digest, from: number, to: number, options: CallOptions): Promise<void> {
    const compare = [unchanged(chunkKey(digest, 0), 0), unchanged(chunkKey(digest, 1), 0)];
    for (let at = from; at < to; at += CHUNKS_PER_TRANSACTION) {
      const then = chunkRange(digest, at, Math.min(to, at + CHUNKS_PER_TRANSACTION)).map(deletion);
      const { succeeded } = await this.kv.transact({ compare, then, else: [] }, options);
      if (!succeeded) return;
    }
  }

  /** As this node has them: what is outdated only makes a removal fail. */
  private async readOwners(slices: Iterable<string>, options: CallOptions): Promise<ReadonlyMap<string, FoundOwner>> {
    const owners = new Map<string, FoundOwner>();
    for (const slice of slices) {
      const { entry } = await this.kv.get(formatKey({ kind: "slice-owner", slice }), { ...options, ...LOCAL });
      if (entry === undefined) continue;
      const { key, value, modRevision } = entry;
      owners.set(slice, { ...trustStored(key, () => parseSliceOwner(value)), modRevision });
    }
    return owners;
  }

  private async readBlueprints(options: CallOptions): Promise<BlueprintNeeds> {
    const revisions = new Map<KeyText, ResolvedBlueprint>();
    const currents = new Map<string, number>();
    for (const { key, value, modRevision } of await listRows(this.kv, prefixOf({ kind: "blueprints" }), options)) {
      const parsed = understood(key);
      if (parsed.kind === "blueprint") revisions.set(key, trustStored(key, () => parseResolvedBlueprint(value)));
      if (parsed.kind !== "blueprint-current") continue;
      const { name } = parsed;
      currents.set(name, modRevision);
      // Revisions come before `current` in the order of keys: one applied since they were listed was not seen.
      const { revision } = trustStored(key, () => parseCurrentBlueprint(value));
      if (!revisions.has(formatKey({ kind: "blueprint", name, revision }))) throw changing(name);
    }
    // Without `current` it is deleted, and nobody goes back to its revisions.
    const kept = [...revisions.values()].filter(({ name }) => currents.has(name));
    return { needs: kept.flatMap(needsOfRevision), currents };
  }

  /** One for each archive of which there are chunks. A listing without values is not to be had: it skips. */
  private async listDigests(options: CallOptions): Promise<readonly Digest[]> {
    const prefix = prefixOf({ kind: "blobs" });
    const digests: Digest[] = [];
    for (;;) {
      options.signal?.throwIfAborted();
      const last = digests.at(-1);
      const after = last === undefined ? {} : { after: chunkKey(last, CHUNKS_MAX) };
      const { entries: [first] } = await this.kv.list({ prefix, limit: 1, ...after }, LOCAL);
      const key = first === undefined ? undefined : understood(first.key);
      if (key?.kind !== "blob") return digests;
      digests.push(key.digest);
      await this.pause();
    }
  }

  private async digestsOfRows(options: CallOptions): Promise<ReadonlySet<Digest>> {
    const rows = await listRows(this.kv, prefixOf({ kind: "artifacts" }), options);
    // A row that cannot be read must not lose its chunks: any of them may be its own.
    return new Set(rows.map(digestOfRow));
  }

  private async lookAt(digest: Digest, options: CallOptions): Promise<Leftover> {
    const [first, second] = await Promise.all([0, 1].map(async (chunk) => {
      const { entry } = await this.kv.get(chunkKey(digest, chunk), options);
      return entry?.modRevision ?? 0;
    }));
    const guards = [unchanged(chunkKey(digest, 0), first ?? 0), unchanged(chunkKey(digest, 1), second ?? 0)];
    return { digest, seen: `${first}/${second}`, guards };
  }
}

const LOCAL = { consistency: "local" } as const;

interface Need {
  readonly artifact: ArtifactId;
  readonly by: string;
}

interface BlueprintNeeds {
  readonly needs: readonly Need[];
  /** The modRevision of `current`, by the name of the blueprint. */
  readonly currents: ReadonlyMap<string, number>;
}

interface FoundOwner extends SliceOwner {
  readonly modRevision: number;
}

function needsOfRevision({ name, revision, slices }: ResolvedBlueprint): readonly Need[] {
  const by = `blueprint ${name}, revision ${revision}`;
  return [...artifactsOf(slices)].map((artifact) => ({ artifact, by }));
}

function needOfInstance({ key }: KvEntry): readonly Need[] {
  const parsed = understood(key);
  if (parsed.kind !== "slice") return [];
  const { artifact, instance, node } = parsed;
  return [{ artifact, by: `instance ${instanceKeyOf(artifact, instance)} on ${node}` }];
}

function needOfPin({ artifact, neededBy: by }: PinnedArtifact): readonly Need[] {
  return by === undefined ? [] : [{ artifact, by }];
}

function tooManyPins({ length }: readonly PinnedArtifact[]): readonly string[] {
  return length > PINS_PER_REMOVAL_MAX ? [`${length} pins of jobs, more than one removal takes`] : [];
}

function digestOfRow({ key, value }: KvEntry): Digest {
  const digest = digestIn(value);
  if (digest === undefined) throw corruptArtifact(key, "it does not say which chunks are its own");
  return digest;
}

/** Nothing of a row that is damaged, or that a newer version wrote: it stays as it is. */
function readable(entry: KvEntry): readonly { readonly entry: KvEntry; readonly row: ArtifactRow }[] {
  try {
    return [{ entry, row: parseArtifactRow(entry.key, entry.value) }];
  } catch (error) {
    if (!(error instanceof AetherError)) throw error;
    // ignored: whoever reads the artifact is told; here it only means that nothing is removed.
    return [];
  }
}

function chunkRange(digest: Digest, from: number, to: number): readonly KeyText[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, index) => chunkKey(digest, from + index));
}

function deletion(key: KeyText): Op {
  return { kind: "delete", key };
}

function without(digests: readonly Digest[], known: ReadonlySet<Digest>): readonly Digest[] {
  return digests.filter((digest) => !known.has(digest));
}

function stillNeeded({ artifact, neededBy }: StoredArtifact): AetherError {
  const message = `${artifact} is needed by ${neededBy.join("; ")}: apply blueprints without it, or delete them, first`;
  return new AetherError("E_CONFLICT", message, { details: { artifact, neededBy } });
}

/** @throws AetherError E_UNAVAILABLE for a key that only a later build knows: nobody here can tell what it needs */
export function understood(text: KeyText): AetherKey {
  const key = knownKey(text);
  if (key !== undefined) return key;
  const message = `what needs which artifact is not known here: ${text} was written by a later build of Aether; ` +
    "ask a node of that build, or try again when all nodes have it";
  throw new AetherError("E_UNAVAILABLE", message);
}

function changing(name: string): AetherError {
  return new AetherError("E_UNAVAILABLE", `blueprint "${name}" changed while it was read: try again`);
}
