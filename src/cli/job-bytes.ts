// Owns: the bytes of an exported job, from a file or from a node. Does not own: what stands in them.
import { createReadStream } from "node:fs";
import { AetherError } from "../base/errors.ts";
import { JOBS } from "./job-answers.ts";
import { apiPath, type Session } from "./options.ts";

/** @throws AetherError E_DISK */
export async function* fileBytes(file: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(file) as AsyncIterable<Uint8Array>;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new AetherError("E_DISK", `cannot read ${file}: ${reason}`);
  }
}

/** @throws AetherError as the node says, E_TIMEOUT */
export function nodeBytes({ api }: Session, job: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  return api.bytes(`${apiPath(JOBS, job)}/export`, { signal });
}
