// Owns: one request to the node that this page came from, and what its failure means.
// Does not own: when to ask again (live/), how a failure is shown (ui/failure.tsx).
import { after } from "./browser-adapter.ts";

export type Outcome = "not-applied" | "unknown" | undefined;

/** A refusal of the node, or no answer from it. */
export class AnswerError extends Error {
  readonly code: string;
  readonly outcome: Outcome;
  /** 0 when there was no answer. */
  readonly status: number;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(body: {
    readonly code: string;
    readonly message: string;
    readonly outcome?: Outcome;
    readonly details?: Readonly<Record<string, unknown>>;
  }, status: number) {
    super(body.message);
    this.name = "AnswerError";
    this.code = body.code;
    this.outcome = body.outcome;
    this.status = status;
    this.details = body.details ?? {};
  }
}

export interface Ask {
  readonly method?: "GET" | "POST" | "PUT" | "DELETE";
  readonly body?: unknown;
  readonly key?: string;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 10_000;
const NO_ANSWER = 0;

/**
 * The node's answer. Its shape is taken as the reference describes it: the page and the API are of one build, and
 * whatever it says is only shown, as text.
 * @throws AnswerError
 */
export async function ask<T>(path: string, options: Ask = {}): Promise<T> {
  return await (await askText(path, options)).json() as T;
}

/** @throws AnswerError */
export async function askText(path: string, options: Ask = {}): Promise<Response> {
  const { method = "GET", body, key, timeoutMs = TIMEOUT_MS } = options;
  const limit = new AbortController();
  const stop = after(timeoutMs, () => limit.abort());
  const signals = options.signal === undefined ? [limit.signal] : [limit.signal, options.signal];
  try {
    const response = await fetch(path, {
      method,
      signal: AbortSignal.any(signals),
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(key === undefined ? {} : { "idempotency-key": key }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (response.ok) return response;
    throw await refusal(response, method);
  } catch (error) {
    throw error instanceof AnswerError ? error : noAnswer(method, limit.signal.aborted);
  } finally {
    stop();
  }
}

async function refusal(response: Response, method: string): Promise<AnswerError> {
  const { status } = response;
  try {
    const { error } = await response.json() as { readonly error: ConstructorParameters<typeof AnswerError>[0] };
    // That a question has changed nothing goes without saying.
    return new AnswerError(method === "GET" ? { ...error, outcome: undefined } : error, status);
  } catch {
    // ignored: whoever answered is no node, and its status is all there is to say
    const message = `the answer was ${status}, and no error of a node`;
    return new AnswerError({ code: "E_UNAVAILABLE", message }, status);
  }
}

/** What was sent and not answered may have been done. */
function noAnswer(method: string, isLate: boolean): AnswerError {
  const why = isLate ? "did not answer in time" : "cannot be reached, or the connection was lost";
  if (method === "GET") return new AnswerError({ code: "E_UNAVAILABLE", message: `this node ${why}` }, NO_ANSWER);
  const message = `this node ${why}: the request may have been carried out, or not`;
  return new AnswerError({ code: "E_TIMEOUT", message, outcome: "unknown" }, NO_ANSWER);
}

/** One segment of a path. */
export function segment(text: string): string {
  return encodeURIComponent(text);
}

/** As the node has it: no look asks the others, and what it knows is shown without a quorum too. */
export const AS_HERE = { consistency: "local" } as const;

export function query(parameters: Readonly<Record<string, string | number | undefined>>): string {
  const pairs = Object.entries(parameters).flatMap(([name, value]): [string, string][] =>
    (value === undefined || value === "" ? [] : [[name, String(value)]]));
  return pairs.length === 0 ? "" : `?${new URLSearchParams(pairs).toString()}`;
}
