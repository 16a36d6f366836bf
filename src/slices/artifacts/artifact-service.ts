// Owns: what people do with artifacts, as one service: pushing, looking, removing.
// Does not own: how they are stored (repository.ts) and what may be removed (artifact-removal.ts).
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId } from "../../base/ids.ts";
import type { CallOptions } from "../../env/env.ts";
import type { ArtifactRemoval } from "./artifact-removal.ts";
import type {
  ArtifactRepository, ArtifactSummary, DamagedArtifact, PushedArtifact, PushOptions,
} from "./repository.ts";
import type { Manifest } from "../core/manifest.ts";

export interface ListedArtifact extends ArtifactSummary {
  /** Who needs it, in words, the first few; absent when that is not known now. */
  readonly neededBy?: readonly string[];
}

export class ArtifactService {
  private readonly repository: ArtifactRepository;
  private readonly removal: ArtifactRemoval;

  constructor(repository: ArtifactRepository, removal: ArtifactRemoval) {
    this.repository = repository;
    this.removal = removal;
  }

  /** @throws AetherError as ArtifactRepository.push */
  push(archive: Uint8Array, options?: PushOptions): Promise<PushedArtifact> {
    return this.repository.push(archive, options);
  }

  /** @throws AetherError E_NOT_FOUND */
  manifest(artifact: ArtifactId, options?: CallOptions): Promise<Manifest> {
    return this.repository.manifest(artifact, options);
  }

  /** All artifacts, in the order of their coordinates; of those that cannot be read why not. */
  async list(options?: CallOptions): Promise<readonly (ListedArtifact | DamagedArtifact)[]> {
    const listed = await this.repository.listAll(options);
    const needs = await this.readNeeds(options);
    return listed.map((summary) => {
      const neededBy = needs?.get(summary.artifact);
      return neededBy === undefined ? summary : { ...summary, neededBy };
    });
  }

  /** @throws AetherError E_NOT_FOUND; E_CONFLICT naming who needs it */
  remove(artifact: ArtifactId, options?: CallOptions): Promise<void> {
    return this.removal.remove(artifact, options);
  }

  private async readNeeds(options?: CallOptions): Promise<ReadonlyMap<ArtifactId, readonly string[]> | undefined> {
    try {
      const stored = await this.removal.survey(options);
      return new Map(stored.map(({ artifact, neededBy }) => [artifact, neededBy]));
    } catch (error) {
      // A blueprint that is damaged, or changes just now, must not hide the artifacts.
      if (error instanceof AetherError && UNKNOWN_NEEDS.has(error.code)) return undefined;
      throw error;
    }
  }
}

const UNKNOWN_NEEDS: ReadonlySet<string> = new Set(["E_DATA_CORRUPT", "E_UNAVAILABLE"]);
