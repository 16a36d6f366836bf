// Owns: what the store keeps of the calls with one idempotency key, and what follows from it for the next one.
// Does not own: reading and writing it (idempotency/).
//
// K1  A handler starts only for who has written "claimed", so for one call of a key at a time.
// K2  What is done stays as it is: later calls get that answer, and start nothing.
// K3  A claim of a process that has ended says that its handler may have run: a write is not started again.
import { z } from "zod";
import { decode, encode } from "../../base/codec.ts";
import { sha256 } from "../../base/digest.ts";
import { unreachable } from "../../base/assert.ts";
import { AetherError, type ErrorBody } from "../../base/errors.ts";
import { parseNodeId, parseNodeUid, type Digest } from "../../base/ids.ts";
import { digestSchema } from "../../base/stored-row.ts";
import { KiB } from "../../base/units.ts";
import type { NodeLife } from "../../cluster/core/rows.ts";
import { toCanonical } from "../../slices/core/canonical.ts";
import { isErrorBody } from "../../slices/core/worker-protocol.ts";
import type { IncomingReply } from "../../slices/host/running-instances.ts";
import type { Effect } from "./retry-policy.ts";

/** One claim: the process that made it, and which of its claims it is. */
export interface Claimant extends NodeLife {
  readonly claim: number;
}

/** The value of `calls/…`. */
export type CallRecord =
  /** The handler has begun, or will in a moment. */
  | { readonly state: "claimed"; readonly by: Claimant; readonly input: Digest }
  /** The claim was given back: no handler has run. */
  | { readonly state: "open"; readonly by: Claimant }
  | { readonly state: "done"; readonly by: Claimant; readonly input: Digest; readonly result: Uint8Array };

/** How a handler ended, as it is kept. */
export type CallResult =
  | { readonly kind: "output"; readonly output: unknown }
  /** Too large to be kept. */
  | { readonly kind: "large-output"; readonly bytes: number }
  | { readonly kind: "error"; readonly error: ErrorBody };

export type NextStep =
  | { readonly kind: "claim" }
  /** Somebody else's handler runs. */
  | { readonly kind: "wait" }
  | { readonly kind: "replay"; readonly result: CallResult }
  /** The key belongs to a call with another input. */
  | { readonly kind: "conflict" }
  /** Nobody will ever know whether the handler has run. */
  | { readonly kind: "lost" };

export interface CallSituation {
  readonly input: Digest;
  readonly effect: Exclude<Effect, "read">;
  /** Whether nobody waits any more for what a process has begun: it has ended, or that is taken for granted. */
  isLost(life: NodeLife): boolean;
}

/** Longer answers are not kept: the store holds one for each key, for a day. */
export const KEPT_OUTPUT_BYTES_MAX = 256 * KiB;
/** A handler's error is shown to people; nobody reads more. */
const KEPT_ERROR_BYTES_MAX = 16 * KiB;
const KEPT_MESSAGE_LENGTH_MAX = 2_000;

export function nextStep(record: CallRecord | undefined, situation: CallSituation): NextStep {
  if (record === undefined || record.state === "open") return { kind: "claim" };
  if (record.input !== situation.input) return { kind: "conflict" };
  switch (record.state) {
    case "done":
      return { kind: "replay", result: parseResult(record.result) };
    case "claimed":
      if (!situation.isLost(record.by)) return { kind: "wait" };
      // Twice is the same as once, says the contract.
      return { kind: situation.effect === "idempotent" ? "claim" : "lost" };
    default:
      return unreachable(record);
  }
}

/** What is kept of how a handler ended; undefined when it is as if no call had been made. */
export function resultOf(end: IncomingReply, effect: CallSituation["effect"]): CallResult | undefined {
  switch (end.kind) {
    case "ok": {
      const { output } = end;
      const bytes = encode(output).byteLength;
      return bytes <= KEPT_OUTPUT_BYTES_MAX ? { kind: "output", output } : { kind: "large-output", bytes };
    }
    case "not-started":
      return undefined;
    case "failed":
      // Its worker has ended under it.
      if (end.error.code === "E_TIMEOUT" && effect === "idempotent") return undefined;
      return { kind: "error", error: shortened(end.error) };
    default:
      return unreachable(end);
  }
}

/** Equal for equal inputs, in whatever order their fields were written. */
export function digestOfInput(input: unknown): Digest {
  return sha256(encode([toCanonical(input)]));
}

/** Numbers of a kept result's kind. */
const OUTPUT = 0;
const LARGE_OUTPUT = 1;
const ERROR = 2;

/** As bytes: deeper data than a value of the store may have is a good answer all the same. */
export function encodeResult(result: CallResult): Uint8Array {
  switch (result.kind) {
    case "output":
      return encode(result.output === undefined ? [OUTPUT] : [OUTPUT, result.output]);
    case "large-output":
      return encode([LARGE_OUTPUT, result.bytes]);
    case "error":
      return encode([ERROR, result.error]);
    default:
      return unreachable(result);
  }
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseCallRecord(value: unknown): CallRecord {
  const parsed = recordSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw damaged(z.prettifyError(parsed.error));
}

function parseResult(bytes: Uint8Array): CallResult {
  const items = decode(bytes, bytes.byteLength);
  const [kind, content] = Array.isArray(items) ? (items as readonly unknown[]) : [];
  if (kind === OUTPUT) return { kind: "output", output: content };
  if (kind === LARGE_OUTPUT && typeof content === "number") return { kind: "large-output", bytes: content };
  if (kind === ERROR && isErrorBody(content)) return { kind: "error", error: content };
  throw damaged("its result is of no kind");
}

function shortened(error: ErrorBody): ErrorBody {
  if (encode(error).byteLength <= KEPT_ERROR_BYTES_MAX) return error;
  const { code, message, outcome } = error;
  const short = { code, message: message.slice(0, KEPT_MESSAGE_LENGTH_MAX) };
  return outcome === undefined ? short : { ...short, outcome };
}

const claimantSchema = z.object({
  node: z.string().transform(parseNodeId),
  uid: z.string().transform(parseNodeUid),
  incarnation: z.int().min(0),
  claim: z.int().min(0),
});
const recordSchema = z.discriminatedUnion("state", [
  z.object({ state: z.literal("claimed"), by: claimantSchema, input: digestSchema }),
  z.object({ state: z.literal("open"), by: claimantSchema }),
  z.object({
    state: z.literal("done"),
    by: claimantSchema,
    input: digestSchema,
    result: z.instanceof(Uint8Array),
  }),
]);

function damaged(reason: string): AetherError {
  return new AetherError("E_DATA_CORRUPT", `the record of a call does not parse: ${reason}`);
}
