// Owns: `index.json`, which says what a directory of archives offers, for places that cannot be listed.
import { z } from "zod";
import { parseArtifactId, parseDigest, type ArtifactId, type Digest } from "../../base/ids.ts";

export const INDEX_NAME = "index.json";

const indexSchema = z.object({
  artifacts: z.record(z.string().transform(parseArtifactId), z.string().transform(parseDigest)),
});

/** Throws a ZodError or an AetherError that says what is wrong. */
export function parseSourceIndex(json: unknown): ReadonlyMap<ArtifactId, Digest> {
  const { artifacts } = indexSchema.parse(json);
  return new Map(Object.entries(artifacts) as [ArtifactId, Digest][]);
}

/** The same artifacts give the same text. */
export function formatSourceIndex(digests: ReadonlyMap<ArtifactId, Digest>): string {
  const artifacts = Object.fromEntries([...digests].sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify({ artifacts }, undefined, 2)}\n`;
}
