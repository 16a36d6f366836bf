import { ESLint } from "eslint";
import { describe, expect, test } from "vitest";
import { PROJECT_ROOT } from "./project.ts";

// The whole project is linted by `npm test`; here planted samples prove that the rules of the house are switched on.
// Rules that need types are left out: they want real files, and their own makers test them.
const eslint = new ESLint({
  cwd: PROJECT_ROOT,
  overrideConfig: {
    languageOptions: { parserOptions: { projectService: false, project: false } },
    rules: Object.fromEntries(
      [
        ...["await-thenable", "no-base-to-string", "no-floating-promises", "no-misused-promises", "return-await"],
        ...["no-unnecessary-type-assertion", "switch-exhaustiveness-check", "no-unsafe-argument", "no-unsafe-call"],
        ...["no-unsafe-assignment", "no-unsafe-member-access", "no-unsafe-return"],
      ].map((rule) => [`@typescript-eslint/${rule}`, "off"]),
    ),
  },
});

async function rulesBrokenBy(text: string, filePath: string): Promise<readonly (string | null)[]> {
  const [result] = await eslint.lintText(`${text}\n`, { filePath: `${PROJECT_ROOT}${filePath}` });
  return result?.messages.map((message) => message.ruleId ?? message.message) ?? [];
}

describe("the linter knows the rules of the house", () => {
  test.each([
    ["any", "export const x: any = 1;", "@typescript-eslint/no-explicit-any"],
    ["a default export", "export default 1;", "no-restricted-exports"],
    ["a plain error", 'export function f(): void { throw new Error("x"); }', "no-restricted-syntax"],
    ["a thrown text", 'export function f(): void { throw "x"; }', "no-restricted-syntax"],
    ["a base class", "export class A extends B {}", "no-restricted-syntax"],
    ["module state", "export let count = 0;", "no-restricted-syntax"],
    ["module state that no one exports", "let count = 0;\nexport const next = () => count++;", "no-restricted-syntax"],
    ["a collection at module level", "export const seen = new Map<string, string>();", "no-restricted-syntax"],
    ["a lazy default", "switch (a.kind) { case 1: break; default: break; }", "no-restricted-syntax"],
    ["the date", "export const at = new Date();", "no-restricted-syntax"],
    ["the time", "export const at = Date.now();", "no-restricted-properties"],
    ["chance", "export const x = Math.random();", "no-restricted-properties"],
    ["random ids", 'import { randomUUID } from "node:crypto";\nrandomUUID();', "no-restricted-imports"],
    ["a timer", "setTimeout(f, 1);", "no-restricted-globals"],
    ["a repeated timer", "setInterval(f, 1);", "no-restricted-globals"],
    ["the environment", 'export const x = process.env["X"];', "no-restricted-globals"],
    ["the console", 'console.log("x");', "no-console"],
    ["a long line", `export const x = [${"1, ".repeat(50)}];`, "max-len"],
  ])("finds %s", async (_what, text, rule) => {
    expect(await rulesBrokenBy(text, "src/net/sample.ts")).toContain(rule);
  });

  test.each([
    ["a timer in an adapter", "setTimeout(f, 1);", "src/net/sample-adapter.ts"],
    ["the environment in the node's configuration", 'export const x = process.env["X"];', "src/node/config.ts"],
    ["the console in the command line", 'console.log("x");', "src/cli/commands/sample.ts"],
    ["the default export of an example slice", "export default 1;", "docs/examples/01-shop/sample.ts"],
    ["a switch in which every variant is handled", "switch (a.kind) { default: unreachable(a); }", "src/net/sample.ts"],
    ["an error class", "export class SampleError extends Error {}", "src/net/sample.ts"],
    ["a fixed table", 'export const X: ReadonlySet<string> = new Set(["a"]);', "src/net/sample.ts"],
  ])("accepts %s", async (_what, text, path) => {
    expect(await rulesBrokenBy(text, path)).toEqual([]);
  });

  test("finds a sleep in a unit test", async () => {
    expect(await rulesBrokenBy("setTimeout(f, 1);", "test/unit/sample.test.ts")).toEqual(["no-restricted-globals"]);
  });

  test("finds the environment in an adapter", async () => {
    const broken = await rulesBrokenBy('export const x = process.env["X"];', "src/net/sample-adapter.ts");
    expect(broken).toEqual(["no-restricted-properties"]);
  });
});
