// Owns: the chain of a log. Each link is a hash of the one before, the event's number and its bytes as they are stored:
// a changed, lost, added or moved event shows at its number.
// JOB7  The chain of a log is over the bytes of its events as they are stored.
import { sha256Bytes } from "../../../base/digest.ts";
import type { JobUid } from "../ids.ts";

/** The link before the first event: of this job and run, so that no log passes for another's. */
export function firstLink(uid: JobUid, run: number): Uint8Array {
  return sha256Bytes(`aether-job\n${uid}\n${run}`);
}

/** The link of event `seq`, 1 or more. */
export function nextLink(prev: Uint8Array, seq: number, bytes: Uint8Array): Uint8Array {
  const number = new Uint8Array(4);
  new DataView(number.buffer).setUint32(0, seq);
  return sha256Bytes(prev, number, bytes);
}

export function isSameLink(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
