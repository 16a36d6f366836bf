// Owns: from a slice package's directory to its archive: bundle, read the contract, write the manifest.
import { join } from "node:path";
import { sha256 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId, Digest } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import { decodeArchive, encodeArchive } from "../core/archive.ts";
import { MANIFEST_FORMAT, parseManifest, type Manifest, type ManifestUse } from "../core/manifest.ts";
import { checkNewManifest } from "../core/manifest-rules.ts";
import { checkSchedules } from "../blueprints/schedule-rules.ts";
import { bundleOwnModule, bundleSlice } from "./bundle-adapter.ts";
import type { SliceDescription } from "./describe-slice.ts";
import { inspectBundle, type InspectInput } from "./inspect-adapter.ts";
import { openSlicePackage } from "./slice-package-adapter.ts";
import type { SlicePackage } from "./slice-package.ts";

export interface BuildRequest extends CallOptions {
  readonly directory: string;
}

export interface BuiltArtifact {
  readonly artifact: ArtifactId;
  /** sha-256 of the archive: the same sources give the same, wherever they are. */
  readonly digest: Digest;
  readonly archive: Uint8Array;
  readonly manifest: Manifest;
}

/**
 * Builds the slice package in a directory. The slice's code runs only to read its contract, in a worker with limits.
 * @throws AetherError E_NOT_FOUND, E_INVALID (what is wrong, and where), E_VERSION, E_TOO_LARGE
 */
export async function buildSlice({ directory, signal }: BuildRequest): Promise<BuiltArtifact> {
  const slicePackage = await openSlicePackage(directory);
  signal?.throwIfAborted();
  const bundle = await bundleSlice(join(slicePackage.directory, slicePackage.main));
  signal?.throwIfAborted();
  const inspector = await bundleInspector();
  return packSlice(await readManifest(slicePackage, { bundle, inspector }, signal), bundle);
}

/** What reads the contract of a built slice, as a module; the same for every slice. */
export function bundleInspector(): Promise<Uint8Array> {
  return bundleOwnModule("slices/build/inspect-main-adapter");
}

/** What the manifest of a package with this bundle says. @throws AetherError E_INVALID */
export async function readManifest(
  slicePackage: SlicePackage,
  input: InspectInput,
  signal?: AbortSignal,
): Promise<Manifest> {
  const described = await inspectBundle(input, signal);
  if (described.kind === "refused") {
    const where = join(slicePackage.directory, slicePackage.main);
    throw new AetherError("E_INVALID", `${where} is not a slice: ${described.reason}`);
  }
  // Parsed: the code of the slice shares the worker that describes it.
  return parseManifest(manifestOf(slicePackage, described.description, input.bundle));
}

/** The archive of a slice. @throws AetherError E_INVALID, E_VERSION, E_TOO_LARGE */
export function packSlice(planned: Manifest, bundle: Uint8Array): BuiltArtifact {
  checkNewManifest(planned);
  checkSchedules(planned);
  const archive = encodeArchive(planned, bundle);
  // Read back, so that what is handed out is what the cluster will accept.
  const { manifest, digest } = decodeArchive(archive);
  return { artifact: manifest.artifact, digest, archive, manifest };
}

function manifestOf(slicePackage: SlicePackage, description: SliceDescription, bundle: Uint8Array): Manifest {
  const { slice, methods, loadAfter, routes, on, schedules, agents, config, sdkVersion } = description;
  return {
    format: MANIFEST_FORMAT,
    artifact: slicePackage.artifact,
    slice,
    methods,
    uses: joinUses(slicePackage, description),
    ...(loadAfter === undefined ? {} : { loadAfter }),
    ...(routes === undefined ? {} : { routes }),
    ...(on === undefined ? {} : { on }),
    ...(schedules === undefined ? {} : { schedules }),
    ...(agents === undefined ? {} : { agents }),
    ...(config === undefined ? {} : { config }),
    sdkVersion,
    digest: sha256(bundle),
    bundleBytes: bundle.byteLength,
  };
}

/** The code says which contracts it uses, the package which artifacts will do for them. */
function joinUses(slicePackage: SlicePackage, description: SliceDescription): Readonly<Record<string, ManifestUse>> {
  const unknown = Object.keys(slicePackage.uses).filter((alias) => !Object.hasOwn(description.uses, alias));
  if (unknown.length > 0) {
    throw new AetherError("E_INVALID", `${slicePackage.directory}: "uses" names ${unknown.join(", ")}, ` +
      `but the slice uses ${Object.keys(description.uses).join(", ") || "nothing"}`);
  }
  return Object.fromEntries(Object.entries(description.uses).map(([alias, slice]): [string, ManifestUse] => {
    const artifact = slicePackage.uses[alias];
    return [alias, artifact === undefined ? { slice } : { slice, artifact }];
  }));
}
