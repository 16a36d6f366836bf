// Owns: a server that speaks like the services of models, on loopback: what it was asked, and answers that a test
// scripts down to their bytes: statuses, streams in pieces, slow ones, cut ones.
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { openWebServer, type WebServer } from "./web-server.ts";

export interface StubRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
}

export interface StubAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Bytes per write, with this much time between two; the whole at once when absent. */
  readonly pace?: { readonly bytes: number; readonly everyMs: number };
  /** The connection is cut after so many bytes of the body. */
  readonly cutAfter?: number;
  /** Never answered. */
  readonly hangs?: boolean;
}

export interface LlmStub extends WebServer {
  readonly requests: StubRequest[];
  /** Connections that the other side has ended. */
  readonly left: { count: number };
  /** What comes next; the last answer stays. */
  answer(...answers: readonly StubAnswer[]): void;
}

export async function openLlmStub(): Promise<LlmStub> {
  const requests: StubRequest[] = [];
  const left = { count: 0 };
  let answers: readonly StubAnswer[] = [];
  const server = await openWebServer((request, response) => {
    response.on("close", () => void (response.writableFinished || (left.count += 1)));
    void handle(request, response);
  });
  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await bodyOf(request);
    requests.push({ path: request.url ?? "", headers: request.headers, body: JSON.parse(text || "null") as unknown });
    const [answer = { status: 500 }, ...rest] = answers;
    if (rest.length > 0) answers = rest;
    await send(response, answer);
  }
  return { ...server, requests, left, answer: (...next) => void (answers = next) };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks).toString("utf8");
}

async function send(response: ServerResponse, answer: StubAnswer): Promise<void> {
  const { status = 200, headers = {}, body = "", pace, cutAfter, hangs = false } = answer;
  if (hangs) return;
  response.writeHead(status, { "content-type": "text/event-stream", ...headers });
  const bytes = Buffer.from(body).subarray(0, cutAfter);
  const size = pace?.bytes ?? Math.max(1, bytes.length);
  for (let at = 0; at < bytes.length && !response.destroyed; at += size) {
    await new Promise<void>((resolve) => void response.write(bytes.subarray(at, at + size), () => resolve()));
    if (pace !== undefined) await sleep(pace.everyMs);
  }
  if (cutAfter === undefined) response.end();
  else response.destroy();
}

/** The body of a stream of these events. */
export function sseOf(...events: readonly unknown[]): string {
  return events.map((event) => `data: ${typeof event === "string" ? event : JSON.stringify(event)}\n\n`).join("");
}

/** A stream of OpenAI's: the texts one after the other, the usage when it is given. */
export function openAiStream(
  texts: readonly string[],
  { usage, finish = "stop" }: { readonly usage?: readonly [number, number]; readonly finish?: string } = {},
): string {
  const parts = texts.map((content) => ({ model: "stub-1", choices: [{ delta: { content } }] }));
  const end = { model: "stub-1", choices: [{ delta: {}, finish_reason: finish }] };
  const counted = usage === undefined
    ? []
    : [{ model: "stub-1", choices: [], usage: { prompt_tokens: usage[0], completion_tokens: usage[1] } }];
  return sseOf(...parts, end, ...counted, "[DONE]");
}
