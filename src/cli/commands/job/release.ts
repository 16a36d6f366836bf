// Owns: `aether job release`: letting jobs go on that are held since their cluster began from a backup, or are stuck.
import type { Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../../cli-io.ts";
import { JOBS } from "../../job-answers.ts";
import { apiPath, openSession } from "../../options.ts";
import { BULK_HELP, doToMany, isBulk, withBulkFlags, type Bulk, type BulkFlags } from "./bulk.ts";

const releasedSchema = z.object({ job: z.string() });

const HELP = `
After aether cluster restore or recover every job that had not ended is held: it may have done more in the world than
the backup knows. Once it goes on, each call of a "once" tool that the backup does not know to be done is UNKNOWN first:
its reconcile is asked, or you are (aether job resolve).

A job that is stuck goes on where it was: see to what aether job show says of it before.
${BULK_HELP}

Examples:
  $ aether job list --waiting restored
  $ aether job release claim-17
  $ aether job release --all --agent claims
  $ aether job release --waiting stuck --agent claims --yes`;

const RELEASE: Bulk = { action: { kind: "release" }, done: "go on", wouldBe: "would go on" };

interface ReleaseFlags extends BulkFlags {
  readonly all?: boolean;
}

export function addReleaseCommand(group: Command, io: CliIo): void {
  const command = group
    .command("release")
    .description("let a job go on that is held since a restore, or is stuck")
    .argument("[job]", "id of the job")
    .option("--all", "every job that is held since a restore; with filters only those of them");
  withBulkFlags(command)
    .addHelpText("after", HELP)
    .action(async (job: string | undefined, { all = false, ...flags }: ReleaseFlags, made: Command) => {
      // Whoever says all has said so.
      const meant = all ? { waiting: "restored", ...flags, yes: flags.dryRun !== true } : flags;
      const session = openSession(made, io);
      if (isBulk(job, meant) || job === undefined) return await doToMany(session, meant, RELEASE);
      const released = await session.api.request(releasedSchema, "POST", `${apiPath(JOBS, job)}/release`);
      session.show(released, () => `job ${job} goes on`);
    });
}
