import { describe, expect, test } from "vitest";
import { formatKey } from "../../../src/kvstore/core/key.ts";
import { parseRoute, ROUTE_CHARS_MAX } from "../../../src/sdk/route.ts";

describe("a route", () => {
  test.each([
    ["GET /shop", "GET /shop"],
    ["GET /shop/orders/:id", "GET /shop/orders/:"],
    ["DELETE /shop/orders/:order/lines/:line", "DELETE /shop/orders/:/lines/:"],
    ["PATCH /shop/v1/a-b_c.d~e", "PATCH /shop/v1/a-b_c.d~e"],
  ])("%s is known by what it answers", (text, id) => {
    expect(parseRoute(text).id).toBe(id);
  });

  test.each([
    ["nothing", ""],
    ["no verb", "/shop"],
    ["an unknown verb", "FETCH /shop"],
    ["a verb in small letters", "get /shop"],
    ["HEAD, which GET answers", "HEAD /shop"],
    ["two spaces", "GET  /shop"],
    ["something behind the path", "GET /shop x"],
    ["no slash", "GET shop"],
    ["the root", "GET /"],
    ["everything", "GET /:all"],
    ["an empty segment", "GET /shop//orders"],
    ["a slash at the end", "GET /shop/"],
    ["another host", "GET //evil.example/shop"],
    ["a way up", "GET /shop/../v1/kv"],
    ["a dot", "GET /shop/."],
    ["an encoded slash", "GET /shop%2Forders"],
    ["an encoded way up", "GET /shop/%2e%2e/v1"],
    ["a query", "GET /shop?x=1"],
    ["a star", "GET /shop/*"],
    ["a line break", "GET /shop\n"],
    ["a parameter without a name", "GET /shop/:"],
    ["a parameter that is a bad name", "GET /shop/:__proto__"],
    ["a parameter inside a word", "GET /shop/a:id"],
    ["the same parameter twice", "GET /shop/:id/:id"],
    ["the API", "POST /v1/call/orders/place"],
    ["a later API", "GET /v2"],
    ["the API in capitals", "GET /V1/kv"],
    ["the probes", "GET /livez"],
    ["readiness", "GET /readyz/x"],
    ["metrics", "GET /metrics"],
    ["well-known paths", "GET /.well-known/x"],
  ])("is refused when it is %s", (_what, text) => {
    expect(() => parseRoute(text)).toThrow(expect.objectContaining({ code: "E_INVALID" }));
  });

  test("has a length up to which it is accepted, and then fits into a key", () => {
    const longest = "GET " + "/:x".repeat(100).replace("/:x", "/shop").slice(0, ROUTE_CHARS_MAX - 4);
    const literal = `GET /${"~".repeat(ROUTE_CHARS_MAX - 5)}`;
    expect(literal).toHaveLength(ROUTE_CHARS_MAX);
    expect(longest).toHaveLength(ROUTE_CHARS_MAX);
    expect(formatKey({ kind: "route", route: parseRoute(literal).id })).toContain("routes/");
    expect(() => parseRoute(`${literal}~`)).toThrow(/128/);
    // The worst of all keys: every character of it is escaped.
    expect(formatKey({ kind: "route", route: `GET ${"/".repeat(ROUTE_CHARS_MAX - 4)}` })).toContain("routes/");
  });
});
