// Owns: talking to a node's HTTP API: addresses, paths, errors with their codes, deadlines.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { ERRORS, type ErrorCode } from "../base/error-catalog.ts";
import { SECOND_MS } from "../base/units.ts";
import type { CliIo } from "./cli-io.ts";
import { firstReady, untilSilent } from "./first-ready.ts";
import { UsageError } from "./usage-error.ts";

export const API_DEFAULT = "http://127.0.0.1:7201";
/** Of a body that is JSON already. */
export const JSON_CONTENT = { "content-type": "application/json" } as const;
const TIMEOUT_MS_DEFAULT = 20_000;
/** Of a node that is to send much: it has broken off, however busy it may be. */
const SILENCE_MS_MAX = 60 * SECOND_MS;
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

export interface BytesOptions {
  readonly signal: AbortSignal;
  /** Between two pieces. */
  readonly silenceMsMax?: number;
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
  /** Those that were named and not given up; which of them is ready is still to be found, or the first one is asked. */
  private urls: readonly string[];
  private choosing: Promise<void> | undefined;

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
    const { timeoutMs = TIMEOUT_MS_DEFAULT } = options;
    const answer: unknown = await this.exchange({ method, path, options, timeoutMs }, (response) => response.json());
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    throw new AetherError("E_VERSION", `${this.url}${path} gave an answer this version does not know; update aether`, {
      cause: parsed.error,
    });
  }

  /** The open response of a stream. The caller's signal ends it. */
  stream(path: string, signal: AbortSignal): Promise<Response> {
    return this.exchange({ method: "GET", path, options: { signal } }, headOf);
  }

  /** What a node has to send, to its end. @throws AetherError as the node says, E_TIMEOUT when it says no more */
  async *bytes(path: string, { signal, silenceMsMax = SILENCE_MS_MAX }: BytesOptions): AsyncGenerator<Uint8Array> {
    const silence = new AbortController();
    const within = async <T>(wanted: () => Promise<T>): Promise<T> => {
      const timer = setTimeout(() => silence.abort(), silenceMsMax);
      try {
        return await wanted();
      } catch (error) {
        if (!silence.signal.aborted) throw this.failureOf("GET", error);
        const message = `${this.url} has sent nothing for ${silenceMsMax / SECOND_MS} s`;
        throw new AetherError("E_TIMEOUT", message, { outcome: "none", cause: error });
      } finally {
        clearTimeout(timer);
      }
    };
    const options = { signal: AbortSignal.any([signal, silence.signal]) };
    const { body } = await within(() => this.exchange({ method: "POST", path, options }, headOf));
    const bytes: ReadableStream<Uint8Array> = body ?? new ReadableStream();
    const reader = bytes.getReader();
    try {
      for (;;) {
        const { done, value } = await within(() => reader.read());
        if (done) return;
        yield value;
      }
    } finally {
      // ignored: the caller knows why it stops.
      await reader.cancel().catch(() => undefined);
    }
  }

  /** With the first node that is ready; with the next one when that falls silent and nothing is done twice by it. */
  private async exchange<T>(exchange: Exchange, take: (response: Response) => Promise<T>): Promise<T> {
    const { method, options: { signal } } = exchange;
    for (;;) {
      // Before the time of the request begins: it is that of the node that is asked.
      await this.choose(signal);
      const { url } = this;
      const silence = new AbortController();
      const over = new AbortController();
      if (this.urls.length > 1 && mayRepeat(exchange)) {
        untilSilent(this.io, url, over.signal).then(() => silence.abort(), () => undefined);
      }
      try {
        return await this.attempt(exchange, silence.signal, take);
      } catch (error) {
        if (!this.mayMove(exchange, error, silence.signal)) throw this.failureOf(method, error);
        this.giveUp(url);
      } finally {
        over.abort();
      }
    }
  }

  private async attempt<T>(
    { method, path, options, timeoutMs }: Exchange, silence: AbortSignal, take: (response: Response) => Promise<T>,
  ): Promise<T> {
    const ends = [silence, options.signal, timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs)];
    const { json } = options;
    const body = json === undefined ? options.body : JSON.stringify(json);
    const response = await fetch(`${this.url}${path}`, {
      method,
      headers: { ...(json === undefined ? {} : JSON_CONTENT), ...options.headers },
      ...(body === undefined ? {} : { body }),
      signal: AbortSignal.any(ends.filter((end) => end !== undefined)),
    });
    if (response.ok) return await take(response);
    throw refusalOf(response.status, await response.text());
  }

  /** Once for all requests, until that node is given up. */
  private async choose(signal: AbortSignal | undefined): Promise<void> {
    if (this.urls.length === 1) return;
    this.choosing ??= this.chooseNow(signal);
    await this.choosing;
  }

  private async chooseNow(signal: AbortSignal | undefined): Promise<void> {
    const chosen = await firstReady(this.io, this.urls, signal);
    this.urls = [chosen, ...this.urls.filter((url) => url !== chosen)];
  }

  /** Whether another node is to be asked instead: there is one, and what this one was sent is none of its business. */
  private mayMove(exchange: Exchange, error: unknown, silence: AbortSignal): boolean {
    if (this.urls.length === 1 || exchange.options.signal?.aborted === true) return false;
    if (wasNotSent(error)) return true;
    return mayRepeat(exchange) && (silence.aborted || isLostConnection(error));
  }

  /** Of several requests that it had, the first one says so. */
  private giveUp(url: string): void {
    if (this.url !== url) return;
    this.io.report(`${url} does not answer any more: going on elsewhere`);
    this.urls = this.urls.slice(1);
    this.choosing = undefined;
  }

  private failureOf(method: string, error: unknown): unknown {
    if (error instanceof AetherError || !(error instanceof Error) || error.name === "AbortError") return error;
    const outcome = method === "GET" ? "none" : "unknown";
    if (error.name === "TimeoutError") {
      return new AetherError("E_TIMEOUT", `${this.url} did not answer in time${ELSEWHERE}`, { outcome, cause: error });
    }
    const { cause } = error;
    if (wasNotSent(error)) {
      return new AetherError("E_UNAVAILABLE", `no node answers at ${this.url}; start one, or name another with --api`, {
        cause: error,
      });
    }
    const found = cause instanceof Error ? cause.message : error.message;
    return new AetherError("E_TIMEOUT", `the connection to ${this.url} was lost: ${found}`, { outcome, cause: error });
  }
}

/** What is sent to a node, and to the next one if that may be. */
interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly options: ApiRequestOptions;
  /** None: of a stream. */
  readonly timeoutMs?: number;
}

function headOf(response: Response): Promise<Response> {
  return Promise.resolve(response);
}

/** A question, or what a node knows again by its key. */
function mayRepeat({ method, options: { headers = {} } }: Exchange): boolean {
  return method === "GET" || Object.keys(headers).some((name) => name.toLowerCase() === "idempotency-key");
}

/** What `fetch` throws when it has no connection, or loses it. */
function isLostConnection(error: unknown): error is TypeError {
  return error instanceof TypeError;
}

function wasNotSent(error: unknown): boolean {
  if (!isLostConnection(error)) return false;
  const { cause } = error;
  // Some ports are closed to every HTTP client, which says so without a code.
  const found = cause instanceof Error ? cause.message : error.message;
  return found === "bad port" || (cause instanceof Error && "code" in cause && NOT_SENT.includes(cause.code));
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
