// Owns: `aether slice index`.
import { relative, resolve } from "node:path";
import type { Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { openSession } from "../options.ts";

const EXAMPLE = `
Example:
  $ aether slice build ./orders --out ./public
  $ aether slice index ./public

Serve the directory with any web server, and name its address under artifacts.sources of the nodes.`;

export function addIndexCommand(slice: Command, io: CliIo): void {
  slice
    .command("index")
    .description("check the archives of a directory and write its index.json, for a web server that offers them")
    .argument("<directory>", "where `slice build --out` wrote them")
    .addHelpText("after", EXAMPLE)
    .action(async (directory: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      // Loaded on demand: no other command reads archives.
      const { indexDirectory } = await import("../../slices/build/index-directory-adapter.ts");
      const indexed = await indexDirectory(resolve(io.cwd, directory));
      session.show(indexed, ({ file, artifacts }) => `${relative(io.cwd, file)}: ${artifacts.length} artifacts`);
    });
}
