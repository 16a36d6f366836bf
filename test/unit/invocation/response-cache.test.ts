import { expect, test } from "vitest";
import { ResponseCache, type CachePlace } from "../../../src/invocation/core/response-cache.ts";

const place = (input: string, more: Partial<CachePlace> = {}): CachePlace => {
  return { method: "pricing.quote", version: "1", input, ...more };
};
const answer = (output: unknown, untilMs = 100, bytes = 100) => ({ output, bytes, untilMs });
const room = { entriesMax: 2, nowMs: 0 };

test("an answer is there until its time is over", () => {
  const cache = new ResponseCache(10_000);
  cache.put(place("tea"), answer(7), room);
  expect(cache.get(place("tea"), 99)?.output).toBe(7);
  expect(cache.get(place("mug"), 99)).toBeUndefined();
  expect(cache.get(place("tea", { method: "pricing.list" }), 99)).toBeUndefined();
  expect(cache.get(place("tea"), 100)).toBeUndefined();
});

test("with more inputs than may be kept the one goes that was not asked for the longest", () => {
  const cache = new ResponseCache(10_000);
  for (const input of ["a", "b"]) cache.put(place(input), answer(input), room);
  cache.get(place("a"), 1);
  cache.put(place("c"), answer("c"), room);
  expect(["a", "b", "c"].map((input) => cache.get(place(input), 1)?.output)).toEqual(["a", undefined, "c"]);
});

test("the answers of a version go with the first of the next", () => {
  const cache = new ResponseCache(10_000);
  cache.put(place("a"), answer("old"), room);
  expect(cache.get(place("a", { version: "2" }), 1)).toBeUndefined();
  cache.put(place("b", { version: "2" }), answer("new"), room);
  expect(cache.get(place("a"), 1)).toBeUndefined();
  expect(cache.get(place("b", { version: "2" }), 1)?.output).toBe("new");
});

test("it never holds more bytes than it may; what is too old makes room, what is asked for does not", () => {
  const cache = new ResponseCache(1_000);
  cache.put(place("a", { method: "m1" }), answer("a", 50, 500), room);
  cache.put(place("b", { method: "m2" }), answer("b", 100, 500), room);
  expect(cache.get(place("b", { method: "m2" }), 1)).toBeUndefined();
  cache.put(place("b", { method: "m2" }), answer("b", 100, 500), { entriesMax: 2, nowMs: 60 });
  expect(cache.get(place("b", { method: "m2" }), 61)?.output).toBe("b");
  cache.put(place("c", { method: "m2" }), answer("c", 100, 2_000), { entriesMax: 2, nowMs: 61 });
  expect(cache.get(place("c", { method: "m2" }), 62)).toBeUndefined();
});
