import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { SchemaIssue } from "../../../src/base/schema-issues.ts";
import {
  checkConfig as checkWithin, CONFIG_LOOKS_MAX, type CheckEffort,
} from "../../../src/slices/core/config-check.ts";
import type { JsonSchema } from "../../../src/slices/core/manifest.ts";

const manifestSchema = z.object({
  currency: z.string().length(3),
  rate: z.number().min(0).lt(1).default(0.2),
  mode: z.enum(["fast", "safe"]).optional(),
  limits: z.record(z.string(), z.int().min(1)).optional(),
  hosts: z.array(z.object({ name: z.string().min(1), port: z.int().max(65_535) })).min(1).max(3).optional(),
  note: z.string().nullable().optional(),
  pair: z.tuple([z.string(), z.number()]).optional(),
  target: z.discriminatedUnion("kind", [
    z.object({ kind: z.literal("file"), path: z.string() }),
    z.object({ kind: z.literal("url"), url: z.string() }),
  ]).optional(),
  box: z.object({ a: z.string() }).nullable().optional(),
  strict: z.strictObject({ a: z.boolean() }).optional(),
});
const schema = { ...z.toJSONSchema(manifestSchema, { io: "input" }) };
const good = { currency: "EUR" };

const checkConfig = (hostile: JsonSchema, config: unknown): readonly SchemaIssue[] =>
  checkWithin(hostile, config, { looksLeft: CONFIG_LOOKS_MAX });

describe("a config that is right", () => {
  test.each([
    ["with as little as possible", good],
    ["with everything", {
      ...good, rate: 0.5, mode: "safe", limits: { a: 1 }, hosts: [{ name: "h", port: 80 }], note: null,
      pair: ["a", 1], target: { kind: "url", url: "u" }, strict: { a: true }, more: { the: "slice ignores it" },
    }],
  ])("%s passes", (_what, config) => {
    expect(manifestSchema.safeParse(config).success).toBe(true);
    expect(checkConfig(schema, config)).toEqual([]);
  });
});

describe("a config that is wrong is refused at the place", () => {
  test.each([
    ["a missing field", {}, ["currency"], "it is required and not there"],
    ["another type", { currency: 5 }, ["currency"], "expected string, found number"],
    ["a wrong length", { currency: "EURO" }, ["currency"], "expected a text of at most 3, found 4"],
    ["a number that is too small", { ...good, rate: -1 }, ["rate"], "expected at least 0, found -1"],
    ["a number at an open end", { ...good, rate: 1 }, ["rate"], "expected a number below 1, found 1"],
    ["no whole number", { ...good, limits: { a: 1.5 } }, ["limits", "a"], "expected integer, found number"],
    ["a word that is none of the choices", { ...good, mode: "slow" }, ["mode"], 'expected "fast", "safe"'],
    ["too few items", { ...good, hosts: [] }, ["hosts"], "expected a list of at least 1, found 0"],
    ["an item", { ...good, hosts: [{ name: "h", port: 70_000 }] }, ["hosts", "0", "port"],
      "expected at most 65535, found 70000"],
    ["an item of a tuple", { ...good, pair: ["a", "b"] }, ["pair", "1"], "expected number, found string"],
    ["neither of two types", { ...good, note: 5 }, ["note"],
      "expected string or null, found number"],
    ["the one alternative that was meant", { ...good, box: { a: 1 } }, ["box", "a"], "expected string, found number"],
    ["none of the alternatives", { ...good, target: { kind: "file", path: 1 } }, ["target"],
      'expected string, found number, or expected "url"'],
    ["a field that does not exist", { ...good, strict: { a: true, b: 1 } }, ["strict", "b"], "there is no such field"],
    ["something else than an object", ["EUR"], [], "expected object, found array"],
  ])("%s", (_what, config, path, message) => {
    expect(manifestSchema.safeParse(config).success).toBe(false);
    const issues = checkConfig(schema, config);
    expect(issues[0]?.path.slice(0, path.length)).toEqual(path);
    expect(issues.map((issue) => issue.message).join("; ")).toContain(message.split(", or ")[0]);
  });
});

