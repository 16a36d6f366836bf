// Owns: what one running instance is made from: what its node reads in the blueprint's revision that its row names.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseArtifactId, type ArtifactId } from "../../base/ids.ts";
import { nameSchema } from "../../sdk/name.ts";

/** A slice that an instance may call, resolved when the blueprint revision was applied. */
export interface ResolvedUse {
  readonly slice: string;
  readonly artifact: ArtifactId;
  /** Versions that will do (semver), as the caller's package declared them; absent when it declared none: any. */
  readonly range?: string;
}

/** Everything needed to run one instance; every node reads the same. */
export interface InstanceSpec {
  /** `{artifact}/{index}`, see `instanceKeyOf`. */
  readonly key: string;
  /** Name of the slice, which is the name of its contract. */
  readonly slice: string;
  readonly artifact: ArtifactId;
  readonly index: number;
  readonly config: unknown;
  readonly uses: Readonly<Record<string, ResolvedUse>>;
  readonly heapBytesMax: number;
  /** Calls of this instance that may run at once; more are queued. */
  readonly concurrency: number;
  /** The only environment variables the instance sees. */
  readonly variables: Readonly<Record<string, string>>;
}

export const artifactIdSchema = z.string().transform((text, context): ArtifactId => {
  try {
    return parseArtifactId(text);
  } catch (error) {
    if (!(error instanceof AetherError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
    return z.NEVER;
  }
});

export const resolvedUsesSchema = z.record(z.string(), z.object({
  slice: nameSchema,
  artifact: artifactIdSchema,
  range: z.string().exactOptional(),
}));

/** The key text of an instance on its node: `demo:orders:1.0.0/0`. */
export function instanceKeyOf(artifact: ArtifactId, index: number): string {
  return `${artifact}/${index}`;
}
