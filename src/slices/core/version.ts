// Owns: references to artifacts: `group:name:version` exactly, or `group:name@range`, and which artifact they mean.
import semver from "semver";
import { AetherError } from "../../base/errors.ts";
import { artifactParts, type ArtifactId } from "../../base/ids.ts";

/** A family of artifacts and the versions of it that will do. */
export interface ArtifactReference {
  readonly group: string;
  readonly name: string;
  /** A semver range; an exact version is the range of itself. */
  readonly range: string;
}

/** Of a text that is no reference. */
const SHOWN_CHARS = 100;
const REFERENCE = /^([a-z][a-z0-9-]{0,62}):([a-z][a-z0-9-]{0,62})([:@])(.{1,128})$/;

/** Reads `demo:orders@^1.2.0` or `demo:orders:1.2.0`. @throws AetherError E_INVALID saying what to write. */
export function parseArtifactReference(text: string): ArtifactReference {
  const [, group, name, separator, version] = REFERENCE.exec(text) ?? [];
  if (group === undefined || name === undefined || version === undefined) {
    const found = text.slice(0, SHOWN_CHARS);
    throw new AetherError("E_INVALID", `"${found}" names no artifact: use group:name@range or group:name:version`);
  }
  const range = separator === "@" ? semver.validRange(version) : semver.valid(version);
  if (range === null) {
    const wanted = separator === "@" ? "a semver range such as ^1.2.0" : "an exact version such as 1.2.0";
    throw new AetherError("E_INVALID", `"${text}" names no artifact: "${version}" is not ${wanted}`);
  }
  return { group, name, range: separator === "@" ? version : range };
}

/** Whether no other version than one will do. */
export function isExact({ range }: ArtifactReference): boolean {
  return semver.valid(range) !== null;
}

/** Whether `artifact` is of this family and in this range. Pre-releases count only where the range names one. */
export function isMatch(reference: ArtifactReference, artifact: ArtifactId): boolean {
  return isSameFamily(reference, artifact) && semver.satisfies(artifactParts(artifact).version, reference.range);
}

/** Whether `artifact` has the group and name of the reference, in whatever version. */
export function isSameFamily(reference: ArtifactReference, artifact: ArtifactId): boolean {
  const { group, name } = artifactParts(artifact);
  return group === reference.group && name === reference.name;
}

/** The artifact with the highest version; undefined of none. All must be of one family. */
export function pickNewest(artifacts: readonly ArtifactId[]): ArtifactId | undefined {
  return sortNewestFirst(artifacts)[0];
}

/** Highest version first; families in the order of their names. */
export function sortNewestFirst(artifacts: readonly ArtifactId[]): ArtifactId[] {
  return [...artifacts].sort((a, b) => {
    const left = artifactParts(a);
    const right = artifactParts(b);
    const leftFamily = `${left.group}:${left.name}`;
    const rightFamily = `${right.group}:${right.name}`;
    if (leftFamily !== rightFamily) return leftFamily < rightFamily ? -1 : 1;
    return semver.rcompare(left.version, right.version);
  });
}
