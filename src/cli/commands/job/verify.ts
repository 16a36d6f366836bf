// Owns: `aether job export | verify`: a job in a file, and whether a job is what was once recorded. What they do is
// loaded on demand.
import { open, rm, stat, type FileHandle } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { AetherError } from "../../../base/errors.ts";
import type { JobVerdict } from "../../../jobs/core/explain/job-check.ts";
import type { JobProblem } from "../../../jobs/core/explain/job-problems.ts";
import type { CliIo } from "../../cli-io.ts";
import { CommandExit } from "../../command-exit.ts";
import { EXIT } from "../../exit.ts";
import { untilInterrupt } from "../../interrupt.ts";
import { fileBytes, nodeBytes } from "../../job-bytes.ts";
import { openSession, type Session } from "../../options.ts";
import { printable } from "../../printable.ts";

const EXPORT_HELP = `
One line of JSON for each event and row, with its bytes as they are stored. It is checked on the way; exit code 1 when
the job is not whole, and the file is there all the same. Inputs and answers are in it as they are, also
those that are stored apart because they have more than 64 KiB.

Examples:
  $ aether job export claim-17
  $ aether job export claim-17 --out evidence/claim-17.jsonl`;

const VERIFY_HELP = `
A file is checked without any cluster. Found out is what was changed, lost, added or moved: events, calls of tools,
input, result, and values that are stored apart. Exit code 1 then; the number is that of the first event which is not to
be trusted. Whoever can write everything anew is found out only by comparing the link that is printed with one that was
kept.

Examples:
  $ aether job verify claim-17.jsonl
  $ aether job verify claim-17 --api http://127.0.0.1:7202`;

export function addExportCommand(group: Command, io: CliIo): void {
  group
    .command("export")
    .description("write a job to a file: its log, the calls of its tools, its input and result")
    .argument("<job>", "id of the job")
    .option("--out <file>", "where to; default: JOB.jsonl")
    .addHelpText("after", EXPORT_HELP)
    .action(async (job: string, { out = `${job}.jsonl` }: { readonly out?: string }, command: Command) => {
      const session = openSession(command, io);
      const verdict = await writeTo(session, job, out);
      session.show({ ...verdict, file: out }, () => `${out} has job ${job}: ${wholeText(verdict)}`);
      endUnlessWhole(session, verdict);
    });
}

export function addVerifyCommand(group: Command, io: CliIo): void {
  group
    .command("verify")
    .description("check that a job, in a file or in the cluster, is as it was recorded")
    .argument("<file-or-job>", "an exported job, or if there is no such file the id of a job")
    .addHelpText("after", VERIFY_HELP)
    .action(async (name: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const verdict = await verify(session, name);
      session.show(verdict, () => `job ${verdict.job} is ${wholeText(verdict)}`);
      endUnlessWhole(session, verdict);
    });
}

async function verify(session: Session, name: string): Promise<JobVerdict> {
  const { checkLines, linesOf } = await import("../../../jobs/doors/exported-lines.ts");
  const file = resolve(session.io.cwd, name);
  if (await isFile(file)) return await checkLines(linesOf(fileBytes(file)));
  return await untilInterrupt(session.io, (signal) => checkLines(linesOf(nodeBytes(session, name, signal))));
}

async function writeTo(session: Session, job: string, out: string): Promise<JobVerdict> {
  const { checkLines, linesOf } = await import("../../../jobs/doors/exported-lines.ts");
  const { io } = session;
  const file = resolve(io.cwd, out);
  return await untilInterrupt(io, async (signal) => {
    let handle: FileHandle | undefined;
    async function* written(): AsyncGenerator<string> {
      for await (const line of linesOf(nodeBytes(session, job, signal))) {
        handle ??= await openNew(file, out);
        await handle.write(`${line}\n`);
        yield line;
      }
    }
    try {
      const verdict = await checkLines(written());
      await handle?.sync();
      return verdict;
    } catch (error) {
      if (handle !== undefined) await rm(file, { force: true });
      throw error;
    } finally {
      await handle?.close();
    }
  });
}

async function openNew(file: string, shown: string): Promise<FileHandle> {
  try {
    return await open(file, "wx");
  } catch (error) {
    const isThere = error instanceof Error && "code" in error && error.code === "EEXIST";
    if (isThere) throw new AetherError("E_CONFLICT", `${shown} is there already: give another --out`);
    throw new AetherError("E_DISK", `cannot write ${shown}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function isFile(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isFile();
  } catch {
    // ignored: then it is the id of a job
    return false;
  }
}

function wholeText({ events, runs, link, problems: [first] }: JobVerdict): string {
  if (first !== undefined) return `BROKEN${placeText(first)}`;
  const ofRuns = runs === undefined ? "" : ` in ${runs} runs`;
  return `whole, ${events} events${ofRuns}, link ${link}`;
}

function endUnlessWhole({ io }: Session, { problems }: JobVerdict): void {
  if (problems.length === 0) return;
  for (const problem of problems) io.report(printable(`BROKEN${placeText(problem)}: ${problem.reason}`));
  throw new CommandExit(EXIT.failed);
}

function placeText({ run, seq }: JobProblem): string {
  const ofRun = run === undefined ? "" : ` of run ${run}`;
  if (seq === undefined) return run === undefined ? "" : ` in run ${run}`;
  return ` from event ${seq}${ofRun} on`;
}
