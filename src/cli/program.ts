// Owns: the tree of commands, and how their ends become exit codes: 0 done, 1 refused or failed, 2 usage, 3 unknown.
import { Command, CommanderError } from "commander";
import { toAetherError } from "../base/errors.ts";
import { SDK_VERSION } from "../sdk/version.ts";
import type { CliIo } from "./cli-io.ts";
import { CommandExit } from "./command-exit.ts";
import { addBlueprintCommands } from "./commands/blueprint.ts";
import { addCallCommand } from "./commands/call.ts";
import { addClusterCommands } from "./commands/cluster.ts";
import { addControlCommands } from "./commands/control.ts";
import { addDemoCommand } from "./commands/demo.ts";
import { addDevCommand } from "./commands/dev.ts";
import { addEventsCommand } from "./commands/events.ts";
import { addAlertsCommand } from "./commands/alerts.ts";
import { addDoctorCommand } from "./commands/doctor.ts";
import { addJobCommands } from "./commands/job/job-commands.ts";
import { addKvCommands } from "./commands/kv.ts";
import { addLeaseCommands } from "./commands/lease.ts";
import { addLogsCommands } from "./commands/logs.ts";
import { addNodeCommands } from "./commands/node.ts";
import { addScheduleCommands } from "./commands/schedule.ts";
import { addSliceCommands } from "./commands/slice.ts";
import { addTopCommand } from "./commands/top.ts";
import { addTopicCommands } from "./commands/topic.ts";
import { EXIT } from "./exit.ts";
import { UsageError } from "./usage-error.ts";

const FIRST_STEPS = `
First steps:
  $ aether dev
  $ aether cluster status
  $ aether kv put data/greeting '"hello"'`;
const INTERRUPTED = "AbortError";

/** Runs one command line and returns its exit code. */
export async function runCli(args: readonly string[], io: CliIo): Promise<number> {
  try {
    await createProgram(io).parseAsync([...args], { from: "user" });
    return EXIT.done;
  } catch (error) {
    return exitCodeOf(error, io);
  }
}

export function createProgram(io: CliIo): Command {
  const program = new Command("aether")
    .description("A peer-to-peer clustered runtime for Node.js with consensus built in.")
    .version(SDK_VERSION)
    .option("--api <url>", "address of a node's API, or several with commas: the first that is ready (env AETHER_API)")
    .option("--json", "print JSON for scripts instead of text for people")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => io.print(text.trimEnd()),
      writeErr: (text) => io.report(text.trimEnd()),
    })
    .exitOverride()
    .showHelpAfterError("(add --help to see how it is used)")
    .addHelpText("after", FIRST_STEPS);
  addDemoCommand(program, io);
  addDevCommand(program, io);
  addNodeCommands(program, io);
  addClusterCommands(program, io);
  addEventsCommand(program, io);
  addKvCommands(program, io);
  addLeaseCommands(program, io);
  addSliceCommands(program, io);
  addBlueprintCommands(program, io);
  addControlCommands(program, io);
  addTopicCommands(program, io);
  addScheduleCommands(program, io);
  addLogsCommands(program, io);
  addAlertsCommand(program, io);
  addDoctorCommand(program, io);
  addTopCommand(program, io);
  addCallCommand(program, io);
  addJobCommands(program, io);
  return program;
}

function exitCodeOf(thrown: unknown, io: CliIo): number {
  // Commander has printed what it has to say; asking for help is no error.
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (thrown instanceof CommandExit) return thrown.exitCode;
  if (thrown instanceof UsageError) {
    io.report(`aether: ${thrown.message}`);
    return EXIT.usage;
  }
  if (thrown instanceof Error && thrown.name === INTERRUPTED) return EXIT.failed;
  const error = toAetherError(thrown);
  io.report(`${error.code}: ${oneLine(error.message)}${error.outcome === "unknown" ? " (outcome unknown)" : ""}`);
  return error.outcome === "unknown" ? EXIT.unknown : EXIT.failed;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, "; ");
}
