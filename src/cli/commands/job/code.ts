// Owns: `aether job replay | move`: a job and another version of its code.
import type { Command } from "commander";
import { z } from "zod";
import { SECOND_MS } from "../../../base/units.ts";
import type { CliIo } from "../../cli-io.ts";
import { CommandExit } from "../../command-exit.ts";
import { JOBS } from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { printable } from "../../printable.ts";
import { BULK_HELP, doToMany, isBulk, withBulkFlags, type BulkFlags } from "./bulk.ts";

/** A node ends a replay after a minute. */
const REPLAY_TIMEOUT_MS = 70 * SECOND_MS;

/** It may be replayed twice, with a call under way in between. */
const MOVE_TIMEOUT_MS = 170 * SECOND_MS;

const ofJob = { job: z.string(), artifact: z.string() };
const verdictSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("same"), ...ofJob, seq: z.number(), next: z.string() }),
  z.object({ kind: z.literal("moved"), ...ofJob, isNew: z.boolean() }),
  z.object({
    kind: z.literal("diverged"),
    ...ofJob,
    seq: z.number(),
    expected: z.string(),
    found: z.string(),
    expectedDigest: z.string().optional(),
    foundDigest: z.string().optional(),
  }),
]);
type Verdict = z.output<typeof verdictSchema>;

const REPLAY_HELP = `
Nothing is called and nothing changes: steps, tools, models, children and timers are what the log says of them. What
stands in the code outside of job.… is run. The version has to be in the cluster (aether slice push).
The exit code is 1 when the code does something else than the log.

Examples:
  $ aether job replay claim-17 --artifact acme:claims@1.1.0
  $ aether job replay claim-17 --artifact acme:claims@1.1.0 --json`;

const MOVE_HELP = `
The job's log is replayed first (aether job replay): nothing changes when the version does something else. A job that
runs is asked to hold still, which it does as soon as no call of it is under way; should this command be lost meanwhile,
the job is "waiting: stuck", and the same command again goes on. With the version that it has, a job that is stuck is
tried once more.
The exit code is 1 when the version does something else than the log.
${BULK_HELP}

Examples:
  $ aether job move claim-17 --artifact acme:claims@1.1.0
  $ aether job move --from acme:claims@1.0.0 --artifact acme:claims@1.1.0 --yes`;

export function addReplayCommand(group: Command, io: CliIo): void {
  group
    .command("replay")
    .description("see whether another version of a job's code does what the job's log says")
    .argument("<job>", "id of the job, which may live or have ended")
    .requiredOption("--artifact <name@version>", "the version, as group:name@version")
    .addHelpText("after", REPLAY_HELP)
    .action(async (job: string, { artifact }: { readonly artifact: string }, command: Command) => {
      const session = openSession(command, io);
      const replay = { path: apiPath(JOBS, job, "replay"), timeoutMs: REPLAY_TIMEOUT_MS };
      const verdict = await ask(session, replay, artifact);
      session.show(verdict, verdictText);
      if (verdict.kind === "diverged") throw new CommandExit(1);
    });
}

interface MoveFlags extends BulkFlags {
  readonly artifact: string;
}

export function addMoveCommand(group: Command, io: CliIo): void {
  const command = group
    .command("move")
    .description("let jobs that live run another version of their code, if that does what their logs say")
    .argument("[job]", "id of the job")
    .requiredOption("--artifact <name@version>", "the version, as group:name@version");
  withBulkFlags(command, "--from")
    .addHelpText("after", MOVE_HELP)
    .action(async (job: string | undefined, flags: MoveFlags, made: Command) => {
      const session = openSession(made, io);
      const { artifact, ...filter } = flags;
      if (isBulk(job, filter) || job === undefined) {
        const action = { kind: "move", artifact };
        return await doToMany(session, filter, { action, done: "are moved", wouldBe: "would be moved" });
      }
      const verdict = await ask(session, { path: apiPath(JOBS, job, "move"), timeoutMs: MOVE_TIMEOUT_MS }, artifact);
      session.show(verdict, verdictText);
      if (verdict.kind === "diverged") throw new CommandExit(1);
    });
}

async function ask(
  { api }: Session, { path, timeoutMs }: { readonly path: string; readonly timeoutMs: number }, artifact: string,
): Promise<Verdict> {
  return await api.request(verdictSchema, "POST", path, { json: { artifact }, timeoutMs });
}

function verdictText(verdict: Verdict): string {
  const { job, artifact } = verdict;
  if (verdict.kind === "moved") {
    return verdict.isNew ? `job ${job} goes on with ${artifact}` : `job ${job} runs ${artifact} already`;
  }
  const { seq } = verdict;
  if (verdict.kind === "same") {
    return printable(`${artifact} does what the log of job ${job} says, up to event ${seq}; then it ${verdict.next}`);
  }
  const { expected, found, expectedDigest, foundDigest } = verdict;
  return [
    `${artifact} does not do what the log of job ${job} says, from event ${seq} on`,
    `  the log has  ${expected}`,
    `  the code     ${found}`,
    ...(expectedDigest === undefined ? [] : [`  digests      ${expectedDigest}, in the code ${foundDigest ?? "none"}`]),
  ].map(printable).join("\n");
}
