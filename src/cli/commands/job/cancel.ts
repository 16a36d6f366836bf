// Owns: `aether job cancel`: one job, or all that a filter names.
import type { Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../../cli-io.ts";
import { JOBS } from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { UsageError } from "../../usage-error.ts";
import { addAttribute } from "./attribute.ts";

const toldSchema = z.object({ job: z.string() });
const bulkSchema = z.object({
  told: z.number(),
  ended: z.number(),
  failed: z.array(z.object({ job: z.string(), code: z.string(), message: z.string() })),
  jobs: z.array(z.string()),
  more: z.boolean(),
  next: z.string().optional(),
});

const HELP = `
With filters instead of an id all jobs are meant that have not ended and that all of them hold for.

Examples:
  $ aether job cancel claim-17
  $ aether job cancel --agent claims --status waiting --dry-run
  $ aether job cancel --agent claims --attribute region=eu --yes`;

interface CancelFlags {
  readonly agent?: string;
  readonly status?: string;
  readonly parent?: string;
  readonly attribute?: Readonly<Record<string, string>>;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

export function addCancelCommand(group: Command, io: CliIo): void {
  group
    .command("cancel")
    .description("ask a job to end, or all jobs of a filter; their code may still tidy up")
    .argument("[job]", "id of the job")
    .option("--agent <name>", "all jobs of this agent")
    .option("--status <status>", "all jobs that are pending, running or waiting")
    .option("--parent <id>", "all jobs that this one has started")
    .option("--attribute <name=value>", "all jobs with this attribute, may be repeated", addAttribute)
    .option("--yes", "do it, for all jobs of the filter")
    .option("--dry-run", "say which jobs it would be")
    .addHelpText("after", HELP)
    .action(async (job: string | undefined, flags: CancelFlags, command: Command) => {
      const session = openSession(command, io);
      const { agent, status, parent, attribute: attributes, yes = false, dryRun = false } = flags;
      const given = Object.entries({ agent, status, parent, attributes }).filter(([, value]) => value !== undefined);
      if ((job === undefined) === (given.length === 0)) {
        throw new UsageError("say which job is meant: its id, or --agent, --status, --parent or --attribute");
      }
      if (job !== undefined) return await cancelOne(session, job);
      if (yes === dryRun) throw new UsageError("nothing was cancelled; give --dry-run to see which jobs it would be, " +
        "or --yes to cancel them");
      await cancelAll(session, Object.fromEntries(given), dryRun);
    });
}

async function cancelOne(session: Session, job: string): Promise<void> {
  const told = await session.api.request(toldSchema, "POST", `${apiPath(JOBS, job)}/cancel`);
  session.show(told, () => `job ${job} is asked to end`);
}

async function cancelAll(
  session: Session, filter: Readonly<Record<string, unknown>>, dryRun: boolean,
): Promise<void> {
  const jobs: string[] = [];
  const failed: z.output<typeof bulkSchema>["failed"] = [];
  let after: string | undefined;
  do {
    const body = { ...filter, action: { kind: "cancel" }, dryRun, ...(after === undefined ? {} : { after }) };
    const page = await session.api.request(bulkSchema, "POST", `${JOBS}/bulk`, {
      headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    jobs.push(...page.jobs);
    failed.push(...page.failed);
    after = page.more ? page.next : undefined;
  } while (after !== undefined);
  session.show({ told: jobs.length, jobs, failed, dryRun }, () => [
    ...jobs,
    ...failed.map(({ job, code, message }) => `${job}: ${code}: ${message}`),
    dryRun ? `${jobs.length} jobs would be asked to end` : `${jobs.length} jobs are asked to end`,
  ].join("\n"));
}
