import { describe, expect, test } from "vitest";
import { RouteIndex } from "../../../src/cluster/endpoints/core/match-route.ts";

const DECLARED = [
  "GET /shop/orders/:id", "GET /shop/orders/new", "POST /shop/orders/:order", "DELETE /shop/orders/:id",
  "GET /shop/:kind/new", "GET /shop/orders/:id/lines/:line", "GET /shop",
];
const index = new RouteIndex(DECLARED.map((route) => [route, route]));

function found(verb: string, path: string): unknown {
  const match = index.match(verb, path);
  return match.kind === "found" ? [match.value, match.params] : match;
}

describe("a request finds", () => {
  test.each([
    ["GET", "/shop", "GET /shop", {}],
    ["GET", "/shop/orders/42", "GET /shop/orders/:id", { id: "42" }],
    ["GET", "/shop/orders/new", "GET /shop/orders/new", {}],
    ["GET", "/shop/bills/new", "GET /shop/:kind/new", { kind: "bills" }],
    ["HEAD", "/shop/orders/42", "GET /shop/orders/:id", { id: "42" }],
    ["POST", "/shop/orders/new", "POST /shop/orders/:order", { order: "new" }],
    ["GET", "/shop/orders/a%20b/lines/%C3%A9", "GET /shop/orders/:id/lines/:line", { id: "a b", line: "é" }],
    ["GET", "/shop/orders/constructor", "GET /shop/orders/:id", { id: "constructor" }],
  ])("%s %s: %s", (verb, path, route, params) => {
    expect(found(verb, path)).toEqual([route, params]);
  });

  test.each([
    "/", "", "/shop/", "//shop", "/Shop", "/sh%6fp", "/shop/orders", "/shop/orders/", "/shop/orders//lines/1",
    "/shop/orders/1/lines", "/v1/../shop", "/shop/./orders/1", "/shop%2Forders%2F1", "*", "/constructor", "/__proto__",
  ])("nothing at %s", (path) => {
    expect(index.match("GET", path)).toEqual({ kind: "none" });
  });

  test.each(["..", ".", "%2e%2E", "%2E", "a%2Fb", "a%2fb", "a%5Cb", "a\\b", "%00", "a%0Ab", "%7f", "%", "%ff", "%E9"])(
    "no handler with the parameter %s", (text) => {
      expect(index.match("GET", `/shop/orders/${text}`)).toMatchObject({ kind: "refused" });
    });

  test("what is possible instead of another verb", () => {
    expect(index.match("PUT", "/shop/orders/1")).toEqual({
      kind: "wrong-verb", allowed: ["DELETE", "GET", "HEAD", "POST"],
    });
    expect(index.match("OPTIONS", "/shop")).toEqual({ kind: "wrong-verb", allowed: ["GET", "HEAD"] });
  });

  test("the same route in whatever order they were declared", () => {
    const reversed = new RouteIndex([...DECLARED].reverse().map((route) => [route, route]));
    for (const path of ["/shop", "/shop/orders/new", "/shop/orders/1", "/shop/bills/new"]) {
      for (const verb of ["GET", "POST", "DELETE"]) {
        expect(reversed.match(verb, path)).toEqual(index.match(verb, path));
      }
    }
  });
});
