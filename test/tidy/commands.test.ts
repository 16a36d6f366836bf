import type { Command } from "commander";
import { describe, expect, test } from "vitest";
import type { CliIo } from "../../src/cli/cli-io.ts";
import { createProgram } from "../../src/cli/program.ts";
import { plant, placesOf } from "./planted.ts";
import { describeFindings, readProject } from "./project.ts";
import { findUnknownCommands, type KnownCommands } from "./rules/documents.ts";

/** Commands are only listed here; none runs, so none may touch the process. */
const NO_IO: CliIo = {
  env: {},
  cwd: "/",
  print: () => undefined,
  report: () => undefined,
  readInput: async () => "",
  nowMs: () => 0,
  wallMs: () => 0,
  sleep: async () => undefined,
  onInterrupt: () => () => undefined,
  exitNow: () => undefined,
};

/** Every command with its options: `kv get` knows its own and those of `kv` and `aether`. */
function commandsOf(command: Command, path: string, inherited: readonly string[]): KnownCommands {
  const flags = [...inherited, ...command.options.flatMap((option) => [option.long ?? "", option.short ?? ""])];
  const children = command.commands.flatMap((child) => [...commandsOf(child, `${path} ${child.name()}`.trim(), flags)]);
  return new Map([[path, new Set(flags)], ...children]);
}

describe("commands in documents exist", () => {
  test("in this project", () => {
    const commands = commandsOf(createProgram(NO_IO), "", ["--help", "-h"]);
    expect(describeFindings(findUnknownCommands(readProject(), commands))).toEqual([]);
  });

  const commands: KnownCommands = new Map([
    ["", new Set(["--api"])],
    ["dev", new Set(["--api", "--nodes"])],
    ["kv", new Set(["--api"])],
    ["kv get", new Set(["--api", "--json"])],
  ]);

  test.each([
    ["a command that is not there", "Run `aether gone`."],
    ["a command of a group that is not there", "Run `npx aether kv gone data/x`."],
    ["an option that is not there", "Run `aether kv get data/x --gone`."],
    ["a second command in one line", "`npm run build && npx aether gone`"],
  ])("finds %s", (_what, text) => {
    expect(placesOf(findUnknownCommands(plant({ "README.md": `# A\n${text}\n` }), commands))).toEqual(["README.md:2"]);
  });

  test("finds them in a block of code", () => {
    const files = plant({ "docs/page.md": "```sh\n$ npx aether dev\n$ npx aether dev --gone 3   # --any\n```\n" });
    expect(placesOf(findUnknownCommands(files, commands))).toEqual(["docs/page.md:3"]);
  });

  test.each([
    "`aether dev --nodes 3`",
    "`aether kv get|get`",
    "`npx aether kv get data/x --json | jq .value --gone`",
    "the package `aether`, its entry `aether/slice`",
    "It prints `aether node n1 ready api=http://127.0.0.1:7201`.",
  ])("accepts %s", (text) => {
    expect(findUnknownCommands(plant({ "README.md": text }), commands)).toEqual([]);
  });
});
