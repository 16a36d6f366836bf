// Owns: commands that mean one job, or all of a filter: their flags, and asking for one page after the other.
import type { Command } from "commander";
import { z } from "zod";
import { SECOND_MS } from "../../../base/units.ts";
import { JOBS } from "../../job-answers.ts";
import { CommandExit } from "../../command-exit.ts";
import { EXIT } from "../../exit.ts";
import type { Session } from "../../options.ts";
import { printable } from "../../printable.ts";
import { UsageError } from "../../usage-error.ts";
import { filterOf, parseCount, withFilterFlags, type FilterFlags } from "./filter.ts";

export interface BulkFlags extends FilterFlags {
  readonly yes?: boolean;
  readonly dryRun?: boolean;
  readonly limit?: number;
  readonly after?: string;
}

export interface Bulk {
  readonly action: Readonly<Record<string, unknown>>;
  /** What becomes of the jobs, as in "are asked to end". */
  readonly done: string;
  readonly wouldBe: string;
}

/** Of one request: it has to be over before the node is taken for silent. */
const JOBS_PER_REQUEST = 100;
const MOVES_PER_REQUEST = 8;
const REQUEST_TIMEOUT_MS = 60 * SECOND_MS;
/** Each log is replayed, and a job that runs is waited for. */
const MOVES_TIMEOUT_MS = 400 * SECOND_MS;
const LIMIT_MAX = 1_000_000;

const failureSchema = z.object({ job: z.string(), code: z.string(), message: z.string() });
const answerSchema = z.object({
  skipped: z.number(),
  failed: z.array(failureSchema),
  jobs: z.array(z.string()),
  made: z.array(z.object({ job: z.string(), of: z.string() })).optional(),
  more: z.boolean(),
  next: z.string().optional(),
  revision: z.number(),
});
type Answer = z.output<typeof answerSchema>;

export const BULK_HELP = `
With filters instead of an id all jobs are meant that all of them hold for, and that were there when it began. Done
again it does nothing to those that have it. Exit code 1 when it failed for some of them, which are named.`;

export function withBulkFlags(command: Command, artifactFlag?: "--artifact" | "--from"): Command {
  return withFilterFlags(command, artifactFlag)
    .option("--yes", "do it, to all jobs of the filter")
    .option("--dry-run", "say which jobs it would be")
    .option("--limit <n>", "look at so many jobs of the filter at most", parseCount(LIMIT_MAX))
    .option("--after <id>", "only jobs after this one");
}

/** Whether all jobs of a filter are meant. @throws UsageError unless it is clear which jobs are */
export function isBulk(job: string | undefined, flags: BulkFlags): boolean {
  const isFiltered = hasFilters(flags);
  if ((job === undefined) !== isFiltered) {
    throw new UsageError("say which job is meant: its id, or filters like --agent, --status and --attribute");
  }
  const { yes = false, dryRun = false, limit, after } = flags;
  if (isFiltered && yes === dryRun) {
    throw new UsageError("nothing was done; give --dry-run to see which jobs it would be, or --yes to do it");
  }
  if (!isFiltered && (yes || dryRun || limit !== undefined || after !== undefined)) {
    throw new UsageError("--yes, --dry-run, --limit and --after go with filters, not with an id");
  }
  return isFiltered;
}

export function hasFilters(flags: FilterFlags): boolean {
  return Object.keys(bodyOf(flags)).length > 0;
}

/** @throws CommandExit when it failed for some of them */
export async function doToMany(session: Session, flags: BulkFlags, bulk: Bulk): Promise<void> {
  const { limit = LIMIT_MAX, dryRun = false } = flags;
  const all: Answer[] = [];
  let next = flags.after;
  let left = limit;
  do {
    const page: Answer = await ask(session, flags, { bulk, left, after: next, upTo: all[0]?.revision });
    all.push(page);
    left -= page.jobs.length + page.failed.length + page.skipped;
    next = page.more ? page.next : undefined;
  } while (next !== undefined && left > 0);
  const jobs = all.flatMap((page) => page.jobs);
  const failed = all.flatMap((page) => page.failed);
  const made = all.flatMap((page) => page.made ?? []);
  const skipped = all.reduce((sum, page) => sum + page.skipped, 0);
  const answer = {
    told: jobs.length, skipped, jobs, failed, dryRun,
    ...(made.length > 0 && { made }), ...(next !== undefined && { next }),
  };
  const by = new Map(made.map(({ job, of }) => [of, job]));
  session.show(answer, () => [
    ...jobs.map((job) => (by.has(job) ? `${job} as ${by.get(job)}` : job)),
    ...failed.map(({ job, code, message }) => printable(`${job}: ${code}: ${message}`)),
    `${jobs.length} jobs ${dryRun ? bulk.wouldBe : bulk.done}${alsoText(skipped, failed.length)}`,
    ...(next === undefined ? [] : [`… and more: --after ${next}`]),
  ].join("\n"));
  if (failed.length > 0) throw new CommandExit(EXIT.failed);
}

interface Page {
  readonly bulk: Bulk;
  readonly left: number;
  readonly after: string | undefined;
  readonly upTo: number | undefined;
}

function ask({ api }: Session, flags: BulkFlags, { bulk: { action }, left, after, upTo }: Page): Promise<Answer> {
  const isMove = action["kind"] === "move";
  const limit = Math.min(left, isMove ? MOVES_PER_REQUEST : JOBS_PER_REQUEST);
  return api.request(answerSchema, "POST", `${JOBS}/bulk`, {
    json: { ...bodyOf(flags), action, dryRun: flags.dryRun, limit, after, upTo },
    timeoutMs: isMove ? MOVES_TIMEOUT_MS : REQUEST_TIMEOUT_MS,
  });
}

function bodyOf(flags: FilterFlags): Readonly<Record<string, unknown>> {
  return { ...filterOf(flags), ...(flags.attribute !== undefined && { attributes: flags.attribute }) };
}

function alsoText(skipped: number, failed: number): string {
  return (skipped > 0 ? `, ${skipped} are left as they are` : "") + (failed > 0 ? `, it failed for ${failed}` : "");
}
