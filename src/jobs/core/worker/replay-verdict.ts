// Owns: what a replay has shown: whether code does what the log of a job says that it did, up to the job's end where
// the log has it. Does not own: the comparison call by call (replay-match.ts), running the code (running/replays.ts).
import { z } from "zod";
import { AetherError } from "../../../base/errors.ts";
import { digestSchema } from "../../../base/stored-row.ts";
import type { Digest } from "../../../base/ids.ts";
import { ERRORS, type ErrorCode } from "../../../base/error-catalog.ts";
import { isSameData } from "../../../slices/core/canonical.ts";
import { endOf, type JobEvent } from "../log/event.ts";
import { outputDigestOf } from "../payloads/blob.ts";
import type { JobError } from "../rows.ts";
import type { CodeEnd, FromAgent } from "./messages.ts";

export type ReplayVerdict =
  | {
    readonly kind: "same";
    /** Number of the log's last event. */
    readonly seq: number;
    /** Where the code is then: how it has ended, or the calls that it waits for. */
    readonly next: string;
  }
  | {
    readonly kind: "diverged";
    /** Number of the first event that the code does not do. */
    readonly seq: number;
    readonly expected: string;
    readonly found: string;
    /** Of an input, of what people were shown, or of an output, where these are what differs. */
    readonly expectedDigest?: Digest;
    readonly foundDigest?: Digest;
  };

const divergedSchema = z.object({
  call: z.string(),
  seq: z.int().min(0),
  expected: z.string(),
  found: z.string(),
  expectedDigest: digestSchema.exactOptional(),
  foundDigest: digestSchema.exactOptional(),
});

/** From what the worker said of the first call that differs. @throws AetherError for code that cannot be run at all */
export function divergedVerdict(error: JobError): ReplayVerdict {
  const said = divergedSchema.safeParse(error.details);
  if (error.code === "E_NONDETERMINISM" && said.success) {
    const { call, expected, found, ...place } = said.data;
    return { kind: "diverged", expected: `${expected} as "${call}"`, found, ...place };
  }
  throw new AetherError(codeOf(error), `the log was not replayed: ${error.message}`, { outcome: "not-applied" });
}

function codeOf({ code = "" }: JobError): ErrorCode {
  return Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : "E_HANDLER";
}

/** Of code that did all that the log has of its calls. `log` is of one run, from its first event on. */
export function replayedVerdict(
  log: readonly JobEvent[], { end, next }: Pick<Extract<FromAgent, { readonly kind: "replayed" }>, "end" | "next">,
): ReplayVerdict {
  const seq = log.length;
  const last = log.at(-1);
  const found = foundText(end, next);
  if (last === undefined || isSameEnd(log, last, end)) return { kind: "same", seq, next: found };
  const digests = last.type === "job.completed" && end?.kind === "completed"
    ? { expectedDigest: last.outputDigest, foundDigest: outputDigestOf(end) }
    : {};
  return { kind: "diverged", seq, expected: endText(last), found, ...digests };
}

function isSameEnd(log: readonly JobEvent[], last: JobEvent, end: CodeEnd | undefined): boolean {
  switch (last.type) {
    case "job.completed":
      return end?.kind === "completed" && outputDigestOf(end) === last.outputDigest;
    case "job.failed":
      return isEndedFromOutside(log) || isTooLarge(last.error, end) ||
        (end?.kind === "failed" && isSameData(end.error, last.error));
    case "job.cancelled":
      return end === undefined || end.kind === "cancelled";
    default:
      // The job goes on from here: whatever the code does is new.
      return true;
  }
}

/** Somebody, its deadline or a verifier ended the job, whatever its code did then. */
function isEndedFromOutside(log: readonly JobEvent[]): boolean {
  return log.some((event) => event.type === "job.cancel-requested" ||
    (event.type === "tool.verified" && event.verdict.kind === "differs" && event.onMismatch === "strict") ||
    (event.type === "tool.resolved" && event.resolution.kind === "given-up"));
}

/** What it was about to record was refused, and is not in the log. */
function isTooLarge({ code }: JobError, end: CodeEnd | undefined): boolean {
  return code === "E_TOO_LARGE" && end === undefined;
}

function endText(last: JobEvent): string {
  if (last.type === "job.completed") return `the end of the job with an output of digest ${last.outputDigest}`;
  if (last.type === "job.failed") return `the failure of the job: ${last.error.message}`;
  return `the end of the job: ${endOf(last) ?? last.type}`;
}

function foundText(end: CodeEnd | undefined, next: readonly string[]): string {
  switch (end?.kind) {
    case "completed":
      return `has ended with an output of digest ${outputDigestOf(end)}`;
    case "failed":
      return `has failed: ${end.error.message}`;
    case "cancelled":
      return "has ended as cancelled";
    case "continued":
      return `continues as a new run with an input of digest ${end.inputDigest}`;
    default:
      return next.length === 0
        ? "waits for something outside of job.…"
        : `waits for ${next.map((call) => `"${call}"`).join(", ")}`;
  }
}
