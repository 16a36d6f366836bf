// Owns: /v1/call: calling a method of a slice with JSON.
import { AetherError } from "../../base/errors.ts";
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

export function callRoutes(services: ApiServices): readonly Route[] {
  return [
    {
      method: "POST",
      path: "/v1/call/:slice/:method",
      summary: "Calls a method of a slice: the body is its input, the answer its output",
      body: "any JSON",
      headers: {
        "X-Deadline-Ms": "Milliseconds until the caller gives up; default: what the contract of the method says",
        "Idempotency-Key": "Handed to the runtime with the call",
        traceparent: "W3C trace context; the handler gets one of its own in the same trace",
      },
      answer: "the output; the header Aether-Attempts says how often it was tried",
      handle: async (request) => {
        const signal = request.signal();
        const input = await request.readOptionalJson();
        const idempotencyKey = request.header("idempotency-key");
        const traceparent = request.traceparent();
        const timeoutMs = request.ownTimeoutMs();
        const reply = await services.calls.call(
          {
            slice: request.param("slice"),
            method: request.param("method"),
            input,
            ...(timeoutMs === undefined ? {} : { timeoutMs }),
            ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
            ...(traceparent === undefined ? {} : { traceparent }),
          },
          signal,
        );
        if (reply.kind === "error") throw AetherError.fromBody(reply.error);
        return jsonResponse(200, reply.output, { "aether-attempts": String(reply.attempts) });
      },
    },
  ];
}
