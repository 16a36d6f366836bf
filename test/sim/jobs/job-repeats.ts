// Owns: doing jobs again that have ended, as their plans say: retries, and forks at one of their calls.
import { parseJobId, type JobId } from "../../../src/base/ids.ts";
import { AetherError } from "../../../src/base/errors.ts";
import type { Jobs, RepeatJob } from "../../../src/jobs/ports.ts";
import { askJobs, TESTER, type JobsPorts } from "../../../src/testkit/ask-jobs.ts";
import type { PlannedJob, PlannedRepeat, PlannedSignal } from "./job-plan.ts";

type What = RepeatJob["what"];

const EVENTS_MAX = 1_000;

export class JobRepeats {
  /** Calls that were to be made again, by the job that was to do so. */
  readonly agains = new Map<string, readonly string[]>();
  private readonly jobs: JobsPorts;
  /** Tells a job what its programs may wait for. */
  private readonly tell: (id: string, signals: readonly PlannedSignal[]) => Promise<void>;
  /** The jobs that do each again, one after the other. */
  private readonly made = new Map<string, string[]>();

  constructor(jobs: JobsPorts, tell: JobRepeats["tell"]) {
    this.jobs = jobs;
    this.tell = tell;
  }

  /** As far as each job that is to be done again has ended within the time. */
  async run({ id, repeats = [], signals }: PlannedJob, limitMs: number): Promise<void> {
    const made = this.made.get(id) ?? [];
    for (const planned of repeats.slice(made.length)) {
      const last = parseJobId(made.at(-1) ?? id);
      const ended = await this.ask((jobs) => jobs.result(last, limitMs));
      if (ended === undefined) return;
      const job = await this.repeat(last, planned, `${id}-r${made.length + 1}`);
      // It cannot be done again: so the doors say.
      if (job === undefined) return;
      made.push(job);
      this.made.set(id, made);
      await this.tell(job, signals);
    }
  }

  private async repeat(of: JobId, planned: PlannedRepeat, id: string): Promise<string | undefined> {
    const what = await this.whatOf(of, planned);
    if (what === undefined) return undefined;
    const ids = planned.isTwice ? [id, `${id}x`] : [id];
    const made = await Promise.all(ids.map((one) => this.make(of, what, { planned, id: one })));
    return made.find((one) => one !== undefined);
  }

  private async whatOf(of: JobId, { kind, place }: PlannedRepeat): Promise<What | undefined> {
    if (kind === "retry") return { kind };
    const { events } = await this.ask((jobs) => jobs.events(of, { limit: EVENTS_MAX }));
    const calls = [...new Set(events.flatMap(({ event }) => ("call" in event ? [event.call] : [])))];
    const at = calls[Math.floor(place * calls.length)];
    return at === undefined ? undefined : { kind, at };
  }

  /** Its id; undefined when it is refused. */
  private async make(
    of: JobId, what: What, { planned, id }: { readonly planned: PlannedRepeat; readonly id: string },
  ): Promise<string | undefined> {
    const again = this.agains.get(id) ?? [];
    try {
      const repeat = { what, id: parseJobId(id), again };
      return (await this.ask((jobs) => jobs.repeat(of, repeat, TESTER))).job;
    } catch (error) {
      if (!(error instanceof AetherError) || error.code !== "E_CONFLICT") throw error;
      const { calls } = error.details as { readonly calls?: readonly string[] } ?? {};
      if (calls === undefined || again.length > 0 || !planned.isAgain) return undefined;
      this.agains.set(id, calls);
      return await this.make(of, what, { planned, id });
    }
  }

  private ask<T>(act: (jobs: Jobs) => Promise<T>): Promise<T> {
    return askJobs(this.jobs, "doing a job again", act);
  }
}
