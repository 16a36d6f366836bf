// Owns: the names of the files that `slice build` writes: an artifact's coordinates in a form that every file system
// takes.
import { artifactParts, parseArtifactId, type ArtifactId } from "../base/ids.ts";

const ARCHIVE_NAME = /^([a-z][a-z0-9-]*)\.([a-z][a-z0-9-]*)-(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)\.slice$/;

/** `demo.orders-1.0.0.slice` */
export function archiveNameOf(artifact: ArtifactId): string {
  return `${stemOf(artifact)}.slice`;
}

/** `demo.orders-1.0.0.manifest.json`, beside the archive. */
export function manifestNameOf(artifact: ArtifactId): string {
  return `${stemOf(artifact)}.manifest.json`;
}

/** What an archive of this name holds; undefined for any other file. */
export function artifactOfArchiveName(file: string): ArtifactId | undefined {
  const [, group, name, version] = ARCHIVE_NAME.exec(file) ?? [];
  return group === undefined || name === undefined || version === undefined
    ? undefined
    : parseArtifactId(`${group}:${name}:${version}`);
}

function stemOf(artifact: ArtifactId): string {
  const { group, name, version } = artifactParts(artifact);
  return `${group}.${name}-${version}`;
}
