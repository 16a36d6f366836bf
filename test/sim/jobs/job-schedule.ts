// Owns: the schedule of a run of jobs: minutes that pass, another schedule or none meanwhile; and that one which is
// wanted starts a job once all is well, and one that is not wanted any more starts none.
// Does not own: which of its jobs may be there, and beside which others (schedule-check.ts).
import { MINUTE_MS } from "../../../src/base/units.ts";
import { askJobs, type JobsPorts } from "../../../src/testkit/ask-jobs.ts";
import type { TestCluster } from "../../../src/testkit/test-cluster.ts";
import type { JobViolation } from "./job-checker.ts";
import type { PlannedSchedule } from "./job-plan.ts";
import { PLAYER, type Schedules } from "./player.ts";

export interface SchedulePorts {
  readonly cluster: TestCluster;
  readonly jobs: JobsPorts;
  /** All wall clocks go on by so much. */
  jumpAll(byMs: number): void;
}

export const SCHEDULE = "beat";
/** The versions of the player that have the other schedule, and none. */
export const WITH_OTHER = "test:player:1.2.0";
export const WITH_NONE = "test:player:1.3.0";

/** The leader looks every second; a new one begins with what the row says. */
const START_MS_MAX = 30_000;
const LOOKS_MS = 3_000;
const APPLY_MS_MAX = 10_000;
const JOBS_MAX = 1_000;

export function schedulesOf({ programs, overlap }: PlannedSchedule): Schedules {
  return { [SCHEDULE]: { cron: "* * * * *", input: { programs: [...programs] }, overlap } };
}

/** Its ticks come when those of the first would. */
export function otherSchedulesOf({ otherPrograms, overlap }: PlannedSchedule): Schedules {
  return { [SCHEDULE]: { cron: "*/1 * * * *", input: { programs: [...otherPrograms] }, overlap } };
}

export class JobSchedule {
  private readonly plan: PlannedSchedule;
  private readonly ports: SchedulePorts;
  private isWanted = true;

  constructor(plan: PlannedSchedule, ports: SchedulePorts) {
    this.plan = plan;
    this.ports = ports;
  }

  /** What happens while faults may come. */
  async run(): Promise<void> {
    const { plan: { minutesMs, change }, ports: { cluster, jumpAll } } = this;
    await Promise.all([
      ...minutesMs.map(async (atMs) => {
        await cluster.advance(atMs);
        jumpAll(MINUTE_MS);
      }),
      ...(change === undefined ? [] : [cluster.advance(change.atMs).then(() => this.apply(change.to))]),
    ]);
  }

  /** No job lives, and all is well. */
  async findSilent(): Promise<JobViolation | undefined> {
    if (!this.isWanted) return undefined;
    const { cluster } = this.ports;
    const before = await this.countJobs();
    this.ports.jumpAll(MINUTE_MS);
    const endMs = cluster.nowMs + START_MS_MAX;
    while (await this.countJobs() === before) {
      if (cluster.nowMs >= endMs) return { check: "schedules", message: "a minute passes, and no job is started" };
      await cluster.advance(LOOKS_MS);
    }
    return undefined;
  }

  async end(): Promise<void> {
    if (this.isWanted) await this.apply("none");
  }

  /** No job lives, and nobody wants another one. */
  async findUnwanted(): Promise<JobViolation | undefined> {
    const before = await this.countJobs();
    this.ports.jumpAll(MINUTE_MS);
    await this.ports.cluster.advance(LOOKS_MS);
    const after = await this.countJobs();
    if (after === before) return undefined;
    return { check: "schedules", message: "its schedule is gone, and a job is started" };
  }

  /** As often as it takes: who applied it may be gone before it says so. */
  private async apply(to: "other" | "none"): Promise<void> {
    this.isWanted = to === "other";
    const { cluster } = this.ports;
    const artifact = to === "other" ? WITH_OTHER : WITH_NONE;
    for (let isApplied = false; !isApplied;) {
      const blueprint = { name: PLAYER, slices: { [PLAYER]: { artifact } } };
      // ignored: it is applied again.
      const applying = cluster.apply(blueprint).then(() => true, () => false);
      isApplied = await Promise.race([applying, cluster.advance(APPLY_MS_MAX).then(() => false)]);
    }
  }

  private async countJobs(): Promise<number> {
    const filter = { attributes: { schedule: SCHEDULE }, limit: JOBS_MAX };
    return (await askJobs(this.ports.jobs, "looking at its jobs", (doors) => doors.list(filter))).jobs.length;
  }
}
