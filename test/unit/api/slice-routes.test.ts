import { request as httpRequest } from "node:http";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { formatKey } from "../../../src/kvstore/core/key.ts";
import { parseRoute } from "../../../src/sdk/route.ts";
import { failWith, openApi, type ApiFixture } from "./api-fixture.ts";

let api: ApiFixture;

beforeEach(async () => {
  api = await openApi();
  await declare("GET /shop/orders/:id", "show", { numbers: ["page"], booleans: ["full"] });
  await declare("POST /shop/orders", "place");
  await declare("PUT /shop/orders/:id", "change", { numbers: ["id"] });
  await declare("DELETE /shop/orders/:id", "cancel");
  await until(async () => (await send("DELETE", "/shop/orders/1")).status === 200);
  api.calls.length = 0;
});

afterEach(() => api.close());

interface Reply {
  readonly status: number;
  readonly allow: string | undefined;
  readonly attempts: string | string[] | undefined;
  /** Unchecked: each test looks at what it wants of it. */
  readonly body: ReturnType<JSON["parse"]>;
}

/** Sends the path as it is: `fetch` would resolve it first. */
async function send(method: string, path: string, body?: string, headers: object = {}): Promise<Reply> {
  const { hostname, port } = new URL(api.url);
  return new Promise((resolve, reject) => {
    const request = httpRequest({ hostname, port, method, path, headers: { ...headers } }, (response) => {
      const { statusCode = 0, headers: { allow, "aether-attempts": attempts } } = response;
      text(response).then((found) => {
        resolve({ status: statusCode, allow, attempts, body: found === "" ? undefined : JSON.parse(found) });
      }, reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  await expect.poll(isTrue, { timeout: 10_000 }).toBe(true);
}

async function declare(route: string, method: string, types: object = {}): Promise<void> {
  const key = formatKey({ kind: "route", route: parseRoute(route).id });
  const value = { route, method, numbers: [], booleans: [], blueprint: "shop", slice: "orders", ...types };
  await api.local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
}

describe("a request becomes the input of the method", () => {
  test.each([
    ["GET", "/shop/orders/a%20b?page=2&full=true&text=3&x=", undefined, "show",
      { id: "a b", page: 2, full: true, text: "3", x: "" }],
    ["GET", "/shop/orders/1?id=2", undefined, "show", { id: "1" }],
    ["GET", "/shop/orders/1?page=two&full=yes", undefined, "show", { id: "1", page: "two", full: "yes" }],
    ["GET", "/shop/orders/1?page=9007199254740993", undefined, "show", { id: "1", page: "9007199254740993" }],
    ["GET", "/shop/orders/1?page=1e999", undefined, "show", { id: "1", page: "1e999" }],
    ["GET", "/shop/orders/1?constructor=x", undefined, "show", { id: "1", constructor: "x" }],
    ["DELETE", "/shop/orders/1?why=late", undefined, "cancel", { id: "1", why: "late" }],
    ["POST", "/shop/orders", '{"sku":"book"}', "place", { sku: "book" }],
    ["POST", "/shop/orders", undefined, "place", {}],
    ["PUT", "/shop/orders/7", '{"id":8,"sku":"book"}', "change", { id: 7, sku: "book" }],
    ["PUT", "/shop/orders/7", undefined, "change", { id: 7 }],
  ])("%s %s %s", async (verb, path, body, method, input) => {
    const reply = await send(verb, path, body);
    expect(reply).toMatchObject({ status: 200, attempts: "1" });
    expect(reply.body).toEqual({ echo: input });
    expect(api.calls).toEqual([{ slice: "orders", method, input }]);
  });

  test("with the headers that every call has", async () => {
    const traceparent = `00-${"1".repeat(32)}-${"2".repeat(16)}-01`;
    const headers = { traceparent, "x-deadline-ms": "700", "idempotency-key": "k" };
    await send("POST", "/shop/orders", "{}", headers);
    expect(api.calls).toMatchObject([{ traceparent, timeoutMs: 700, idempotencyKey: "k" }]);
  });

  test("and HEAD is a GET without the body of its answer", async () => {
    expect(await send("HEAD", "/shop/orders/1")).toMatchObject({ status: 200, body: undefined });
  });

  test.each([
    ["a body that is no JSON", "POST", "/shop/orders", "{"],
    ["a body that is no object beside parameters", "PUT", "/shop/orders/1", "[1]"],
    ["null beside parameters", "PUT", "/shop/orders/1", "null"],
    ["a query beside a body", "POST", "/shop/orders?sku=book", "{}"],
    ["a field twice", "GET", "/shop/orders/1?page=1&page=2", undefined],
    ["a field twice, once escaped", "GET", "/shop/orders/1?page=1&p%61ge=2", undefined],
  ])("%s is refused before the call", async (_what, verb, path, body) => {
    expect(await send(verb, path, body)).toMatchObject({ status: 400, body: { error: { code: "E_INVALID" } } });
    expect(api.calls).toEqual([]);
  });

  test("a body that is too large is refused while it is read", async () => {
    const reply = await send("POST", "/shop/orders", JSON.stringify("x".repeat(1024 * 1024)));
    expect(reply).toMatchObject({ status: 413, body: { error: { code: "E_TOO_LARGE" } } });
    expect(api.calls).toEqual([]);
  });

  test("from a page of another origin it is refused", async () => {
    const reply = await send("POST", "/shop/orders", "{}", { origin: "https://evil.example" });
    expect(reply).toMatchObject({ status: 403 });
    expect(api.calls).toEqual([]);
  });
});

test("an answer's status says what became of the call, as with /v1/call", async () => {
  const cases = [["E_INVALID", 400], ["E_HANDLER", 502], ["E_TIMEOUT", 504], ["E_UNAVAILABLE", 503]] as const;
  for (const [code, status] of cases) {
    api.script = failWith({ code, message: "it failed", outcome: "unknown" });
    expect(await send("POST", "/shop/orders", "{}")).toMatchObject({ status, body: { error: { code } } });
    expect(await send("POST", "/v1/call/orders/place", "{}")).toMatchObject({ status, body: { error: { code } } });
  }
});

test("another verb is told which ones are possible", async () => {
  expect(await send("PATCH", "/shop/orders/1")).toMatchObject({ status: 405, allow: "DELETE, GET, HEAD, PUT" });
});

describe("hostile paths", () => {
  test.each([
    "/shop/orders/..", "/shop/orders/%2e%2e", "/shop/orders/a%2Fb", "/shop/orders/a%5cb", "/shop/orders/%00",
    "/shop/orders/%", "/shop/orders/%ff",
  ])("%s never reaches a handler", async (path) => {
    const { status } = await send("GET", path);
    expect([400, 404]).toContain(status);
    expect(api.calls).toEqual([]);
  });

  test.each([
    "/shop/../shop/orders/1", "/v1/../shop/orders/1", "//shop/orders/1", "/shop//orders/1", "/shop%2Forders%2F1",
    "/SHOP/orders/1", "/shop/orders/1/", "/shop/orders", "/shop/orders/1/%2e%2e/2", "/%73hop/orders/1",
    `/shop/${"x/".repeat(4_000)}`,
  ])("%s is not a route", async (path) => {
    const { status } = await send("GET", path);
    expect([404, 405]).toContain(status);
    expect(api.calls).toEqual([]);
  });

  test("a row that wants one of the runtime's paths, or says another path than its key, serves nothing", async () => {
    const value = { method: "show", numbers: [], booleans: [], blueprint: "shop", slice: "orders" };
    const rows = [["GET /v1/shop", "GET /v1/shop"], ["GET /shop/a", "GET /shop/b"]].map(([key = "", route]) =>
      ({ kind: "put" as const, key: formatKey({ kind: "route", route: key }), value: { ...value, route } }));
    await api.local.kv.transact({ compare: [], then: rows, else: [] });
    await declare("GET /shop/last", "show");
    await until(async () => (await send("GET", "/shop/last")).status === 200);
    api.calls.length = 0;
    for (const path of ["/v1/shop", "/shop/a", "/shop/b"]) {
      expect(await send("GET", path)).toMatchObject({ status: 404 });
    }
    expect(api.calls).toEqual([]);
    expect(await send("GET", "/livez")).toMatchObject({ status: 200 });
  });
});
