import { expect, test } from "vitest";
import { CallNames } from "../../../../../src/jobs/core/worker/call-names.ts";

test("calls of one name are counted, each in its scope and by its key", () => {
  const names = new CallNames();
  const first = names.begin({ scope: "", name: "a" });
  const keyed = names.begin({ scope: "", name: "a", key: "1" });
  const inner = names.begin({ scope: "b#1", name: "a", key: "1" });
  names.end(first);
  const second = names.begin({ scope: "", name: "a" });
  expect([first, keyed, inner, second]).toEqual(["a#1", "a/1#1", "b#1/a/1#1", "a#2"]);
  expect([names.pass({ scope: "", name: "now" }), names.pass({ scope: "", name: "now" })]).toEqual(["now#1", "now#2"]);
});

test("a second call of a name is refused until the first one is over", () => {
  const names = new CallNames();
  const call = names.begin({ scope: "", name: "a", key: "1" });
  expect(() => names.begin({ scope: "", name: "a", key: "1" })).toThrow(/"a\/1" is not over/);
  names.end(call);
  expect(names.begin({ scope: "", name: "a", key: "1" })).toBe("a/1#2");
});

test.each(["", "a/b", "a#1", "-a", "ä", "a".repeat(101), undefined as unknown as string])("%j is no name", (name) => {
  expect(() => new CallNames().begin({ scope: "", name })).toThrow(/cannot name/);
});
