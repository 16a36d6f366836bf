import { describe, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { parseRules } from "../../../src/control/core/parse-rules.ts";
import { RULE_FILE_BYTES_MAX, RULES_MAX } from "../../../src/control/core/rules.ts";

const FILE = `version: 1
bounds:
  orders: { min: 2, max: 8, stepUp: 3 }
rules:
  - name: orders-up
    slice: orders
    when: avg(calls_per_second, 30s) / instances > 50
    for: 5s
    do: { add: 2 }
    cooldown: 20s
  - name: orders-down
    slice: orders
    when: avg(calls_per_second) / instances < 20
    window: 1min
    do: { remove: 1 }
    bounds: { min: 3 }
  - name: ahead
    slice: "*"
    when: calls_per_second > 0
    do:
      set: forecast(calls_per_second, 60s) / 50
`;

function issuesOf(text: string): unknown {
  try {
    parseRules(text);
    return "none";
  } catch (error) {
    if (error instanceof AetherError && error.code === "E_INVALID") return error.details["issues"];
    throw error;
  }
}

describe("a rule file", () => {
  test("is read with its defaults", () => {
    const { bounds, rules } = parseRules(FILE);
    expect(bounds["orders"]).toEqual({ min: 2, max: 8, stepUp: 3, stepDown: 1, every: 10_000, reverseAfter: 120_000 });
    expect(rules).toMatchObject([
      { name: "orders-up", slice: "orders", forMs: 5_000, cooldownMs: 20_000, action: { kind: "add", count: 2 } },
      { name: "orders-down", forMs: 10_000, cooldownMs: 60_000, action: { kind: "remove", count: 1 }, min: 3 },
      { name: "ahead", slice: "*", action: { kind: "set" } },
    ]);
    expect(rules[1]?.when).toMatchObject({ left: { left: { aggregate: "avg", windowMs: 60_000 } } });
  });

  test("may be empty, and may be JSON", () => {
    expect(parseRules("")).toEqual({ bounds: {}, rules: [], advisors: [] });
    expect(parseRules('{"rules": []}')).toEqual({ bounds: {}, rules: [], advisors: [] });
  });

  test.each([
    ["a field that is not known", "rulez: []\n", 1, 1, 'there is no field "rulez" here'],
    ["a field of a rule that is not known", FILE.replace("    for: 5s", "    since: 5s"), 8, 5, 'no field "since"'],
    ["a time without a unit", FILE.replace("for: 5s", "for: 5"), 8, 10, "expected a time such as 30s, 5min or 1h"],
    ["a time beyond its range", FILE.replace("cooldown: 20s", "cooldown: 99h"), 10, 15, "expected a time of 0s to 24h"],
    ["a metric that is not known", FILE.replace("calls_per_second, 30s", "calls, 30s"), 7, 15, "expected a metric"],
    ["an expression that ends early", FILE.replace("instances > 50", "instances >"), 7, 51, "found the end"],
    ["an action that is none", FILE.replace("{ add: 2 }", "{ plus: 2 }"), 9, 9, "expected one of add: N"],
    ["a count of zero", FILE.replace("min: 2", "min: 0"), 3, 18, "expected number to be >=1"],
    ["bounds the wrong way round", FILE.replace("min: 2", "min: 9"), 3, 18, "min is more than max"],
    ["the same name twice", FILE.replace("orders-down", "orders-up"), 11, 11, 'there is a rule "orders-up" already'],
    ["the same key twice", `${FILE}version: 1\n`, 22, 1, "Map keys must be unique"],
    ["text that is no YAML", "rules: [", 1, 9, "Flow sequence"],
    ["another version", FILE.replace("version: 1", "version: 2"), 1, 10, "expected version: 1"],
    ["a list instead of fields", "- a\n", 1, 1, "expected object"],
    ["a rule without a name", FILE.replace("name: ahead\n    slice", "slice"), 17, 5, "expected string"],
  ])("with %s is refused with line and column", (_what, text, line, column, message) => {
    const issues = issuesOf(text);
    expect(issues).toEqual(expect.arrayContaining([
      { line, column, message: expect.stringContaining(message) as unknown },
    ]));
  });

  test("says all that is wrong at once", () => {
    expect(issuesOf(FILE.replace("for: 5s", "for: x").replace("window: 1min", "window: y"))).toHaveLength(2);
  });

  test("of many aliases does not become large", () => {
    const bomb = `a: &a [x, x, x, x, x, x, x, x, x]\n${["b", "c", "d", "e"].map((name, at) =>
      `${name}: &${name} [${Array.from({ length: 9 }, () => `*${"abcd"[at] ?? "a"}`).join(", ")}]`).join("\n")}\n`;
    expect(issuesOf(bomb)).toEqual([expect.objectContaining({ message: expect.stringContaining("alias") as unknown })]);
  });

  test("is bounded in bytes and rules", () => {
    expect(() => parseRules("#".repeat(RULE_FILE_BYTES_MAX + 1))).toThrowError(/at most 65536 bytes/);
    const rule = (at: number): string => `  - { name: r${at}, slice: a, when: 1 > 2, do: { add: 1 } }\n`;
    const many = Array.from({ length: RULES_MAX + 1 }, (_, at) => rule(at)).join("");
    const found = issuesOf(`rules:\n${many}`);
    expect(found).toEqual([expect.objectContaining({ line: 2, message: "a file has at most 100 rules" })]);
  });
});
