// Owns: by what it is known that something was put into a job's inbox before.
import { sha256 } from "../../../base/digest.ts";
import type { Digest } from "../../../base/ids.ts";

/** Names are told apart by their lengths, so that no two things have one text. */
export function seenOf(...parts: readonly string[]): Digest {
  return sha256(parts.map((part) => `${part.length}:${part}`).join(""));
}

/** A job is cancelled once, whoever asks for it. */
export function cancelSeen(): Digest {
  return seenOf("cancel");
}
