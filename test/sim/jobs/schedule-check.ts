// Owns: whether the jobs that a schedule has started are those it may have started: one for each tick at most, in the
// order of the ticks, and none beside another one.
import { isSameData } from "../../../src/slices/core/canonical.ts";
import { MINUTE_MS } from "../../../src/base/units.ts";
import { Found, hasEnded, type JobBook } from "./job-book.ts";
import type { JobBooks } from "./job-books.ts";

/** Is told of each job that begins. */
export class ScheduleCheck {
  private readonly plan: JobBooks["schedule"];
  private readonly jobs: JobBook[] = [];

  constructor({ schedule }: Pick<JobBooks, "schedule">) {
    this.plan = schedule;
  }

  add(where: string, job: JobBook): void {
    const { schedule, tick } = job.row?.attributes ?? {};
    if (schedule === undefined || tick === undefined) return;
    const refuse = (what: string): never => {
      throw new Found("schedules", `${where}: a schedule starts it for ${tick}, ${what}`);
    };
    if (this.plan === undefined) return refuse("and there is none");
    if (Date.parse(tick) % MINUTE_MS !== 0) refuse("which is no moment of it");
    const last = this.jobs.at(-1);
    if (last !== undefined && last.row?.attributes?.["tick"] === tick) refuse(`as it has ${last.id}`);
    if (last !== undefined && (last.row?.attributes?.["tick"] ?? "") > tick) refuse(`after ${last.id} for a later one`);
    const beside = this.plan.overlap === "skip" ? this.jobs.find(({ row }) => !hasEnded(row)) : undefined;
    if (beside !== undefined) refuse(`beside ${beside.id}, which lives`);
    const { programs } = (job.spec?.input ?? {}) as { readonly programs?: unknown };
    const isPlanned = [this.plan.programs, this.plan.otherPrograms].some((one) => isSameData(one, programs));
    if (!isPlanned) refuse("with another input");
    this.jobs.push(job);
  }
}
