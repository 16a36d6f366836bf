// Owns: requests of the HTTP API by a client over its connection: JSON there and back.
import type { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { API_SINCE } from "../api/protocol.ts";
import { count, list, text } from "../api/core/message-fields.ts";
import type { RequestEffect } from "./core/retry.ts";
import type { Multiplexer } from "./multiplexer.ts";

export interface ApiCall {
  /** For messages, such as `start a job of claims`. */
  readonly what: string;
  readonly effect: Exclude<RequestEffect, "once">;
  readonly method: "GET" | "POST";
  /** From `/v1/` on, with its query. */
  readonly path: string;
  readonly body?: unknown;
  readonly idempotencyKey?: string | undefined;
  readonly traceparent?: string | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface ApiAnswer<T> {
  readonly status: number;
  readonly value: T;
}

/** @throws AetherError as the node says, E_INVALID for a body that JSON does not have, E_TIMEOUT */
export async function askApi<T>(requests: Multiplexer, schema: z.ZodType<T>, call: ApiCall): Promise<ApiAnswer<T>> {
  const { what, effect, method, path, idempotencyKey, traceparent, timeoutMs, signal } = call;
  const body = call.body === undefined ? undefined : jsonBody(what, call.body);
  const result = await requests.request({
    what,
    effect,
    persistence: "serve",
    versionMin: API_SINCE,
    bytes: body?.length ?? 0,
    timeoutMs,
    signal,
    message: (id, leftMs) => ({ kind: "api", id, timeoutMs: leftMs, method, path, body, idempotencyKey, traceparent }),
  });
  const [status, answer] = list(result, "api");
  const parsed = schema.safeParse(JSON.parse(text(answer, "api.body")));
  if (parsed.success) return { status: count(status, "api.status"), value: parsed.data };
  throw new AetherError("E_VERSION", `${what}: the node's answer is none that this version knows; update aether`, {
    cause: parsed.error,
  });
}

function jsonBody(what: string, value: unknown): string {
  try {
    return JSON.stringify(value, refuseBytes);
  } catch (error) {
    if (error instanceof AetherError) throw new AetherError(error.code, `${what}: ${error.message}`);
    const reason = error instanceof Error ? error.message : String(error);
    throw new AetherError("E_INVALID", `${what}: it is not JSON: ${reason}`, { cause: error });
  }
}

// `this[key]` is the value before `toJSON`, which turns a Buffer into an object.
function refuseBytes(this: unknown, key: string, value: unknown): unknown {
  const original: unknown = typeof this === "object" && this !== null ? Reflect.get(this, key) : value;
  if (!(original instanceof Uint8Array)) return value;
  const found = key === "" ? "it" : key;
  throw new AetherError("E_INVALID", `${found} is bytes, which JSON does not have: send them as text`);
}
