// Owns: what is said of a disk that does not give what is on it.
import { AetherError, type AetherErrorOptions } from "../base/errors.ts";

/** It may be over in a moment, on all nodes whose disks are one: no reason to give a state up. */
export function failingDisk(path: string, cause: unknown, options: AetherErrorOptions = {}): AetherError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const advice = "check the disk, then start the node again; replace the node when the disk stays so";
  return new AetherError("E_DISK", `cannot use ${path}: ${reason}; ${advice}`, { cause, outcome: "none", ...options });
}
