// Owns: `aether job list`.
import { InvalidArgumentError, type Command } from "commander";
import type { CliIo } from "../../cli-io.ts";
import { JOBS, jobListSchema, queueText, statusText } from "../../job-answers.ts";
import { openSession } from "../../options.ts";
import { table } from "../../table.ts";
import { addAttribute } from "./attribute.ts";

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000;
const STATUSES = ["pending", "running", "waiting", "completed", "failed", "cancelled"];

const HELP = `
In the order of ids, which is that of their starts for ids that were not given.

Examples:
  $ aether job list --status waiting
  $ aether job list --agent claims --attribute region=eu --json`;

interface ListFlags {
  readonly agent?: string;
  readonly status?: string;
  readonly parent?: string;
  readonly attribute?: Readonly<Record<string, string>>;
  readonly limit: number;
  readonly after?: string;
}

export function addListCommand(group: Command, io: CliIo): void {
  group
    .command("list")
    .description("jobs, with what they do or wait for")
    .option("--agent <name>", "of this agent only")
    .option("--status <status>", `one of ${STATUSES.join(", ")}`, parseStatus)
    .option("--parent <id>", "started by this job")
    .option("--attribute <name=value>", "with this attribute, may be repeated", addAttribute)
    .option("--limit <n>", `at most so many, 1 to ${LIMIT_MAX}`, parseLimit, LIMIT_DEFAULT)
    .option("--after <id>", "only jobs after this one")
    .addHelpText("after", HELP)
    .action(async ({ attribute = {}, limit, ...filter }: ListFlags, command: Command) => {
      const session = openSession(command, io);
      const query = new URLSearchParams({ limit: String(limit), ...given(filter) });
      for (const [name, value] of Object.entries(attribute)) query.append("attribute", `${name}=${value}`);
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

function given(fields: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]]));
}

function parseStatus(text: string): string {
  if (STATUSES.includes(text)) return text;
  throw new InvalidArgumentError(`use one of ${STATUSES.join(", ")}`);
}

function parseLimit(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= LIMIT_MAX) return value;
  throw new InvalidArgumentError(`use 1 to ${LIMIT_MAX}`);
}
