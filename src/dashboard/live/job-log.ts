// Owns: one job and its log in the page: asked for again when its stream says that something has changed, and only for
// what is new.
import { ask, AnswerError, AS_HERE, query } from "../api.ts";
import type { JobDetail, JobEventAnswer } from "../answers.ts";
import { after, isVisible, type Stop } from "../browser-adapter.ts";
import { follow } from "./event-source.ts";
import { Store } from "./store.ts";

export interface JobShown {
  readonly detail: JobDetail | undefined;
  readonly events: readonly JobEventAnswer[];
  /** There are more than are read: a log may be very long. */
  readonly more: boolean;
  readonly progress: readonly unknown[];
  readonly failure: AnswerError | undefined;
}

const EVENTS_PAGE = 500;
const EVENTS_MAX = 5_000;
const PROGRESS_MAX = 50;
/** Steps are not told by the stream: only another phase of the job's life is. */
const EVERY_MS = 1_000;

export class JobLog {
  readonly shown = new Store<JobShown>({
    detail: undefined, events: [], more: false, progress: [], failure: undefined,
  });
  private readonly path: string;
  private readonly closing = new AbortController();
  private isAsking = false;
  private isAskedAgain = false;
  private stopTimer: Stop = () => undefined;

  /** `path`: of the job. */
  constructor(path: string) {
    this.path = path;
  }

  watch(): Stop {
    const stop = follow({
      open: () => {
        this.refresh();
        return `${this.path}/stream`;
      },
      events: {
        state: () => this.refresh(),
        end: () => this.refresh(),
        progress: (item) => this.addProgress((item as { readonly data: unknown }).data),
      },
    });
    return () => {
      stop();
      this.stopTimer();
      this.closing.abort();
    };
  }

  refresh(): void {
    if (this.isAsking) {
      this.isAskedAgain = true;
      return;
    }
    void this.run();
  }

  private async run(): Promise<void> {
    this.stopTimer();
    this.isAsking = true;
    await this.read();
    this.isAsking = false;
    if (this.closing.signal.aborted) return;
    const { detail, failure } = this.shown.get();
    if (this.isAskedAgain) {
      this.isAskedAgain = false;
      void this.run();
    } else if (failure !== undefined || detail?.status === "running") {
      this.stopTimer = after(EVERY_MS, () => isVisible() && this.refresh());
    }
  }

  private async read(): Promise<void> {
    const { signal } = this.closing;
    try {
      const detail = await ask<JobDetail>(`${this.path}${query(AS_HERE)}`, { signal });
      const before = this.shown.get();
      const isSameRun = before.detail?.run === detail.run;
      let events = isSameRun ? before.events : [];
      let more = true;
      while (more && events.length < EVENTS_MAX && (events.at(-1)?.seq ?? 0) < detail.events) {
        const last = events.at(-1)?.seq ?? 0;
        const page: { readonly events: readonly JobEventAnswer[]; readonly more: boolean } =
          await ask(`${this.path}/events${query({ after: last, limit: EVENTS_PAGE, ...AS_HERE })}`, { signal });
        events = [...events, ...page.events];
        more = page.more;
      }
      if (signal.aborted) return;
      const isCut = events.length >= EVENTS_MAX && more;
      this.shown.set({ ...this.shown.get(), detail, events, more: isCut, failure: undefined });
    } catch (failure) {
      if (signal.aborted || !(failure instanceof AnswerError)) return;
      this.shown.set({ ...this.shown.get(), failure });
    }
  }

  private addProgress(item: unknown): void {
    const shown = this.shown.get();
    this.shown.set({ ...shown, progress: [...shown.progress.slice(1 - PROGRESS_MAX), item] });
  }
}
