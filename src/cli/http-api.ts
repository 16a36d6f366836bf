// Owns: talking to a node's HTTP API: addresses, paths, errors with their codes, deadlines.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { ERRORS, type ErrorCode } from "../base/error-catalog.ts";
import type { CliIo } from "./cli-io.ts";
import { firstReady } from "./first-ready.ts";
import { UsageError } from "./usage-error.ts";

export const API_DEFAULT = "http://127.0.0.1:7201";
/** Of a body that is JSON already. */
export const JSON_CONTENT = { "content-type": "application/json" } as const;
const TIMEOUT_MS_DEFAULT = 20_000;
/** More than a cluster has voters; each that hangs costs two seconds. */
const ADDRESSES_MAX = 32;

export interface ApiRequestOptions {
  /** In place of `body`: is sent as JSON. */
  readonly json?: unknown;
  readonly body?: string | Buffer<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const errorSchema = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    outcome: z.enum(["not-applied", "unknown"]).optional(),
    details: z.record(z.string(), z.unknown()).optional(),
  }),
});

const ELSEWHERE = "; other nodes may: name several with --api URL,URL";

/** Errors that say: no connection was made, nothing was sent. */
const NOT_SENT: readonly unknown[] = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"];

export class HttpApi {
  private readonly io: CliIo;
  /** One, unless it is still to be found which of them is ready. */
  private urls: readonly string[];
  private choosing: Promise<string> | undefined;

  /** `option` is `--api`, if it was given. @throws UsageError for an address that is none. */
  constructor(io: CliIo, option: string | undefined) {
    this.io = io;
    this.urls = parseAddresses(option ?? io.env["AETHER_API"] ?? API_DEFAULT);
  }

  /** Of the node that is asked. */
  get url(): string {
    return this.urls[0] ?? API_DEFAULT;
  }

  get<T>(schema: z.ZodType<T>, path: string, options: ApiRequestOptions = {}): Promise<T> {
    return this.request(schema, "GET", path, options);
  }

  /** Sends one request and parses its answer. @throws AetherError as the node says, or E_UNAVAILABLE, E_TIMEOUT. */
  async request<T>(schema: z.ZodType<T>, method: string, path: string, options: ApiRequestOptions = {}): Promise<T> {
    const send = (): Promise<Response> => this.send(method, path, options);
    const answer: unknown = await this.read(method, send, (response) => response.json());
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    throw new AetherError("E_VERSION", `${this.url}${path} gave an answer this version does not know; update aether`, {
      cause: parsed.error,
    });
  }

  /** The open response of a stream. The caller's signal ends it. */
  stream(path: string, signal: AbortSignal, method: "GET" | "POST" = "GET"): Promise<Response> {
    const send = async (): Promise<Response> => {
      await this.choose(signal);
      return this.fetch(method, path, { signal });
    };
    return this.read("GET", send, (response) => Promise.resolve(response));
  }

  /** What comes over a stream, to its end. */
  async *bytes(path: string, signal: AbortSignal, method: "GET" | "POST" = "GET"): AsyncGenerator<Uint8Array> {
    const { body } = await this.stream(path, signal, method);
    if (body === null) return;
    try {
      yield* body as AsyncIterable<Uint8Array>;
    } catch (error) {
      throw this.failureOf("GET", error);
    }
  }

  private async send(method: string, path: string, options: ApiRequestOptions): Promise<Response> {
    const { timeoutMs = TIMEOUT_MS_DEFAULT, signal } = options;
    // Before the time of the request begins: it is that of the node that is asked.
    await this.choose(signal);
    const timeout = AbortSignal.timeout(timeoutMs);
    const ends = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
    return this.fetch(method, path, { ...options, signal: ends });
  }

  private fetch(method: string, path: string, options: ApiRequestOptions): Promise<Response> {
    const { json, signal } = options;
    const body = json === undefined ? options.body : JSON.stringify(json);
    const headers = { ...(json === undefined ? {} : JSON_CONTENT), ...options.headers };
    return fetch(`${this.url}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Once for all requests. */
  private async choose(signal: AbortSignal | undefined): Promise<void> {
    if (this.urls.length === 1) return;
    this.choosing ??= firstReady(this.io, this.urls, signal);
    this.urls = [await this.choosing];
  }

  private async read<T>(
    method: string,
    send: () => Promise<Response>,
    take: (response: Response) => Promise<T>,
  ): Promise<T> {
    try {
      const response = await send();
      if (response.ok) return await take(response);
      throw refusalOf(response.status, await response.text());
    } catch (error) {
      throw this.failureOf(method, error);
    }
  }

  private failureOf(method: string, error: unknown): unknown {
    if (error instanceof AetherError || !(error instanceof Error) || error.name === "AbortError") return error;
    const outcome = method === "GET" ? "none" : "unknown";
    if (error.name === "TimeoutError") {
      return new AetherError("E_TIMEOUT", `${this.url} did not answer in time${ELSEWHERE}`, { outcome, cause: error });
    }
    const { cause } = error;
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    const found = cause instanceof Error ? cause.message : error.message;
    // Some ports are closed to every HTTP client, which says so without a code.
    if (NOT_SENT.includes(code) || found === "bad port") {
      return new AetherError("E_UNAVAILABLE", `no node answers at ${this.url}; start one, or name another with --api`, {
        cause: error,
      });
    }
    return new AetherError("E_TIMEOUT", `the connection to ${this.url} was lost: ${found}`, { outcome, cause: error });
  }
}

function parseAddresses(text: string): readonly string[] {
  const urls = text.split(",").map((part) => part.trim());
  for (const url of urls) {
    if (URL.canParse(url) && /^https?:/.test(url)) continue;
    throw new UsageError(`"${url}" is not the address of an API: use one like ${API_DEFAULT}, or several with commas`);
  }
  if (urls.length > ADDRESSES_MAX) throw new UsageError(`at most ${ADDRESSES_MAX} addresses of an API can be given`);
  return urls.map((url) => url.replace(/\/+$/, ""));
}

function refusalOf(status: number, text: string): AetherError {
  const refusal = parseErrorText(text);
  return refusal ?? new AetherError("E_UNAVAILABLE", `this is no Aether node: it answered with status ${status}`);
}

/** The error in the text of an answer or event; undefined when there is none in it. */
export function parseErrorText(text: string): AetherError | undefined {
  const parsed = errorSchema.safeParse(parseJsonOrNone(text));
  if (!parsed.success) return undefined;
  const { code, message, outcome, details } = parsed.data.error;
  const isKnown = Object.hasOwn(ERRORS, code);
  return AetherError.fromBody({
    code: isKnown ? (code as ErrorCode) : "E_INTERNAL",
    message: isKnown ? message : `${code}: ${message}`,
    ...(outcome === undefined ? {} : { outcome }),
    ...(details === undefined ? {} : { details }),
  });
}

function parseJsonOrNone(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // ignored: what is no JSON is told by its status
    return undefined;
  }
}
