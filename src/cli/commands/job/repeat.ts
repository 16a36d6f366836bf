// Owns: `aether job retry | fork`: doing a job again that has ended.
import type { Command } from "commander";
import type { CliIo } from "../../cli-io.ts";
import { JOBS, startedSchema } from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { parseJsonArgument, readArgument } from "../../text-input.ts";
import { UsageError } from "../../usage-error.ts";
import { BULK_HELP, doToMany, isBulk, withBulkFlags, type BulkFlags } from "./bulk.ts";
import { waitAndShow } from "./start.ts";

const RETRY_HELP = `
A new job has the log of the old one up to where it failed, or was cancelled, and does what failed again. Steps and
calls of tools that the log has are not made again, and effect ids stay the same. A job is done again once: then retry
the new one.
${BULK_HELP}

Examples:
  $ aether job retry claim-17 --wait
  $ aether job retry claim-17 --current --id claim-17b
  $ aether job retry --agent claims --artifact acme:claims@1.0.0 --created-after 2026-01-31 --current --dry-run`;

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
  const command = group
    .command("retry")
    .description("do a job again from where it failed or was cancelled, or all such jobs of a filter")
    .argument("[job]", "id of the job");
  withBulkFlags(withFlags(command))
    .addHelpText("after", RETRY_HELP)
    .action(async (job: string | undefined, flags: RepeatFlags & BulkFlags, made: Command) => {
      const session = openSession(made, io);
      if (!isBulk(job, flags) && job !== undefined) return repeat(session, apiPath(JOBS, job, "retry"), flags, {});
      const { id, wait, current, again } = flags;
      if (id !== undefined || wait === true) throw new UsageError("--id and --wait go with one job, not with filters");
      const action = { kind: "retry", code: codeOf(current), again };
      await doToMany(session, flags, { action, done: "are done again", wouldBe: "would be done again" });
    });
}

export function addForkCommand(group: Command, io: CliIo): void {
  withFlags(group.command("fork").description("do a job again that has ended, from one of its calls on")
    .argument("<job>", "id of the job"))
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
    .option("--id <id>", "id of the new job; default: one that sorts by time")
    .option("--current", "with the code that its agent has now; default: what the old job ran")
    .option("--again <call>", "make this call again although it may have happened; may be repeated", addCall)
    .option("--wait", "wait until the new job has ended, and print its output");
}

async function repeat(
  session: Session, path: string, { id, current, again, wait }: RepeatFlags, what: object,
): Promise<void> {
  const started = await session.api.request(startedSchema, "POST", path, {
    json: { ...what, id, code: codeOf(current), again },
  });
  if (wait !== true) return session.show(started, ({ job, isNew }) => (isNew ? job : `${job} (started before)`));
  session.io.report(`job ${started.job}`);
  await waitAndShow(session, started.job);
}

function codeOf(isCurrent: boolean | undefined): "current" | "same" {
  return isCurrent === true ? "current" : "same";
}

function addCall(call: string, before: readonly string[] = []): readonly string[] {
  return [...before, call];
}
