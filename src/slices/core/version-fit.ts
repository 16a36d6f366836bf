// Owns: which other version of a slice may answer a caller whose own is not there.
import semver from "semver";

/** What a caller was built for. */
export interface WantedVersion {
  /** The exact artifact (`group:name:version`) it was resolved with. */
  readonly artifact: string;
  /** The semver range it declared for the slice; undefined when it takes whichever provides it. */
  readonly range: string | undefined;
}

/** A longer text is no range that anybody declared, and not worth the time of parsing it. */
const RANGE_LENGTH_MAX = 128;

/** The range is of one artifact: it says nothing about another name that provides the same slice. */
export function mayReplace(offered: string, { artifact, range }: WantedVersion): boolean {
  if (range === undefined) return true;
  if (range.length > RANGE_LENGTH_MAX || familyOf(offered) !== familyOf(artifact)) return false;
  return semver.satisfies(versionOf(offered), range);
}

function familyOf(artifact: string): string {
  return artifact.slice(0, artifact.lastIndexOf(":"));
}

function versionOf(artifact: string): string {
  return artifact.slice(artifact.lastIndexOf(":") + 1);
}
