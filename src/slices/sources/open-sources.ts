// Owns: the sources that a node's configuration names.
import type { ArtifactSource } from "./artifact-source.ts";
import { createDirectorySource } from "./directory-source-adapter.ts";
import { createHttpSource } from "./http-source-adapter.ts";
import type { SourceConfig } from "./sources-config.ts";

export function openSources(configured: readonly SourceConfig[]): readonly ArtifactSource[] {
  return configured.map((source) =>
    "directory" in source ? createDirectorySource(source.directory) : createHttpSource(source));
}
