// Owns: one POST over a connection of its own: no redirect, no second attempt, and a last look at the fence once the
// connection stands, right before the first byte of the request is written.
import { request as requestHttp, type ClientRequest, type IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { AetherError } from "../../base/errors.ts";

export interface PostRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signal: AbortSignal;
  /** Called when the connection stands. What it throws is thrown, and nothing was sent. */
  beforeWrite(): void;
}

export interface PostAnswer {
  readonly status: number;
  header(name: string): string | undefined;
  /** Fails with E_UNAVAILABLE when the connection ends before the answer does. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

/**
 * Answers once the head of the answer is there, whatever its status.
 * @throws AetherError E_INVALID for a URL that is not http or https; E_UNAVAILABLE when nobody answers, with outcome
 *   `not-applied` when nothing was sent; what `signal` gives as its reason
 */
export function post(request: PostRequest): Promise<PostAnswer> {
  const { url, headers, body, signal } = request;
  signal.throwIfAborted();
  const { send, connected } = clientFor(url);
  return new Promise((resolve, reject) => {
    let isSent = false;
    // No pool: on a connection that the other side is closing nobody knows whether a request was taken.
    const outgoing = send(url, {
      method: "POST", agent: false, headers: { ...headers, "content-length": String(Buffer.byteLength(body)) },
    });
    const abort = (): void => void outgoing.destroy();
    signal.addEventListener("abort", abort, { once: true });
    const fail = (error: unknown): void => {
      signal.removeEventListener("abort", abort);
      reject(signal.aborted ? signal.reason : error);
    };
    const write = (): void => {
      try {
        request.beforeWrite();
      } catch (error) {
        outgoing.destroy();
        return fail(error);
      }
      isSent = true;
      outgoing.end(body);
    };
    outgoing.on("socket", (socket) => socket.once(connected, write));
    outgoing.on("error", (error) => fail(lost(url, error, isSent ? "sent" : "not sent")));
    outgoing.on("response", (incoming) => resolve(answerOf(outgoing, incoming, signal, abort)));
  });
}

function clientFor(url: string): { readonly send: typeof requestHttp; readonly connected: string } {
  const protocol = URL.canParse(url) ? new URL(url).protocol : "";
  if (protocol === "http:") return { send: requestHttp, connected: "connect" };
  if (protocol === "https:") return { send: requestHttps, connected: "secureConnect" };
  throw new AetherError("E_INVALID", "cannot send a request: use an http:// or https:// address");
}

function answerOf(
  outgoing: ClientRequest, incoming: IncomingMessage, signal: AbortSignal, abort: () => void,
): PostAnswer {
  async function* read(): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of incoming) yield chunk as Uint8Array;
    } catch (error) {
      throw signal.aborted ? signal.reason : lost(outgoing.host, error, "sent");
    } finally {
      signal.removeEventListener("abort", abort);
      outgoing.destroy();
    }
    signal.throwIfAborted();
  }
  return {
    status: incoming.statusCode ?? 0,
    header: (name) => {
      const value = incoming.headers[name];
      return Array.isArray(value) ? value[0] : value;
    },
    chunks: { [Symbol.asyncIterator]: read },
  };
}

function lost(place: string, error: unknown, how: "sent" | "not sent"): AetherError {
  const host = URL.canParse(place) ? new URL(place).host : place;
  const text = error instanceof Error && error.message !== "" ? error.message : codeOf(error);
  const message = how === "sent"
    ? `the connection to ${host} was lost before the answer was there (${text})`
    : `nobody answers at ${host} (${text}): nothing was sent`;
  return new AetherError("E_UNAVAILABLE", message, {
    outcome: how === "sent" ? "unknown" : "not-applied", cause: error, details: { isSent: how === "sent" },
  });
}

function codeOf(error: unknown): string {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : "no reason given";
}
