// Owns: `aether slice logs`: what the instances of a slice say, from all nodes, once or until Ctrl-C.
import { InvalidArgumentError, type Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { followUntilInterrupt } from "../interrupt.ts";
import { openSession, type Session } from "../options.ts";
import { printable } from "../printable.ts";
import { SliceLines, type SliceLine } from "../slice-lines.ts";

const POLL_MS = 500;
const LINES_DEFAULT = 100;
const LINES_MAX = 1_000;

const EXAMPLES = `
Each node keeps the last 500 lines of each of its instances, also of those that have ended. The log of the node has all.

Examples:
  $ aether slice logs orders
  $ aether slice logs orders --follow --lines 10`;

interface LogsFlags {
  readonly follow?: boolean;
  readonly lines: number;
}

export function addLogsCommand(slice: Command, io: CliIo): void {
  slice
    .command("logs")
    .description("what the instances of a slice said lately, on all nodes")
    .argument("<slice>", "name of the slice")
    .option("--follow", "go on with what they say until Ctrl-C")
    .option("--lines <n>", "the latest so many, 1 to 1000", parseLines, LINES_DEFAULT)
    .addHelpText("after", EXAMPLES)
    .action(async (name: string, flags: LogsFlags, command: Command) => {
      const session = openSession(command, io);
      const lines = new SliceLines(io, session.api, name);
      const showLatest = async (): Promise<void> =>
        showAll(session, (await lines.read(flags.lines)).slice(-flags.lines));
      if (flags.follow !== true) return showLatest();
      await followUntilInterrupt(io, async (signal) => {
        for (await showLatest(); ; showAll(session, await lines.read(LINES_MAX))) await io.sleep(POLL_MS, signal);
      });
    });
}

function showAll(session: Session, lines: readonly SliceLine[]): void {
  for (const line of lines) session.show(line, lineText);
}

function lineText({ at, node, instance, level, text, fields }: SliceLine): string {
  const rest = fields === undefined ? "" : ` ${JSON.stringify(fields)}`;
  return printable(`${new Date(at).toISOString()} ${node} ${instance} ${level} ${text}${rest}`);
}

function parseLines(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= LINES_MAX) return value;
  throw new InvalidArgumentError(`use 1 to ${LINES_MAX}`);
}
