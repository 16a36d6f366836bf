// Owns: /v1/call: calling a method of a slice with JSON; and what every call over HTTP has besides its input.
import { AetherError } from "../../base/errors.ts";
import type { ApiRequest } from "../api-request.ts";
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

export interface CallTarget {
  readonly slice: string;
  readonly method: string;
  readInput(): Promise<unknown>;
}

export function callRoutes(services: ApiServices): readonly Route[] {
  return [
    {
      method: "POST",
      path: "/v1/call/:slice/:method",
      summary: "Calls a method of a slice: the body is its input, the answer its output",
      body: "any JSON",
      headers: {
        "X-Deadline-Ms": "Milliseconds until the caller gives up; default: what the contract of the method says",
        "Idempotency-Key": "Calls with the same key run once within a day, and get the same answer",
        traceparent: "W3C trace context; the handler gets one of its own in the same trace",
      },
      answer: "the output; the header Aether-Attempts says how often it was tried, and Aether-Replayed: true that " +
        "an earlier call with the same key has got it",
      handle: (request) => answerCall(services, request, {
        slice: request.param("slice"),
        method: request.param("method"),
        readInput: () => request.readOptionalJson(),
      }),
    },
  ];
}

/** Calls a method for an HTTP request. @throws AetherError as the call failed */
export async function answerCall(
  services: Pick<ApiServices, "calls">,
  request: ApiRequest,
  { slice, method, readInput }: CallTarget,
): Promise<Response> {
  const signal = request.signal();
  const input = await readInput();
  const idempotencyKey = request.header("idempotency-key");
  const traceparent = request.traceparent();
  const timeoutMs = request.ownTimeoutMs();
  const reply = await services.calls.call(
    {
      slice,
      method,
      input,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      ...(traceparent === undefined ? {} : { traceparent }),
    },
    signal,
  );
  if (reply.kind === "error") throw AetherError.fromBody(reply.error);
  return jsonResponse(200, reply.output, {
    "aether-attempts": String(reply.attempts),
    ...(reply.isReplayed === true ? { "aether-replayed": "true" } : {}),
  });
}
