import { describe, expect, test } from "vitest";
import { createHttpApp } from "../../../src/api/http-app.ts";
import { EventStream } from "../../../src/api/event-stream.ts";
import { jsonResponse } from "../../../src/api/json.ts";
import { declareApiMetrics } from "../../../src/api/metrics.ts";
import { ReceivingRoom } from "../../../src/api/receiving-room.ts";
import { SessionRequests } from "../../../src/api/session-requests.ts";
import { AetherError } from "../../../src/base/errors.ts";
import { createTestTelemetry } from "./test-telemetry.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const NEVER = new AbortController().signal;
let isStreamOver = false;

function requests(): SessionRequests {
  const telemetry = createTestTelemetry([]);
  const base = { summary: "for this test", answer: "JSON" };
  const app = createHttpApp([
    {
      ...base,
      method: "POST",
      path: "/v1/echo/:name",
      handle: async (request) => jsonResponse(201, {
        name: request.param("name"),
        body: await request.readOptionalJson(),
        pairs: request.queryPairs(),
        key: request.header("idempotency-key"),
        timeoutMs: request.timeoutMs(1),
      }),
    },
    {
      ...base,
      method: "GET",
      path: "/v1/refused",
      handle: () => Promise.reject(new AetherError("E_CONFLICT", "no", { details: { found: 1 } })),
    },
    {
      ...base,
      method: "GET",
      path: "/v1/stream",
      handle: () => Promise.resolve(new EventStream({
        closing: new AbortController().signal, elsewhere: "read elsewhere", onGone: () => (isStreamOver = true),
      }).open()),
    },
    {
      ...base,
      method: "GET",
      path: "/v1/wait",
      handle: (request) => new Promise((resolve) => {
        request.signal().addEventListener("abort", () => resolve(jsonResponse(200, "gone")));
      }),
    },
  ], {
    clock: new ManualClock(),
    log: telemetry.log,
    tracing: telemetry.tracing,
    metrics: declareApiMetrics(telemetry),
    room: new ReceivingRoom(),
    onBroken: (failure) => {
      throw failure;
    },
    elsewhere: () => ({ kind: "none" }),
  });
  return new SessionRequests(app.fetch);
}

describe("a request that comes as a message", () => {
  test("reaches its route with path, query, body, key and deadline", async () => {
    const answer = await requests().answer({
      method: "POST", path: "/v1/echo/a%2Fb?x=1&x=2", timeoutMs: 70, body: '{"n":1}', idempotencyKey: "k",
    }, NEVER);
    expect([answer.status, JSON.parse(answer.body)]).toEqual([201, {
      name: "a/b", body: { n: 1 }, pairs: [["x", "1"], ["x", "2"]], key: "k", timeoutMs: 70,
    }]);
    const bare = await requests().answer({ method: "POST", path: "/v1/echo/a", timeoutMs: 70 }, NEVER);
    expect(JSON.parse(bare.body)).toMatchObject({ name: "a" });
  });

  test.each([
    ["GET", "/v1/refused", "E_CONFLICT"],
    ["GET", "/v1/none", "E_NOT_FOUND"],
    ["GET", "/v1/echo/a", "E_METHOD_NOT_ALLOWED"],
    ["POST", "/v1/../echo", "E_NOT_FOUND"],
    ["GET", "/shop/orders", "E_INVALID"],
    ["GET", "http://elsewhere/v1/echo", "E_INVALID"],
    ["GET", "/v1/stream", "E_INVALID"],
  ])("%s %s is %s", async (method, path, code) => {
    const refused = requests().answer({ method, path, timeoutMs: 50 }, NEVER);
    await expect(refused).rejects.toMatchObject({ code });
    expect(path !== "/v1/stream" || isStreamOver).toBe(true);
  });

  test("what is no JSON and what is too much is refused", async () => {
    const request = { method: "POST", path: "/v1/echo/a", timeoutMs: 50 };
    const send = (body: string): Promise<unknown> => requests().answer({ ...request, body }, NEVER);
    await expect(send("{")).rejects.toMatchObject({ code: "E_INVALID" });
    await expect(send(`"${"x".repeat(1_048_576)}"`)).rejects.toMatchObject({ code: "E_TOO_LARGE" });
  });

  test("a cancel reaches the route", async () => {
    const stop = new AbortController();
    const answered = requests().answer({ method: "GET", path: "/v1/wait", timeoutMs: 50 }, stop.signal);
    stop.abort();
    expect((await answered).body).toBe('"gone"');
  });
});
