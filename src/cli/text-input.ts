// Owns: arguments that carry data: JSON in the argument, `@FILE`, or `-` for stdin.
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { CliIo } from "./cli-io.ts";
import { UsageError } from "./usage-error.ts";

/** The text an argument stands for. @throws UsageError when the file cannot be read. */
export async function readArgument(io: CliIo, argument: string): Promise<string> {
  if (argument === "-") return io.readInput();
  return argument.startsWith("@") ? readText(io, argument.slice(1)) : argument;
}

/** @throws UsageError naming the file and the reason. */
export async function readText(io: CliIo, file: string): Promise<string> {
  return Buffer.from(await readBytes(io, file)).toString("utf8");
}

/** @throws UsageError naming the file and the reason. */
export async function readBytes(io: CliIo, file: string): Promise<Uint8Array> {
  try {
    return await readFile(resolve(io.cwd, file));
  } catch (error) {
    throw new UsageError(`cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** @throws UsageError */
export function parseJsonArgument(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${what} is not JSON (${reason}); a text needs its own quotes, like '"hello"'`);
  }
}

/** JSON is YAML too. @throws UsageError naming the file and the place. */
export async function readYaml(io: CliIo, file: string): Promise<unknown> {
  const text = await readText(io, file);
  const { parse } = await import("yaml");
  try {
    return parse(text);
  } catch (error) {
    throw new UsageError(`${file} is not YAML: ${error instanceof Error ? error.message : String(error)}`);
  }
}
