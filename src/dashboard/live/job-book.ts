// Owns: the jobs of the cluster in the page: read once, then kept current by a watch of their rows, newest first.
// Does not own: what of them is shown.
import { AnswerError, ask, AS_HERE, query } from "../api.ts";
import type { JobAnswer } from "../answers.ts";
import { after, type Stop } from "../browser-adapter.ts";
import { follow } from "./event-source.ts";
import { Store } from "./store.ts";

export interface JobsShown {
  /** Newest first. */
  readonly jobs: readonly JobAnswer[];
  readonly isComplete: boolean;
  readonly isLoaded: boolean;
  readonly failure: AnswerError | undefined;
}

interface JobPageAnswer {
  readonly jobs: readonly JobAnswer[];
  readonly more: boolean;
  readonly next?: string;
  readonly revision: number;
}

/** Rows as the store has them say who owns a job in another way. */
type JobRowValue = Omit<JobAnswer, "job" | "owner"> & { readonly owner?: { readonly node: string } };

const PAGE = 1_000;
/** What a page holds without getting slow, some 10 MiB. */
const JOBS_MAX = 20_000;
const PREFIX = "jobs/";
const DRAW_MS = 200;

export class JobBook {
  readonly shown = new Store<JobsShown>({ jobs: [], isComplete: true, isLoaded: false, failure: undefined });
  private jobs = new Map<string, JobAnswer>();
  private isComplete = true;
  private isDrawing = false;

  /** For as long as the jobs are looked at. */
  watch(): Stop {
    return follow({
      open: async () => {
        try {
          return `/v1/kv/watch${query({ prefix: PREFIX, from: await this.load() + 1 })}`;
        } catch (failure) {
          if (failure instanceof AnswerError) this.shown.set({ ...this.shown.get(), failure });
          throw failure;
        }
      },
      events: {
        put: (entry) => this.put(entry as { readonly key: string; readonly value: JobRowValue }),
        delete: (entry) => this.remove(entry as { readonly key: string }),
      },
    });
  }

  /** Answers the revision that this is all of. */
  private async load(): Promise<number> {
    const jobs = new Map<string, JobAnswer>();
    let revision: number | undefined;
    let last: string | undefined;
    for (;;) {
      const page: JobPageAnswer = await ask(`/v1/jobs${query({ limit: PAGE, after: last, ...AS_HERE })}`);
      revision ??= page.revision;
      for (const job of page.jobs) jobs.set(job.job, job);
      last = page.next;
      this.isComplete = !page.more;
      this.jobs = jobs;
      this.drawSoon();
      if (!page.more || jobs.size >= JOBS_MAX) return revision;
    }
  }

  private put({ key, value }: { readonly key: string; readonly value: JobRowValue }): void {
    const job = key.slice(key.lastIndexOf("/") + 1);
    if (this.jobs.size >= JOBS_MAX && !this.jobs.has(job)) return;
    const { owner, ...row } = value;
    this.jobs.set(job, { ...row, job, ...(owner !== undefined && { owner: owner.node }) });
    this.drawSoon();
  }

  private remove({ key }: { readonly key: string }): void {
    if (this.jobs.delete(key.slice(key.lastIndexOf("/") + 1))) this.drawSoon();
  }

  /** A few times a second, however many have changed: thousands are put in order each time. */
  private drawSoon(): void {
    if (this.isDrawing) return;
    this.isDrawing = true;
    after(DRAW_MS, () => {
      this.isDrawing = false;
      const jobs = [...this.jobs.values()].sort(newestFirst);
      this.shown.set({ jobs, isComplete: this.isComplete, isLoaded: true, failure: undefined });
    });
  }
}

function newestFirst(a: JobAnswer, b: JobAnswer): number {
  return b.createdMs - a.createdMs || (a.job < b.job ? 1 : -1);
}
