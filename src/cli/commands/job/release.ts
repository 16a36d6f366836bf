// Owns: `aether job release`: letting jobs go on that are held since their cluster began from a backup, or are stuck.
import type { Command } from "commander";
import { z } from "zod";
import { toAetherError } from "../../../base/errors.ts";
import type { CliIo } from "../../cli-io.ts";
import { JOBS, jobListSchema } from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { UsageError } from "../../usage-error.ts";

const releasedSchema = z.object({ job: z.string() });

const HELP = `
After aether cluster restore or recover every job that had not ended is held: it may have done more in the world than
the backup knows. Once it goes on, each call of a "once" tool that the backup does not know to be done is UNKNOWN first:
its reconcile is asked, or you are (aether job resolve).

A job that is stuck goes on where it was: see to what aether job show says of it before.

Examples:
  $ aether job list --status waiting
  $ aether job release claim-17
  $ aether job release --all --agent claims`;

interface ReleaseFlags {
  readonly all?: boolean;
  readonly agent?: string;
}

export function addReleaseCommand(group: Command, io: CliIo): void {
  group
    .command("release")
    .description("let a job go on that is held since a restore, or is stuck")
    .argument("[job]", "id of the job")
    .option("--all", "every job that is held")
    .option("--agent <name>", "with --all, of this agent only")
    .addHelpText("after", HELP)
    .action(async (job: string | undefined, { all = false, agent }: ReleaseFlags, command: Command) => {
      if ((job === undefined) === !all) throw new UsageError("give the id of a job, or --all");
      if (agent !== undefined && !all) throw new UsageError("--agent goes with --all");
      const session = openSession(command, io);
      if (job === undefined) return await releaseAll(session, agent);
      session.show(await release(session, job), () => `job ${job} goes on`);
    });
}

async function release({ api }: Session, job: string): Promise<z.output<typeof releasedSchema>> {
  return await api.request(releasedSchema, "POST", `${apiPath(JOBS, job)}/release`);
}

async function releaseAll(session: Session, agent: string | undefined): Promise<void> {
  const released: string[] = [];
  const query = new URLSearchParams({ status: "waiting", ...(agent === undefined ? {} : { agent }) });
  for (let more = true; more;) {
    const page = await session.api.get(jobListSchema, `${JOBS}?${query.toString()}`);
    for (const { job, waiting } of page.jobs) {
      if (waiting?.reason === "restored" && await isReleased(session, job)) released.push(job);
    }
    const next = page.next ?? page.jobs.at(-1)?.job;
    more = page.more && next !== undefined;
    if (next !== undefined) query.set("after", next);
  }
  session.show({ released }, () =>
    released.length === 0 ? "no job is held" : `${released.length} jobs go on: ${released.join(", ")}`);
}

/** False for one that somebody else has released meanwhile. */
async function isReleased(session: Session, job: string): Promise<boolean> {
  try {
    await release(session, job);
    return true;
  } catch (error) {
    if (toAetherError(error).code === "E_CONFLICT") return false;
    throw error;
  }
}