test("whatever is refused here the slice's own schema refuses too", () => {
  const value = fc.anything({ withNullPrototype: false, maxDepth: 3 });
  const configs = fc.oneof(value, fc.record({
    currency: fc.oneof(fc.constant("EUR"), value), rate: value, mode: value, limits: value, hosts: value,
    note: value, pair: value, target: value, strict: value,
  }, { requiredKeys: [] }));
  fc.assert(fc.property(configs, (config) => {
    const plain: unknown = JSON.parse(JSON.stringify(config) ?? "null");
    if (checkConfig(schema, plain).length > 0) expect(manifestSchema.safeParse(plain).success).toBe(false);
  }), { numRuns: 500 });
});

describe("a hostile schema costs little, and what it hides passes", () => {
  // Each of these takes minutes, or for ever, when it is followed as far as it goes.
  const both = (reference: object) => ({ allOf: [reference, reference], anyOf: [reference, reference] });
  const levels = Array.from({ length: 60 }, (_, at) => at);
  const wide = Object.fromEntries(Array.from({ length: 3_000 }, (_, index) => [`f${index}`, index]));
  test.each([
    ["a pattern that backtracks", { type: "string", pattern: "^(a+)+$" }, `${"a".repeat(60)}!`],
    ["patterns of names", { patternProperties: { "^(a+)+$": false } }, { [`${"a".repeat(60)}!`]: 1 }],
    ["names that must match", { propertyNames: { pattern: "^(a+)+$" } }, { [`${"a".repeat(60)}!`]: 1 }],
    ["a reference to itself", { $ref: "#" }, 1],
    ["references that multiply", both({ $ref: "#" }), 1],
    ["definitions that multiply", {
      $ref: "#/$defs/a0",
      $defs: Object.fromEntries(levels.map((at) => [`a${at}`, both({ $ref: `#/$defs/a${at + 1}` })])),
    }, wide],
    ["many names for many fields", { ...both({ $ref: "#" }), required: Object.keys(wide) }, wide],
    ["many long choices", { ...both({ $ref: "#" }), enum: Array.from({ length: 5_000 }, () => "b".repeat(50)) }, 1],
    ["a reference to elsewhere", { $ref: "https://example.org/schema" }, 1],
    ["a reference to nothing", { $ref: "#/$defs/nothing" }, 1],
    ["definitions that are none", { $ref: "#/$defs/toString", $defs: 5 }, 1],
    ["keywords of other types", { type: 5, enum: "x", required: 1, properties: [], items: 0, anyOf: {} }, 1],
    ["types that are none", { type: ["never", 5, {}] }, 1],
    ["a schema of schemas that are none", { properties: { a: 1, b: "x", c: [] } }, { a: 1, b: 2, c: 3 }],
  ])("%s", (_what, hostile, config) => {
    // That it ends is the test; what it says is not certain.
    expect(checkConfig(hostile, config).length).toBeLessThanOrEqual(20);
  });

  test("an issue that is found stays found beside it", () => {
    const hostile = { type: "object", properties: { a: { type: "string" }, b: both({ $ref: "#" }) } };
    expect(checkConfig(hostile, { a: 1, b: {} })).toEqual([{ path: ["a"], message: "expected string, found number" }]);
  });

  test("what one config has cost another one of the blueprint cannot", () => {
    const effort: CheckEffort = { looksLeft: CONFIG_LOOKS_MAX };
    expect(checkWithin(both({ $ref: "#" }), 1, effort)).toEqual([]);
    expect(effort.looksLeft).toBeLessThan(0);
    expect(checkWithin({ type: "object", properties: { a: { type: "string" } } }, { a: 1 }, effort)).toEqual([]);
  });

  test("no more than twenty issues are told", () => {
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`f${index}`, index]));
    expect(checkConfig({ additionalProperties: { type: "string" } }, many).length).toBe(20);
  });
});
