// Owns: `aether job list`.
import type { Command } from "commander";
import type { CliIo } from "../../cli-io.ts";
import { JOBS, jobListSchema, queueText, statusText } from "../../job-answers.ts";
import { openSession } from "../../options.ts";
import { table } from "../../table.ts";
import { filterOf, parseCount, withFilterFlags, type FilterFlags } from "./filter.ts";

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000;

const HELP = `
The newest first, by their ids: these begin with the time of the start unless they were given.

Examples:
  $ aether job list --waiting unknown
  $ aether job list --artifact acme:claims@1.0.0 --created-after 2026-01-31
  $ aether job list --agent claims --attribute region=eu --json`;

interface ListFlags extends FilterFlags {
  readonly limit: number;
  readonly after?: string;
  readonly oldest?: boolean;
}

export function addListCommand(group: Command, io: CliIo): void {
  withFilterFlags(group.command("list").description("jobs, with what they do or wait for"))
    .option("--limit <n>", `at most so many, 1 to ${LIMIT_MAX}`, parseCount(LIMIT_MAX), LIMIT_DEFAULT)
    .option("--oldest", "the oldest first")
    .option("--after <id>", "only jobs after this one")
    .addHelpText("after", HELP)
    .action(async ({ limit, after, oldest, ...filter }: ListFlags, command: Command) => {
      const session = openSession(command, io);
      const query = new URLSearchParams({ limit: String(limit), ...filterOf(filter) });
      if (oldest === true) query.set("order", "oldest");
      if (after !== undefined) query.set("after", after);
      for (const [name, value] of Object.entries(filter.attribute ?? {})) query.append("attribute", `${name}=${value}`);
      const page = await session.api.get(jobListSchema, `${JOBS}?${query.toString()}`);
      session.show(page, ({ jobs, more, next = jobs.at(-1)?.job ?? "" }) => {
        const rest = more ? `\n… and more: --after ${next}` : "";
        if (jobs.length === 0) return `no jobs${rest}`;
        const rows = jobs.map((job) =>
          [job.job, job.agent, queueText(job), new Date(job.createdMs).toISOString(), statusText(job)]);
        return `${table(["JOB", "AGENT", "CLASS", "CREATED", "STATUS"], rows)}${rest}`;
      });
    });
}
