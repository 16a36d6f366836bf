// Owns: the slice packages of one project as development versions `1.0.0-dev.7`: building what has changed, numbering
// what is new. The same content keeps its number, also in the next run.
// Does not own: pushing them, and the blueprint that names them.
import { basename } from "node:path";
import { sha256 } from "../../base/digest.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import { artifactParts, parseArtifactId, type ArtifactId } from "../../base/ids.ts";
import { toCanonical } from "../core/canonical.ts";
import { parseManifest, type Manifest, type ManifestUse } from "../core/manifest.ts";
import { isMatch, isSameFamily, parseArtifactReference } from "../core/version.ts";
import { bundleInspector, packSlice } from "./build-slice.ts";
import { SliceBuilder, type SliceDraft } from "./slice-builder.ts";

/** One package, built. */
export interface DevSlice {
  readonly slice: string;
  readonly directory: string;
  /** Its development version. */
  readonly artifact: ArtifactId;
  /** The files that it was made of. */
  readonly inputs: readonly string[];
  /** What is pushed. The same artifact is always the same bytes. */
  archive(): Uint8Array;
}

export interface DevFailure {
  readonly directory: string;
  readonly error: AetherError;
}

export interface DevBuild {
  readonly slices: readonly DevSlice[];
  /** Packages that do not build. */
  readonly failures: readonly DevFailure[];
}

interface Family {
  last: number;
  /** Development versions by what they are made of. */
  readonly known: Map<string, ArtifactId>;
}

const DEV_VERSION = /^(.+)-dev\.(\d{1,9})$/;

export class DevBuilds {
  private inspector: Promise<Uint8Array> | undefined;
  private readonly builders = new Map<string, SliceBuilder>();
  private readonly families = new Map<string, Family>();
  private drafts: readonly SliceDraft[] = [];
  private built: readonly DevSlice[] = [];

  /** Learns of versions that the cluster has from earlier runs, from the manifests of its artifacts. */
  learn(manifests: readonly unknown[]): void {
    for (const found of manifests) {
      const manifest = parseManifest(found);
      const { version } = artifactParts(manifest.artifact);
      const [, base, number] = DEV_VERSION.exec(version) ?? [];
      if (base === undefined) continue;
      const family = this.familyOf(manifest.artifact);
      family.last = Math.max(family.last, Number(number));
      family.known.set(contentOf(manifest, base), manifest.artifact);
    }
  }

  /** Builds these packages, and forgets others that it built before. */
  async build(directories: readonly string[], signal?: AbortSignal): Promise<DevBuild> {
    for (const [directory, builder] of this.builders) {
      if (directories.includes(directory)) continue;
      this.builders.delete(directory);
      await builder.close();
    }
    const results = await Promise.all(directories.map((directory) => this.buildOne(directory, signal)));
    const failures = results.flatMap((result) => ("error" in result ? [result] : []));
    if (failures.length > 0) return { slices: [], failures };
    const drafts = results.flatMap((result) => ("manifest" in result ? [result] : []));
    const twice = sameFamily(drafts);
    if (twice !== undefined) return { slices: [], failures: [twice] };
    return this.number(drafts);
  }

  /**
   * The development version that a reference in a blueprint stands for; undefined when no package is of its family.
   * @throws AetherError E_INVALID when there is one, of another version
   */
  resolve(reference: string): ArtifactId | undefined {
    const parsed = parseArtifactReference(reference);
    const draft = this.drafts.find(({ manifest }) => isSameFamily(parsed, manifest.artifact));
    if (draft === undefined) return undefined;
    if (!isMatch(parsed, draft.manifest.artifact)) throw otherVersion(reference, draft);
    return this.built.find(({ directory }) => directory === draft.directory)?.artifact;
  }

  async close(): Promise<void> {
    await Promise.all([...this.builders.values()].map((builder) => builder.close()));
    this.builders.clear();
  }

  private async buildOne(directory: string, signal: AbortSignal | undefined): Promise<SliceDraft | DevFailure> {
    try {
      this.inspector ??= bundleInspector();
      const builder = this.builders.get(directory) ?? new SliceBuilder(directory, await this.inspector);
      this.builders.set(directory, builder);
      return await builder.build(signal);
    } catch (error) {
      signal?.throwIfAborted();
      return { directory, error: toAetherError(error) };
    }
  }

  private number(drafts: readonly SliceDraft[]): DevBuild {
    const slices: DevSlice[] = [];
    const failures: DevFailure[] = [];
    for (const draft of drafts) {
      try {
        slices.push(this.numberOne(draft, drafts));
      } catch (error) {
        failures.push({ directory: draft.directory, error: toAetherError(error) });
      }
    }
    if (failures.length > 0) return { slices: [], failures };
    this.drafts = drafts;
    this.built = slices;
    return { slices, failures };
  }

  private numberOne(draft: SliceDraft, all: readonly SliceDraft[]): DevSlice {
    const { directory, bundle, inputs } = draft;
    const { group, name, version } = artifactParts(draft.manifest.artifact);
    const manifest = { ...draft.manifest, uses: looseUses(draft.manifest.uses, all) };
    const family = this.familyOf(manifest.artifact);
    const content = contentOf(manifest, version);
    const artifact = family.known.get(content) ?? parseArtifactId(`${group}:${name}:${version}-dev.${++family.last}`);
    family.known.set(content, artifact);
    const archive = (): Uint8Array => packSlice({ ...manifest, artifact }, bundle).archive;
    return { slice: manifest.slice, directory, artifact, inputs, archive };
  }

  private familyOf(artifact: ArtifactId): Family {
    const { group, name } = artifactParts(artifact);
    const found = this.families.get(`${group}:${name}`) ?? { last: 0, known: new Map<string, ArtifactId>() };
    this.families.set(`${group}:${name}`, found);
    return found;
  }
}

/** What a version is made of, its number left out. */
function contentOf({ artifact: _artifact, ...manifest }: Manifest, base: string): string {
  return sha256(JSON.stringify([base, toCanonical(manifest)]));
}

/**
 * A development version is in no range, as every pre-release. So what a slice uses of its own project is named without
 * one, after the range was found to fit.
 */
function looseUses(
  uses: Manifest["uses"], drafts: readonly SliceDraft[],
): Readonly<Record<string, ManifestUse>> {
  return Object.fromEntries(Object.entries(uses).map(([alias, use]): [string, ManifestUse] => {
    const own = drafts.find(({ manifest }) => manifest.slice === use.slice);
    if (own === undefined || use.artifact === undefined) return [alias, use];
    if (!isMatch(parseArtifactReference(use.artifact), own.manifest.artifact)) throw otherVersion(use.artifact, own);
    return [alias, { slice: use.slice }];
  }));
}

function otherVersion(reference: string, { manifest, directory }: SliceDraft): AetherError {
  const message = `${reference} is wanted, but the package ${basename(directory)} is ${manifest.artifact}`;
  return new AetherError("E_INVALID", `${message}: change one of them`);
}

function sameFamily(drafts: readonly SliceDraft[]): DevFailure | undefined {
  const seen = new Map<string, string>();
  for (const { directory, manifest: { artifact } } of drafts) {
    const { group, name } = artifactParts(artifact);
    const other = seen.get(`${group}:${name}`);
    seen.set(`${group}:${name}`, directory);
    if (other === undefined) continue;
    const message = `it is ${group}:${name}, and so is the package ${basename(other)}: rename one of them`;
    return { directory, error: new AetherError("E_INVALID", message) };
  }
  return undefined;
}
