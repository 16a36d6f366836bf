// Owns: requests of the HTTP API that come as messages of a client's connection: the same routes, checks and errors.
// Does not own: the routes (routes/), the connection (client-session.ts).
import { EventEmitter } from "node:events";
import { Readable } from "node:stream";
import { AetherError, type ErrorBody } from "../base/errors.ts";
import type { HttpBindings } from "./api-request.ts";

export interface SessionRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly timeoutMs: number;
  /** JSON. */
  readonly body?: string | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly traceparent?: string | undefined;
}

export interface SessionAnswer {
  readonly status: number;
  /** JSON. */
  readonly body: string;
}

const API_PREFIX = "/v1/";
/** The routes look at the path alone. */
const LOCAL = "http://localhost";

type Answer = (request: Request, bindings: HttpBindings) => Response | Promise<Response>;

export class SessionRequests {
  private readonly answerHttp: Answer;

  constructor(answerHttp: Answer) {
    this.answerHttp = answerHttp;
  }

  /** @throws AetherError as the API refuses, E_INVALID for what is not answered with JSON */
  async answer(sent: SessionRequest, signal: AbortSignal): Promise<SessionAnswer> {
    const { path, method, body } = sent;
    if (!path.startsWith(API_PREFIX) || !URL.canParse(path, LOCAL)) {
      const shown = path.slice(0, 100);
      throw new AetherError("E_INVALID", `"${shown}" is no path of the API: they begin with ${API_PREFIX}`);
    }
    const bytes = Buffer.from(body ?? "", "utf8");
    const headers = headersOf(sent);
    const request = new Request(new URL(path, LOCAL), { method, headers });
    const outgoing = Object.assign(new EventEmitter(), { destroyed: false, writableFinished: false });
    const onAbort = (): void => {
      outgoing.destroyed = true;
      outgoing.emit("close");
    };
    signal.addEventListener("abort", onAbort);
    try {
      const incoming = Object.assign(Readable.from(bytes.byteLength === 0 ? [] : [bytes]), { url: path, headers });
      return await read(await this.answerHttp(request, { incoming, outgoing }));
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}


function headersOf({ timeoutMs, idempotencyKey, traceparent }: SessionRequest): Readonly<Record<string, string>> {
  return {
    "content-type": "application/json",
    "x-deadline-ms": String(timeoutMs),
    ...(idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey }),
    ...(traceparent === undefined ? {} : { traceparent }),
  };
}

async function read(response: Response): Promise<SessionAnswer> {
  if (!(response.headers.get("content-type") ?? "").startsWith("application/json")) {
    // ignored: a stream that cannot be cancelled has ended already
    response.body?.cancel().catch(() => undefined);
    throw new AetherError("E_INVALID", "this is answered over HTTP only: it is a stream, or not JSON", {
      outcome: "none",
    });
  }
  const body = await response.text();
  if (response.ok) return { status: response.status, body };
  throw AetherError.fromBody((JSON.parse(body) as { readonly error: ErrorBody }).error);
}
