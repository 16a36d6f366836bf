// Owns: hearing of changes of single jobs: one watch of the node on all rows of jobs and one on all inboxes, passed on
// by job. A watch per job would be looked at with every revision of the store.
// Does not own: what jobs are like when somebody begins to listen: listen first, then read.
import { toAetherError } from "../base/errors.ts";
import type { JobId } from "../base/ids.ts";
import type { Env } from "../env/env.ts";
import type { Timer } from "../env/clock.ts";
import { knownKey, prefixOf } from "../kvstore/core/key.ts";
import type { KvChangeSet } from "../kvstore/core/schema.ts";
import type { Kv, KvWatch } from "../kvstore/kv.ts";

/** All are called from outside of calls of the store, as this node has applied it. Must not throw. */
export interface JobListener {
  /** The job's row has changed, to the value of this revision; undefined when it was deleted. */
  onRow?(value: unknown, modRevision: number): void;
  /** The inbox has an entry more. Its count has the same revision as the last one of a transaction. */
  onEntry?(n: number, value: unknown, modRevision: number): void;
  /** Something may have been missed: read again. */
  onGap(): void;
}

/** Hears of every job's row, as `JobListener` does of one. */
export interface AllJobsListener {
  onRow(job: JobId, value: unknown): void;
  onGap(): void;
}

const RETRY_MS = 200;
const PREFIXES = [prefixOf({ kind: "jobs" }), prefixOf({ kind: "job-inboxes" })];

export class JobWatch {
  private readonly env: Pick<Env, "clock" | "telemetry">;
  private readonly kv: Pick<Kv, "watch">;
  private readonly listeners = new Map<JobId, Set<JobListener>>();
  private readonly watches = new Map<string, KvWatch>();
  private readonly retries = new Set<Timer>();
  private all: AllJobsListener | undefined;
  private isOpen = false;

  constructor(env: Pick<Env, "clock" | "telemetry">, kv: Pick<Kv, "watch">) {
    this.env = env;
    this.kv = kv;
  }

  open(): void {
    if (this.isOpen) return;
    this.isOpen = true;
    for (const prefix of PREFIXES) this.watch(prefix);
  }

  close(): void {
    this.isOpen = false;
    for (const watch of this.watches.values()) watch.cancel();
    this.watches.clear();
    for (const retry of this.retries) retry.cancel();
    this.retries.clear();
  }

  /** One at most. */
  listenAll(listener: AllJobsListener): void {
    this.all = listener;
  }

  /** Returns what ends it. */
  listen(job: JobId, listener: JobListener): () => void {
    const listeners = this.listeners.get(job) ?? new Set();
    this.listeners.set(job, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.listeners.get(job) === listeners) this.listeners.delete(job);
    };
  }

  private watch(prefix: string): void {
    this.watches.set(prefix, this.kv.watch(prefix, {
      onChanges: (set) => this.takeChanges(set),
      onEnd: (reason) => this.resume(prefix, reason),
    }));
  }

  /** From now on: whoever listens reads again what came in between. */
  private resume(prefix: string, reason: Error): void {
    const { code, message } = toAetherError(reason);
    this.env.telemetry.log.info({ event: "jobs.watch-interrupted", prefix, code, reason: message });
    const retry = this.env.clock.setTimer(RETRY_MS, () => {
      this.retries.delete(retry);
      this.watch(prefix);
      for (const listeners of [...this.listeners.values()]) for (const listener of [...listeners]) listener.onGap();
      this.all?.onGap();
    });
    this.retries.add(retry);
  }

  private takeChanges({ changes }: KvChangeSet): void {
    if (this.listeners.size === 0 && this.all === undefined) return;
    for (const change of changes) {
      const key = knownKey(change.kind === "put" ? change.entry.key : change.key);
      if (key?.kind !== "job" && key?.kind !== "job-inbox") continue;
      if (key.kind === "job") this.all?.onRow(key.job, change.kind === "put" ? change.entry.value : undefined);
      for (const listener of [...this.listeners.get(key.job) ?? []]) {
        if (key.kind === "job") {
          const value = change.kind === "put" ? change.entry.value : undefined;
          listener.onRow?.(value, change.kind === "put" ? change.entry.modRevision : change.modRevision);
        } else if (change.kind === "put") {
          listener.onEntry?.(key.n, change.entry.value, change.entry.modRevision);
        }
      }
    }
  }
}
