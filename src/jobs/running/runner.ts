// Owns: the jobs that this node runs: how many, and that each is let go of when the node must not act for it any more.
// Does not own: which jobs it claims (claimer.ts), what becomes of one (job-run.ts).
import type { JobId } from "../../base/ids.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log } from "../../env/telemetry.ts";
import { JobRun, type JobRunPorts, type RunEnd } from "./job-run.ts";
import type { ClusterUid } from "../core/ids.ts";
import type { LoadedJob } from "../ports.ts";

export interface JobRunnerPorts
  extends Pick<
    JobRunPorts,
    "log" | "workers" | "rates" | "places" | "models" | "spending" | "followInbox" | "secrets" | "children" |
    "payloads" | "tracing" | "onOutbox" | "onVerdict"
  > {
  readonly ownership: JobRunPorts["ownership"] & {
    /** How many jobs this node owns or is about to own. */
    setOwning(count: number): void;
  };
  /** The code of a job that runs here says how far it is. */
  readonly onEmit: (job: JobId, item: unknown) => void;
  /** A job of this node runs nowhere: it is to go back into the queue. */
  readonly onLost: () => void;
}

export class JobRunner {
  private readonly env: { readonly clock: Clock; readonly log: Log };
  private readonly ports: JobRunnerPorts;
  private readonly runningMax: number;
  private readonly runs = new Map<JobId, JobRun>();
  private readonly claims = new Set<JobId>();
  private readonly roomListeners: (() => void)[] = [];
  private isOpen = true;
  private isDrained = false;

  constructor(
    env: { readonly clock: Clock; readonly log: Log },
    ports: JobRunnerPorts,
    config: { readonly runningMax: number },
  ) {
    this.env = env;
    this.ports = ports;
    this.runningMax = config.runningMax;
  }

  /** How many jobs more this node may claim. */
  get room(): number {
    return this.isOpen && !this.isDrained ? Math.max(0, this.runningMax - this.held) : 0;
  }

  /** Jobs that run here, or are about to. */
  get held(): number {
    return this.runs.size + this.claims.size;
  }

  get running(): number {
    return this.runs.size;
  }

  /** Whether this node runs the job, or is about to. */
  holds(job: JobId): boolean {
    return this.runs.has(job) || this.claims.has(job);
  }

  /** Called when there may be room again. */
  onRoom(listener: () => void): void {
    this.roomListeners.push(listener);
  }

  /** Keeps a place for a job while it is claimed; false when there is none. */
  reserve(job: JobId): boolean {
    if (this.room === 0 || this.holds(job)) return false;
    this.claims.add(job);
    this.tellOwning();
    return true;
  }

  /** The job was not claimed. */
  giveUp(job: JobId): void {
    if (this.claims.delete(job)) this.tellRoom();
  }

  /** The job is this node's, and has a place here. */
  run(loaded: LoadedJob, cluster: ClusterUid): void {
    const { ports } = this;
    const { job } = loaded.view.ref;
    const onEnd = (run: JobRun, how: RunEnd): void => this.end(run, how);
    const onEmit = (item: unknown): void => ports.onEmit(job, item);
    const run = new JobRun(this.env, { cluster, ...ports, onEmit, onEnd }, loaded);
    this.claims.delete(job);
    this.runs.set(job, run);
    this.tellOwning();
    run.begin();
    // It was claimed while the node began to stop, or to be drained.
    if (!this.isOpen) void run.drain("node-stops");
    else if (this.isDrained) void run.drain("node-drained");
  }

  /**
   * While the node is drained it claims nothing, and what it has goes to others as soon as steps and calls of tools
   * under way have ended.
   */
  setDuty(duty: "on-duty" | "drained"): void {
    const isDrained = duty === "drained";
    if (this.isDrained === isDrained) return;
    this.isDrained = isDrained;
    if (!isDrained) return this.tellRoom();
    for (const run of [...this.runs.values()]) void run.drain("node-drained");
  }

  /** Others took this node for dead, or it closes: nothing is done for its jobs from this moment on. */
  dropAll(how: RunEnd): void {
    for (const run of [...this.runs.values()]) run.drop(how);
  }

  /** Claims nothing more, and hands over what it has as soon as calls of tools under way have ended. */
  async drain(): Promise<void> {
    this.isOpen = false;
    await Promise.all([...this.runs.values()].map((run) => run.drain("node-stops")));
  }

  close(): void {
    this.isOpen = false;
    this.dropAll("fenced");
  }

  private end(run: JobRun, how: RunEnd): void {
    this.runs.delete(run.ref.job);
    if (how === "lost") this.ports.onLost();
    this.tellRoom();
  }

  private tellRoom(): void {
    this.tellOwning();
    for (const listener of this.roomListeners) listener();
  }

  private tellOwning(): void {
    this.ports.ownership.setOwning(this.held);
  }
}
