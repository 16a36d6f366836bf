// Owns: looking for artifacts outside of the cluster when a blueprint is applied, and bringing those that it needs into
// the cluster. From then on nodes read them from there: a source may be away when an instance has to move.
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { ArtifactId, Digest } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import type { Log } from "../../env/telemetry.ts";
import { openArchive } from "../core/archive.ts";
import { isSameData } from "../core/canonical.ts";
import { parseManifest, type Manifest } from "../core/manifest.ts";
import { isExact, isMatch, pickNewest, type ArtifactReference } from "../core/version.ts";
import type { ArtifactRepository } from "../artifacts/repository.ts";
import type { ArtifactSource } from "./artifact-source.ts";

export interface ArtifactSourcesPorts {
  readonly artifacts: Pick<ArtifactRepository, "push">;
  readonly log: Pick<Log, "info">;
}

/** An artifact that the cluster does not hold and a source has. */
export interface Offer {
  readonly manifest: Manifest;
  readonly source: ArtifactSource;
  /** sha-256 of the archive, if the source says it. */
  readonly digest: Digest | undefined;
}

interface SourceList {
  readonly source: ArtifactSource;
  readonly listed: ReadonlyMap<ArtifactId, Digest | undefined>;
}

export class ArtifactSources {
  private readonly ports: ArtifactSourcesPorts;
  private readonly sources: readonly ArtifactSource[];

  constructor(ports: ArtifactSourcesPorts, sources: readonly ArtifactSource[]) {
    this.ports = ports;
    this.sources = sources;
  }

  /**
   * For each reference the newest artifact of all sources that is newer than what the cluster holds of it; of several
   * sources that have it the first. Exact references that are held ask nobody.
   * @throws AetherError E_UNAVAILABLE when a source cannot be asked: what it has might be what is wanted.
   */
  async offersFor(
    references: readonly ArtifactReference[], held: readonly ArtifactId[], { signal }: CallOptions = {},
  ): Promise<readonly Offer[]> {
    const open = references.filter((wanted) => !isExact(wanted) || !held.some((artifact) => isMatch(wanted, artifact)));
    if (open.length === 0 || this.sources.length === 0) return [];
    const lists = await Promise.all(this.sources.map((source) => listOf(source, signal)));
    const listed = lists.flatMap((list) => [...list.listed.keys()]);
    const offers = new Map<ArtifactId, Promise<Offer>>();
    for (const wanted of open) {
      const newest = pickNewest([...held, ...listed].filter((artifact) => isMatch(wanted, artifact)));
      const list = lists.find((candidate) => newest !== undefined && candidate.listed.has(newest));
      if (newest === undefined || list === undefined || held.includes(newest) || offers.has(newest)) continue;
      offers.set(newest, offerOf(list, newest, signal));
    }
    return Promise.all(offers.values());
  }

  /** Brings an offered artifact into the cluster. @throws AetherError E_DATA_CORRUPT for other content than offered */
  async bring({ manifest, source, digest }: Offer, options: CallOptions = {}): Promise<void> {
    const { artifact } = manifest;
    const archive = await source.archive(artifact, options.signal);
    const opened = orUnusable(source, artifact, () => openArchive(archive));
    if (!isSameData(opened.manifest, manifest)) {
      throw unusable(source, artifact, "its manifest is not that of its archive: build it again");
    }
    try {
      const told = digest === undefined ? {} : { digest };
      await this.ports.artifacts.push(archive, { ...options, ...told, expect: artifact });
    } catch (error) {
      const { code, message } = toAetherError(error);
      if (code === "E_INVALID") throw unusable(source, artifact, message);
      throw error;
    }
    this.ports.log.info({ event: "artifact.brought", artifact, from: source.name, bytes: archive.byteLength });
  }
}

async function listOf(source: ArtifactSource, signal: AbortSignal | undefined): Promise<SourceList> {
  try {
    return { source, listed: await source.list(signal) };
  } catch (error) {
    // A caller who gave up is told so, and no advice.
    signal?.throwIfAborted();
    const { message } = toAetherError(error);
    const advice = "so whether it has a newer artifact is not known: try again, or name exact versions that are pushed";
    throw new AetherError("E_UNAVAILABLE", `${message}, ${advice}`, {
      outcome: "none", details: { source: source.name }, cause: error,
    });
  }
}

async function offerOf({ source, listed }: SourceList, artifact: ArtifactId, signal?: AbortSignal): Promise<Offer> {
  const json = await source.manifest(artifact, signal);
  const manifest = orUnusable(source, artifact, () => parseManifest(json));
  if (manifest.artifact !== artifact) throw unusable(source, artifact, `its manifest is that of ${manifest.artifact}`);
  return { manifest, source, digest: listed.get(artifact) };
}

function orUnusable<T>(source: ArtifactSource, artifact: ArtifactId, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw unusable(source, artifact, toAetherError(error).message);
  }
}

function unusable({ name }: ArtifactSource, artifact: ArtifactId, reason: string): AetherError {
  return new AetherError("E_DATA_CORRUPT", `${artifact} of ${name} cannot be used: ${reason}`, {
    outcome: "none",
    details: { artifact, source: name },
  });
}
