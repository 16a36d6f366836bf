// Owns: the processes that ONE worker has started and that have not ended: they end when it does. A thread that is
// terminated leaves them behind, and only a living one can wait for them, without which their numbers stay taken.
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { WorkersPort } from "../../env/workers.ts";

/** Between asking a process to end and ending it. */
export const CHILD_END_MS_MAX = 1 * SECOND_MS;

export class ChildProcesses {
  private readonly clock: Clock;
  private readonly workers: Pick<WorkersPort, "signalChild">;
  private readonly pids = new Set<number>();
  private gone: Deferred<void> | undefined;

  constructor(env: { readonly clock: Clock; readonly workers: Pick<WorkersPort, "signalChild"> }) {
    this.clock = env.clock;
    this.workers = env.workers;
  }

  get size(): number {
    return this.pids.size;
  }

  note(pid: number, state: "started" | "ended"): void {
    if (state === "started") this.pids.add(pid);
    else this.pids.delete(pid);
    if (this.pids.size === 0) this.gone?.resolve();
  }

  /** Asks all of them to end; resolves when they have, or have had their time. */
  async askToEnd(): Promise<void> {
    if (this.pids.size === 0) return;
    const gone = createDeferred<void>();
    this.gone = gone;
    this.signalAll("SIGTERM");
    const timer = this.clock.setTimer(CHILD_END_MS_MAX, () => gone.resolve());
    await gone.promise;
    timer.cancel();
  }

  killAll(): void {
    this.signalAll("SIGKILL");
    this.pids.clear();
    this.gone?.resolve();
  }

  private signalAll(signal: "SIGTERM" | "SIGKILL"): void {
    for (const pid of this.pids) this.workers.signalChild(pid, signal);
  }
}
