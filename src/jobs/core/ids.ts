// Owns: the identities of jobs, their calls and effects, and how each is made.
import { sha256 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import { parseJobId, type Digest, type JobId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";

/** 128 random bits in hex, drawn when a job is started: an id that is used again is another job. */
export type JobUid = string & { readonly brand: "JobUid" };
/** 128 random bits in hex, drawn once by the first leader of a cluster. */
export type ClusterUid = string & { readonly brand: "ClusterUid" };
/**
 * Where in the code of an agent a call stands, the same in every run: `scope/name#occurrence`, or
 * `scope/name/key#occurrence`. Log, replay and ledger know a call by it.
 */
export type CallName = string & { readonly brand: "CallName" };
/** What a tool's other side may take as its idempotency key: the same for every attempt at one call of one job. */
export type EffectId = Digest;

/** There is one consensus group, so all jobs are in its partition. */
const PARTITION = 0;
const UID = /^[0-9a-f]{32}$/;
const UID_BYTES = 16;
/** Crockford's base 32: digits and letters that people do not take for one another; sorts like its values. */
const LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TIME_LETTERS = 10;
const RANDOM_LETTERS = 16;

export function refOf(job: JobId): JobRef {
  return { partition: PARTITION, job };
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseUid(text: unknown): string {
  if (typeof text === "string" && UID.test(text)) return text;
  throw new AetherError("E_DATA_CORRUPT", "a stored uid is not 32 hex digits");
}

/** Draws a uid, of a job or of a cluster. */
export function drawUid(random: Random): string {
  const bytes = Array.from({ length: UID_BYTES }, () => random.below(256));
  return Buffer.from(bytes).toString("hex");
}

/** An id that sorts by the time of its making: 48 bits of milliseconds, then 80 random ones. */
export function drawJobId(wallMs: number, random: Random): JobId {
  let text = timeText(wallMs);
  for (let at = 0; at < RANDOM_LETTERS; at++) text += LETTERS.charAt(random.below(LETTERS.length));
  return parseJobId(text);
}

function timeText(wallMs: number): string {
  let text = "";
  let rest = Math.floor(wallMs);
  for (let at = 0; at < TIME_LETTERS; at++) {
    text = LETTERS.charAt(rest % LETTERS.length) + text;
    rest = Math.floor(rest / LETTERS.length);
  }
  return text;
}

/** The same whenever the call is come to, so that a child is started once; sorts after jobs older than its parent. */
export function childIdOf(cluster: ClusterUid, parent: { readonly uid: JobUid; readonly createdMs: number },
  call: CallName): JobId {
  const random = Buffer.from(sha256(`aether-child\n${effectIdOf(cluster, parent.uid, call)}`), "hex");
  const letters = [...random.subarray(0, RANDOM_LETTERS)].map((byte) => LETTERS.charAt(byte % LETTERS.length));
  return parseJobId(timeText(parent.createdMs) + letters.join(""));
}

/** Of the uid that the parent's own one, or that of its effects, gives the child for this call. */
export function childUidOf(uid: JobUid, call: CallName): JobUid {
  return sha256(`aether-child-uid\n${uid}\n${call}`).slice(0, 2 * UID_BYTES) as JobUid;
}

/** Never of the attempt: what is tried again is the same effect. `uid` is the original's for retries and forks. */
export function effectIdOf(cluster: ClusterUid, uid: JobUid, call: CallName): EffectId {
  return sha256(`aether-effect\n${cluster}\n${uid}\n${call}`);
}
