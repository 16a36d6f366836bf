// Owns: `aether job retry | fork`: doing a job again that has ended.
import type { Command } from "commander";
import type { CliIo } from "../../cli-io.ts";
import { JOBS, startedSchema } from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { parseJsonArgument, readArgument } from "../../text-input.ts";
import { waitAndShow } from "./start.ts";

const RETRY_HELP = `
A new job has the log of the old one up to where it failed, or was cancelled, and does what failed again. Steps and
calls of tools that the log has are not made again, and effect ids stay the same. A job is done again once: then retry
the new one.

Examples:
  $ aether job retry claim-17 --wait
  $ aether job retry claim-17 --current --id claim-17b`;

const FORK_HELP = `
A new job has the log of the old one up to the call, which aether job trace names, and goes on from there. Calls of
"once" tools that the old job made later would be made again: each has to be named with --again.

Examples:
  $ aether job fork claim-17 --at load#1
  $ aether job fork claim-17 --at refund#1 --again refund#1 --input '{"order": "o-18"}'`;

interface RepeatFlags {
  readonly id?: string;
  readonly current?: boolean;
  readonly again?: readonly string[];
  readonly wait?: boolean;
}

interface ForkFlags extends RepeatFlags {
  readonly at: string;
  readonly input?: string;
}

export function addRetryCommand(group: Command, io: CliIo): void {
  withFlags(group.command("retry").description("do a job again from where it failed or was cancelled"))
    .addHelpText("after", RETRY_HELP)
    .action(async (job: string, flags: RepeatFlags, command: Command) =>
      repeat(openSession(command, io), apiPath(JOBS, job, "retry"), flags, {}));
}

export function addForkCommand(group: Command, io: CliIo): void {
  withFlags(group.command("fork").description("do a job again that has ended, from one of its calls on"))
    .requiredOption("--at <call>", "name of the call that is done again first")
    .option("--input <input>", "another input: JSON, @FILE, or - for stdin")
    .addHelpText("after", FORK_HELP)
    .action(async (job: string, { at, input, ...flags }: ForkFlags, command: Command) => {
      const given = input === undefined ? {} : { input: parseJsonArgument(await readArgument(io, input), "INPUT") };
      await repeat(openSession(command, io), apiPath(JOBS, job, "fork"), flags, { at, ...given });
    });
}

function withFlags(command: Command): Command {
  return command
    .argument("<job>", "id of the job")
    .option("--id <id>", "id of the new job; default: one that sorts by time")
    .option("--current", "with the code that its agent has now; default: what the old job ran")
    .option("--again <call>", "make this call again although it may have happened; may be repeated", addCall)
    .option("--wait", "wait until the new job has ended, and print its output");
}

async function repeat(
  session: Session, path: string, { id, current, again, wait }: RepeatFlags, what: object,
): Promise<void> {
  const started = await session.api.request(startedSchema, "POST", path, {
    body: JSON.stringify({ ...what, id, code: current === true ? "current" : "same", again }),
    headers: { "content-type": "application/json" },
  });
  if (wait !== true) return session.show(started, ({ job, isNew }) => (isNew ? job : `${job} (started before)`));
  session.io.report(`job ${started.job}`);
  await waitAndShow(session, started.job);
}

function addCall(call: string, before: readonly string[] = []): readonly string[] {
  return [...before, call];
}
