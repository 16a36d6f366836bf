// Owns: what nodes say to each other about the progress of jobs, as bytes. Does not own: who says what to whom.
import { decode, encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { parseJobId, type JobId } from "../../base/ids.ts";
import { KiB } from "../../base/units.ts";

export type ProgressMessage =
  /** Somebody at the sender reads the progress of these jobs: for some seconds, see progress-hub.ts. */
  | { readonly kind: "want"; readonly jobs: readonly JobId[] }
  | { readonly kind: "unwant"; readonly jobs: readonly JobId[] }
  /** What a job's code emitted, in order. */
  | { readonly kind: "progress"; readonly job: JobId; readonly items: readonly unknown[] };

/** Of one message; what goes beyond it is not sent. */
export const PROGRESS_BYTES_MAX = 256 * KiB;

const TAGS = { want: 1, unwant: 2, progress: 3 } as const;

export function encodeProgress(message: ProgressMessage): Uint8Array {
  return message.kind === "progress"
    ? encode([TAGS.progress, message.job, message.items])
    : encode([TAGS[message.kind], message.jobs]);
}

/** @throws AetherError E_INVALID for what is no such message */
export function parseProgress(bytes: Uint8Array): ProgressMessage {
  const fields: unknown = decode(bytes, PROGRESS_BYTES_MAX);
  if (!Array.isArray(fields)) throw unreadable();
  const [tag, first, second] = fields as readonly unknown[];
  switch (tag) {
    case TAGS.want:
      return { kind: "want", jobs: jobsOf(first) };
    case TAGS.unwant:
      return { kind: "unwant", jobs: jobsOf(first) };
    case TAGS.progress:
      if (typeof first !== "string" || !Array.isArray(second)) throw unreadable();
      return { kind: "progress", job: parseJobId(first), items: second as readonly unknown[] };
    default:
      throw unreadable();
  }
}

function jobsOf(value: unknown): readonly JobId[] {
  if (!Array.isArray(value)) throw unreadable();
  return value.map((job: unknown) => {
    if (typeof job === "string") return parseJobId(job);
    throw unreadable();
  });
}

function unreadable(): AetherError {
  return new AetherError("E_INVALID", "a message about the progress of jobs is malformed");
}
