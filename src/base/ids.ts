// Owns: branded ids and the parse functions that alone make them.
import { AetherError } from "./errors.ts";

/** The configured name of a node, unique in its cluster: `[a-z0-9-]{1,32}`. */
export type NodeId = string & { readonly brand: "NodeId" };
/** The random identity of a data directory. A removed uid never returns. */
export type NodeUid = string & { readonly brand: "NodeUid" };
/** sha-256 of content, 64 lower-case hex digits. */
export type Digest = string & { readonly brand: "Digest" };

/** Coordinates of an artifact, `group:name:version` with an exact semver version. */
export type ArtifactId = string & { readonly brand: "ArtifactId" };

/** Names a job in its cluster for ever: given by whoever starts it, or made. */
export type JobId = string & { readonly brand: "JobId" };

const NODE_ID = /^[a-z0-9-]{1,32}$/;
const NODE_UID = /^[a-z0-9]{16}$/;
const DIGEST = /^[0-9a-f]{64}$/;
const ARTIFACT_ID = /^[a-z][a-z0-9-]{0,62}:[a-z][a-z0-9-]{0,62}:\d{1,9}\.\d{1,9}\.\d{1,9}(-[0-9A-Za-z.-]{1,64})?$/;
const JOB_ID = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

export function parseNodeId(text: string): NodeId {
  if (!NODE_ID.test(text)) {
    throw new AetherError("E_INVALID", `"${text}" is not a node id: use 1 to 32 of a-z, 0-9 and "-"`);
  }
  return text as NodeId;
}

export function parseNodeUid(text: string): NodeUid {
  if (!NODE_UID.test(text)) {
    throw new AetherError("E_INVALID", `"${text}" names no data directory: it is 16 of a-z and 0-9`);
  }
  return text as NodeUid;
}

export function parseDigest(text: string): Digest {
  if (!DIGEST.test(text)) throw new AetherError("E_INVALID", `"${text}" is not a sha-256 digest in hex`);
  return text as Digest;
}

export function parseArtifactId(text: string): ArtifactId {
  if (!ARTIFACT_ID.test(text)) {
    throw new AetherError(
      "E_INVALID",
      `"${text}" is not an artifact: use group:name:version, for example demo:orders:1.0.0`,
    );
  }
  return text as ArtifactId;
}

export function parseJobId(text: string): JobId {
  if (JOB_ID.test(text)) return text as JobId;
  const shown = text.length > 140 ? `${text.slice(0, 140)}…` : text;
  throw new AetherError(
    "E_INVALID",
    `"${shown}" is not the id of a job: begin with a letter or digit, then up to 127 of letters, digits, ` +
      '".", "_", ":" and "-"',
  );
}

/** The three parts of an artifact's coordinates. */
export function artifactParts(artifact: ArtifactId): {
  readonly group: string;
  readonly name: string;
  readonly version: string;
} {
  const [group = "", name = "", version = ""] = artifact.split(":");
  return { group, name, version };
}
