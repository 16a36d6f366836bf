// Owns: values and errors on their way between the code of an agent and its log: plain data of bounded size, the same
// when they were just made and when they come out of the log.
import { AetherError } from "../../base/errors.ts";
import { describeIssue, plainIssues } from "../../base/schema-issues.ts";
import { KiB } from "../../base/units.ts";
import { toPlain, type PlainRefusal } from "../../slices/core/plain-data.ts";
import { describeThrown } from "../../slices/core/thrown-text.ts";
import { encodeForWire } from "../../slices/schema-check.ts";
import type { SchemaShape } from "../../slices/worker/slice-module.ts";
import { JOB_VALUE_BYTES_MAX, PAYLOAD_BYTES_MAX } from "../core/payloads/blob.ts";
import type { JobError } from "../core/rows.ts";

const ERROR_CODE_LENGTH_MAX = 64;
const ERROR_DETAILS_BYTES_MAX = 8 * KiB;

export type Checked =
  { readonly kind: "valid"; readonly data: unknown } | { readonly kind: "invalid"; readonly text: string };

export type Payload =
  /** `value` is what the log has; above 64 KiB it is stored apart. */
  | { readonly kind: "plain"; readonly value: unknown; readonly bytes: number }
  | { readonly kind: "refused"; readonly code: "E_INVALID" | "E_TOO_LARGE"; readonly text: string };

/** Checks at once: what code waits for besides its job would not be the same in another run. */
export function checkNow(schema: SchemaShape, value: unknown): Checked {
  try {
    const outcome = schema.safeParse(value);
    if (outcome.success) return { kind: "valid", data: outcome.data };
    return { kind: "invalid", text: plainIssues(outcome.error.issues).map(describeIssue).join("; ") };
  } catch (thrown) {
    const { name, message } = describeThrown(thrown);
    return { kind: "invalid", text: `its schema threw ${name}: ${message} (schemas of agents check synchronously)` };
  }
}

/** The value as its log has it. */
export function payloadOf(value: unknown, bytesMax = JOB_VALUE_BYTES_MAX): Payload {
  const plain = toPlain(value, bytesMax);
  return plain.kind === "plain" ? plain : refusal(plain);
}

/** The same of a value that may be stored apart. */
export function largePayloadOf(value: unknown): Payload {
  return payloadOf(value, PAYLOAD_BYTES_MAX);
}

/** What the log has of `data`, which the schema gave for `raw`: what its author would pass in. */
export function payloadFor(schema: SchemaShape, data: unknown, raw: unknown): Payload {
  return largePayloadOf(encodeForWire(schema, data, raw));
}

/** A value of the log once more, for code that may change what it gets. */
export function copyOf(value: unknown): unknown {
  const copy = largePayloadOf(value);
  return copy.kind === "plain" ? copy.value : undefined;
}

function refusal(refused: PlainRefusal): Payload {
  if (refused.kind === "too-large") {
    return { kind: "refused", code: "E_TOO_LARGE", text: `above ${refused.limit} bytes: give less, or a reference` };
  }
  const place = refused.path === "" ? "" : ` at ${refused.path}`;
  return { kind: "refused", code: "E_INVALID", text: `${refused.found}${place}, no plain data` };
}

/** What the log has of something that was thrown. Never throws. */
export function jobErrorOf(thrown: unknown): JobError {
  const { name, message } = describeThrown(thrown);
  const code = textField(thrown, "code");
  const details = detailsOf(thrown);
  const isTold = details?.kind === "plain" && Object.keys(details.value as object).length > 0;
  return {
    name, message,
    ...(code === undefined ? {} : { code: code.slice(0, ERROR_CODE_LENGTH_MAX).toWellFormed() }),
    ...(isTold ? { details: details.value as Readonly<Record<string, unknown>> } : {}),
  };
}

/** Of our errors; each package carries its own copy of their class. */
function detailsOf(thrown: unknown): ReturnType<typeof toPlain> | undefined {
  if (thrown instanceof AetherError) return toPlain(thrown.details, ERROR_DETAILS_BYTES_MAX);
  if (textField(thrown, "name") !== "AetherError") return undefined;
  const details: unknown = Reflect.get(thrown as object, "details");
  const isFields = typeof details === "object" && details !== null && !Array.isArray(details);
  return isFields ? toPlain(details, ERROR_DETAILS_BYTES_MAX) : undefined;
}

/** The error that code gets for one in the log: the same in every run, so it knows no stack of another one. */
export function errorFor({ name, message, code, details }: JobError): Error {
  const error = new Error(message);
  error.name = name;
  return Object.assign(error, code === undefined ? {} : { code }, details === undefined ? {} : { details });
}

function textField(thrown: unknown, field: string): string | undefined {
  try {
    const value: unknown = typeof thrown === "object" && thrown !== null ? Reflect.get(thrown, field) : undefined;
    return typeof value === "string" ? value : undefined;
  } catch {
    // ignored: an error that cannot be looked at has no such field.
    return undefined;
  }
}

/** Whether what was thrown says that nothing has happened outside. */
export function saysNotDone(thrown: unknown): boolean {
  try {
    return typeof thrown === "object" && thrown !== null && Reflect.get(thrown, "isNotDone") === true;
  } catch {
    // ignored: then it does not say so.
    return false;
  }
}
