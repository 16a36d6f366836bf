// Owns: `aether job replay`: a job and another version of its code.
import type { Command } from "commander";
import { z } from "zod";
import { SECOND_MS } from "../../../base/units.ts";
import type { CliIo } from "../../cli-io.ts";
import { CommandExit } from "../../command-exit.ts";
import { JOBS } from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { printable } from "../../printable.ts";

/** A node ends a replay after a minute. */
const REPLAY_TIMEOUT_MS = 70 * SECOND_MS;

const verdictSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("same"), job: z.string(), artifact: z.string(), seq: z.number(), next: z.string() }),
  z.object({
    kind: z.literal("diverged"),
    job: z.string(),
    artifact: z.string(),
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

export function addReplayCommand(group: Command, io: CliIo): void {
  group
    .command("replay")
    .description("see whether another version of a job's code does what the job's log says")
    .argument("<job>", "id of the job, which may live or have ended")
    .requiredOption("--artifact <name@version>", "the version, as group:name@version")
    .addHelpText("after", REPLAY_HELP)
    .action(async (job: string, { artifact }: { readonly artifact: string }, command: Command) => {
      const session = openSession(command, io);
      const verdict = await ask(session, apiPath(JOBS, job, "replay"), artifact);
      session.show(verdict, verdictText);
      if (verdict.kind === "diverged") throw new CommandExit(1);
    });
}

async function ask({ api }: Session, path: string, artifact: string): Promise<Verdict> {
  return await api.request(verdictSchema, "POST", path, {
    headers: { "content-type": "application/json" }, body: JSON.stringify({ artifact }), timeoutMs: REPLAY_TIMEOUT_MS,
  });
}

function verdictText(verdict: Verdict): string {
  const { job, artifact, seq } = verdict;
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
