// Owns: one HTTP request as the routes see it: parsed parts, a bounded body, a signal. Hides the HTTP framework.
import type { Context } from "hono";
import type { z } from "zod";
import { AetherError, toAetherError } from "../base/errors.ts";
import type { Span } from "../env/tracing.ts";
import { BodyBuffer } from "./body-buffer.ts";
import { BODY_BYTES_MAX, TIMEOUT_MS_MAX } from "./limits.ts";
import { parseInput } from "./parse-input.ts";
import type { ReceivingPlace } from "./receiving-room.ts";

/** The parts of Node's request and response that are used here; the server puts them into the context. */
export interface HttpBindings {
  readonly incoming: NodeJS.ReadableStream & {
    readonly url?: string | undefined;
    readonly readableEnded: boolean;
    readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  };
  readonly outgoing: NodeJS.EventEmitter & { readonly destroyed: boolean; readonly writableFinished: boolean };
}

export type HttpContext = Context<{ Bindings: HttpBindings }>;

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

export interface ApiRequestParts {
  readonly context: HttpContext;
  readonly routePath: string;
  /** Where its body is counted. */
  readonly place: ReceivingPlace;
  /** Of this request, where traces are recorded. */
  readonly span: Pick<Span, "traceparent"> | undefined;
}

export class ApiRequest {
  private readonly context: HttpContext;
  private readonly routePath: string;
  private readonly place: ReceivingPlace;
  private readonly span: Pick<Span, "traceparent"> | undefined;

  constructor({ context, routePath, place, span }: ApiRequestParts) {
    this.context = context;
    this.routePath = routePath;
    this.place = place;
    this.span = span;
  }

  header(name: string): string | undefined {
    return this.context.req.header(name);
  }

  /** One segment of the route's path, percent-decoded. */
  param(name: string): string {
    const index = this.routePath.split("/").indexOf(`:${name}`);
    return percentDecoded(this.rawPath().split("/")[index] ?? "");
  }

  /** The path behind `prefix`, percent-decoded. */
  pathAfter(prefix: string): string {
    return percentDecoded(this.rawPath().slice(prefix.length));
  }

  /** Every parameter of the query, in the order in which they were sent. */
  queryPairs(): readonly (readonly [string, string])[] {
    const url = this.context.env.incoming.url ?? "/";
    const start = url.indexOf("?");
    return start === -1 ? [] : [...new URLSearchParams(url.slice(start))];
  }

  /** The query, in which only the schema's parameters may occur. */
  query<T>(schema: z.ZodType<T>): T {
    return parseInput(schema, this.context.req.query(), "the query");
  }

  /** What the caller gives this request, from `X-Deadline-Ms`. */
  timeoutMs(defaultMs: number): number {
    return this.ownTimeoutMs() ?? defaultMs;
  }

  /** The same; undefined when the caller says nothing. */
  ownTimeoutMs(): number | undefined {
    const text = this.header("x-deadline-ms");
    if (text === undefined) return undefined;
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= 1 && value <= TIMEOUT_MS_MAX) return value;
    throw new AetherError("E_INVALID", `X-Deadline-Ms is "${text}": use milliseconds from 1 to ${TIMEOUT_MS_MAX}`);
  }

  /** The W3C trace context of what this request causes. */
  traceparent(): string | undefined {
    return this.span?.traceparent ?? sentTraceparent(this.context);
  }

  /** Aborts when the client is gone before it has its answer. */
  signal(): AbortSignal {
    const { outgoing } = this.context.env;
    const gone = new AbortController();
    if (outgoing.destroyed) gone.abort();
    outgoing.once("close", () => {
      if (!outgoing.writableFinished) gone.abort();
    });
    return gone.signal;
  }

  async readJson(bytesMax = BODY_BYTES_MAX): Promise<unknown> {
    return parseJson(await this.readBytes(bytesMax));
  }

  /** The JSON body, or undefined when there is none. */
  async readOptionalJson(bytesMax = BODY_BYTES_MAX): Promise<unknown> {
    const bytes = await this.readBytes(bytesMax);
    return bytes.byteLength === 0 ? undefined : parseJson(bytes);
  }

  /**
   * The whole body.
   * @throws AetherError E_TOO_LARGE as soon as it is known to be longer than `bytesMax`, E_OVERLOADED when those of all
   * requests are too much
   */
  async readBytes(bytesMax: number): Promise<Buffer> {
    const { incoming } = this.context.env;
    const announced = Number(incoming.headers["content-length"] ?? 0);
    if (announced > bytesMax) throw bodyTooLarge(bytesMax, announced);
    const body = new BodyBuffer(announced);
    await new Promise<void>((resolve, reject) => {
      incoming.on("data", (chunk: Buffer) => {
        try {
          const length = body.byteLength + chunk.byteLength;
          if (length > bytesMax) throw bodyTooLarge(bytesMax, length);
          this.place.add(chunk.byteLength);
          body.add(chunk);
        } catch (error) {
          // The rest is drained unread, so that the answer can still be delivered.
          incoming.removeAllListeners("data");
          incoming.resume();
          reject(toAetherError(error));
        }
      });
      incoming.once("end", resolve);
      incoming.once("error", (error) => reject(bodyCut(error)));
      incoming.once("close", () => {
        if (!incoming.readableEnded) reject(bodyCut(undefined));
      });
    });
    return body.take();
  }

  private rawPath(): string {
    return sentPath(this.context);
  }
}

/** As the standard wants it, a malformed one counts as absent. */
export function sentTraceparent(context: HttpContext): string | undefined {
  const text = context.req.header("traceparent");
  return text !== undefined && TRACEPARENT.test(text) ? text : undefined;
}

/** The path as it was sent: nothing is decoded, and no `..` is resolved. */
export function sentPath(context: HttpContext): string {
  // Proxies ask for an absolute address.
  const url = (context.env.incoming.url ?? "/").replace(/^[a-z]+:\/\/[^/?]*/i, "");
  const end = url.indexOf("?");
  return end === -1 ? url : url.slice(0, end);
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw new AetherError("E_INVALID", `"${text}" in the path is not well percent-encoded UTF-8`, { cause: error });
  }
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const reason = error instanceof Error ? error.message : "unreadable";
    throw new AetherError("E_INVALID", `the body is not JSON: ${reason}`, { cause: error });
  }
}

function bodyTooLarge(limit: number, actual: number): AetherError {
  return new AetherError("E_TOO_LARGE", `the body has ${actual} bytes or more, the limit is ${limit}`, {
    details: { limit, actual },
  });
}

function bodyCut(cause: unknown): AetherError {
  return new AetherError("E_INVALID", "the connection ended in the middle of the body; nothing was done", { cause });
}
