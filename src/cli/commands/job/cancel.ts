// Owns: `aether job cancel`: one job, or all that a filter names.
import type { Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../../cli-io.ts";
import { JOBS } from "../../job-answers.ts";
import { apiPath, openSession } from "../../options.ts";
import { BULK_HELP, doToMany, isBulk, withBulkFlags, type Bulk, type BulkFlags } from "./bulk.ts";

const toldSchema = z.object({ job: z.string() });
const CANCEL: Bulk = { action: { kind: "cancel" }, done: "are asked to end", wouldBe: "would be asked to end" };

const HELP = `${BULK_HELP}

Examples:
  $ aether job cancel claim-17
  $ aether job cancel --agent claims --status waiting --dry-run
  $ aether job cancel --agent claims --attribute region=eu --yes`;

export function addCancelCommand(group: Command, io: CliIo): void {
  const command = group
    .command("cancel")
    .description("ask a job to end, or all jobs of a filter; their code may still tidy up")
    .argument("[job]", "id of the job");
  withBulkFlags(command)
    .addHelpText("after", HELP)
    .action(async (job: string | undefined, flags: BulkFlags, made: Command) => {
      const session = openSession(made, io);
      if (isBulk(job, flags) || job === undefined) return await doToMany(session, flags, CANCEL);
      const told = await session.api.request(toldSchema, "POST", `${apiPath(JOBS, job)}/cancel`);
      session.show(told, () => `job ${job} is asked to end`);
    });
}
