// Owns: what the HTTP answer of a service means: its text within a bound, and the error for a status that is none of
// success. Does not own: the connection (post-adapter.ts).
import type { ErrorCode } from "../../base/error-catalog.ts";
import { AetherError } from "../../base/errors.ts";
import { MiB, SECOND_MS } from "../../base/units.ts";
import type { PostAnswer } from "./post-adapter.ts";

/** Of an answer that is read as a whole. */
export const ANSWER_BYTES_MAX = 4 * MiB;
/** Of the text of a service that goes into an error. */
const SAID_LENGTH_MAX = 500;

/** @throws AetherError E_TOO_LARGE, E_UNAVAILABLE */
export async function readText(answer: PostAnswer): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.chunks) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > ANSWER_BYTES_MAX) {
      throw new AetherError("E_TOO_LARGE", `an answer has more than ${ANSWER_BYTES_MAX} bytes: ask for less`, {
        outcome: "unknown", details: { limit: ANSWER_BYTES_MAX },
      });
    }
  }
  return Buffer.concat(chunks).toString("utf8");
}

export interface Refusal {
  readonly error: AetherError;
  /** What the body has, as JSON; undefined when it is none. */
  readonly body: unknown;
}

/** What stands for an answer that is no success; `who` says whose it is. Its body is read. */
export async function refusalOf(who: string, answer: PostAnswer): Promise<Refusal> {
  const { status } = answer;
  // ignored: the status says enough.
  const text = await readText(answer).catch(() => "");
  const body = parseJson(text);
  const said = saidIn(body, text);
  const code = codeOf(status);
  const retryAfterMs = retryAfterOf(answer);
  const advice = code === "E_OVERLOADED" || code === "E_UNAVAILABLE"
    ? `: try again ${retryAfterMs === undefined ? "later" : `in ${retryAfterMs} ms`}`
    : "";
  const error = new AetherError(code, `${who} answered ${status}${said === "" ? "" : ` (${said})`}${advice}`, {
    outcome: status >= 500 || status === 408 ? "unknown" : "not-applied",
    details: { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) },
  });
  return { error, body };
}

function codeOf(status: number): ErrorCode {
  switch (status) {
    case 401:
      return "E_UNAUTHENTICATED";
    case 403:
      return "E_FORBIDDEN";
    case 404:
      return "E_NOT_FOUND";
    case 413:
      return "E_TOO_LARGE";
    // 529 is Anthropic's.
    case 429:
    case 529:
      return "E_OVERLOADED";
    case 408:
      return "E_UNAVAILABLE";
    default:
      return status >= 500 ? "E_UNAVAILABLE" : "E_INVALID";
  }
}

/** How long to wait, if it says so: in seconds, in milliseconds, or until a time by the clock of the service itself. */
function retryAfterOf(answer: PostAnswer): number | undefined {
  const exact = numberOf(answer.header("retry-after-ms"));
  if (exact !== undefined) return exact;
  const text = answer.header("retry-after");
  const seconds = numberOf(text);
  if (seconds !== undefined) return Math.round(seconds * SECOND_MS);
  const waitMs = Date.parse(text ?? "") - Date.parse(answer.header("date") ?? "");
  return Number.isNaN(waitMs) ? undefined : Math.max(0, waitMs);
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}(\.\d{1,6})?$/.test(text.trim()) ? Number(text) : undefined;
}

/** What the service says, without what surrounds it. */
function saidIn(body: unknown, text: string): string {
  const error = fieldOf(body, "error");
  const message = fieldOf(error, "message") ?? error ?? fieldOf(body, "message");
  const said = typeof message === "string" ? message : text;
  return said.replace(/\s+/g, " ").trim().slice(0, SAID_LENGTH_MAX);
}

/** Undefined for what is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // ignored: it is none.
    return undefined;
  }
}

export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}

/** A text field; empty when it is none. */
export function textOf(value: unknown, name: string): string {
  const text = fieldOf(value, name);
  return typeof text === "string" ? text : "";
}

/** A count; undefined when it is none. */
export function countOf(value: unknown, name: string): number | undefined {
  const count = fieldOf(value, name);
  return typeof count === "number" && Number.isSafeInteger(count) && count >= 0 ? count : undefined;
}
