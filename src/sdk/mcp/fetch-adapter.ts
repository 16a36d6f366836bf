// Owns: the requests that carry an MCP connection over HTTP: each POST over a connection of its own, sent once, with
// the last look at the fence right before its first byte; answers of bounded size; no redirects.
import { AetherError } from "../../base/errors.ts";
import { ANSWER_BYTES_MAX, fieldOf, parseJson } from "../http/answers.ts";
import { post, type PostAnswer } from "../http/post-adapter.ts";
import { SessionEndedError, type McpCall } from "./connection.ts";

/** Where a call carries its effect id. */
export const EFFECT_ID_META = "aether/effect-id";

const ANSWER_HEADERS = ["content-type", "mcp-session-id", "www-authenticate"] as const;
const NO_BODY = new Set([204, 205, 304]);

export interface CallUnderWay {
  readonly call: McpCall;
  /** Aborts when it has ended. */
  readonly over: AbortSignal;
}

/** `underWay` has the calls by effect id. */
export function createMcpFetch(
  underWay: ReadonlyMap<string, CallUnderWay>,
): (url: string | URL, init?: RequestInit) => Promise<Response> {
  return async (url, init = {}) => {
    const headers = Object.fromEntries(new Headers(init.headers));
    if (init.method !== "POST") return bounded(await fetch(url, { ...init, redirect: "error" }));
    const body = typeof init.body === "string" ? init.body : "";
    const { call, over } = callOf(body, underWay);
    const signals = [init.signal, call?.signal, over].filter((signal) => signal instanceof AbortSignal);
    const key = call?.effectId === undefined ? {} : { "idempotency-key": call.effectId };
    const answer = await post({
      url: String(url),
      headers: { ...headers, ...key },
      body,
      signal: AbortSignal.any(signals),
      beforeWrite: () => call?.beforeWrite(),
    });
    const isForgotten = answer.status === 404 && headers["mcp-session-id"] !== undefined;
    if (isForgotten) throw new SessionEndedError("the server does not know the session any more");
    return responseOf(answer, over);
  };
}

/** Nothing for what is no call, or a question. @throws AetherError E_UNAVAILABLE for a call that nobody waits for */
function callOf(body: string, underWay: ReadonlyMap<string, CallUnderWay>): Partial<CallUnderWay> {
  const message = parseJson(body);
  if (fieldOf(message, "method") !== "tools/call") return {};
  const id = fieldOf(fieldOf(fieldOf(message, "params"), "_meta"), EFFECT_ID_META);
  if (typeof id !== "string") return {};
  const known = underWay.get(id);
  if (known !== undefined) return known;
  throw new AetherError("E_UNAVAILABLE", "the call was given up before anything was sent", { outcome: "not-applied" });
}

function responseOf(answer: PostAnswer, over: AbortSignal | undefined): Response {
  const { status } = answer;
  if (status >= 300 && status < 400) {
    throw new AetherError("E_INVALID", `the server answered ${status}: name the address that it moved to`, {
      outcome: "unknown",
    });
  }
  const headers = ANSWER_HEADERS.flatMap((name): [string, string][] => {
    const value = answer.header(name);
    return value === undefined ? [] : [[name, value]];
  });
  const stream = ReadableStream.from(untilOver(answer.chunks, over));
  return new Response(NO_BODY.has(status) ? null : limited(stream), { status, headers });
}

async function* untilOver(
  chunks: AsyncIterable<Uint8Array>, over: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (error) {
    // ignored: nobody reads on when the call has ended.
    if (over?.aborted !== true) throw error;
  }
}

function bounded(response: Response): Response {
  const { status, statusText, headers, body } = response;
  return new Response(body === null ? null : limited(body), { status, statusText, headers });
}

function limited(stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  let size = 0;
  return stream.pipeThrough(new TransformStream<Uint8Array, Uint8Array>({
    transform: (chunk, controller) => {
      size += chunk.length;
      if (size <= ANSWER_BYTES_MAX) return controller.enqueue(chunk);
      const found = `an answer has more than ${ANSWER_BYTES_MAX} bytes: ask for less`;
      controller.error(new AetherError("E_TOO_LARGE", found, {
        outcome: "unknown", details: { limit: ANSWER_BYTES_MAX },
      }));
    },
  }));
}
