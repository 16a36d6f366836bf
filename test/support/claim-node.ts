// Owns: a node that claims jobs and does nothing with them until a test ends them: the real claimer and store of jobs,
// and places instead of a runner.
import { SeededRandom } from "../../src/base/random.ts";
import { parseNodeId, type JobId } from "../../src/base/ids.ts";
import type { NodeLife } from "../../src/cluster/core/rows.ts";
import type { NodeView } from "../../src/cluster/membership/membership-service.ts";
import type { Clock } from "../../src/env/clock.ts";
import { JobClaimer, type JobClaimerPorts } from "../../src/jobs/ownership/claimer.ts";
import type { ClusterUid } from "../../src/jobs/core/ids.ts";
import { JobStore } from "../../src/jobs/job-store.ts";
import { UNLIMITED_JOBS, type PermitLimits } from "../../src/jobs/core/flow/permits.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import { PendingReasons } from "../../src/jobs/admission/pending-reasons.ts";
import { PermitView } from "../../src/jobs/admission/permit-view.ts";
import type { JobLog, LoadedJob } from "../../src/jobs/ports.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { SILENT_TELEMETRY } from "./cluster-world.ts";
import { life } from "./job-log.ts";

export interface ClaimNodeOptions {
  readonly name: string;
  /** Jobs that it runs at once. */
  readonly places: number;
  /** Names of all nodes, with their labels. */
  readonly members: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly limits?: Partial<PermitLimits>;
  readonly onFatal: (error: unknown) => void;
}

type Runner = JobClaimerPorts["runner"];

export class ClaimNode implements Runner {
  readonly life: NodeLife;
  readonly log: JobLog;
  readonly claimer: JobClaimer;
  readonly permits: PermitView;
  readonly reasons: PendingReasons;
  readonly running = new Map<JobId, LoadedJob>();
  /** All that it has claimed, in order. */
  readonly claimed: JobId[] = [];
  private readonly places: number;
  private readonly reserved = new Set<JobId>();
  private readonly listeners: (() => void)[] = [];

  constructor(clock: Clock, kv: Kv, { name, places, members, limits = {}, onFatal }: ClaimNodeOptions) {
    this.life = life(name);
    this.places = places;
    const metrics = createJobsMetrics(SILENT_TELEMETRY);
    this.log = new JobStore({ clock, telemetry: SILENT_TELEMETRY }, { kv, metrics });
    const env = { clock, random: new SeededRandom(7), telemetry: SILENT_TELEMETRY };
    const nodes = Object.entries(members).map(([member, labels]) =>
      ({ node: parseNodeId(member), status: "on-duty", row: { labels } } as unknown as NodeView));
    this.permits = new PermitView({ clock, log: SILENT_TELEMETRY.log }, kv, {
      runningMax: UNLIMITED_JOBS, tenantRunningMax: UNLIMITED_JOBS, ...limits,
    });
    this.reasons = new PendingReasons({ membership: { nodes }, permits: this.permits });
    this.claimer = new JobClaimer(env, {
      kv,
      log: this.log,
      runner: this,
      ownership: { whenValid: () => Promise.resolve() },
      membership: { nodes },
      permits: this.permits,
      clusterUid: () => Promise.resolve("c".repeat(32) as ClusterUid),
      onFatal,
    }, { life: this.life, labels: members[name] ?? {} });
  }

  start(): void {
    this.permits.open();
    this.claimer.start();
  }

  async close(): Promise<void> {
    await this.claimer.close();
    await this.permits.close();
  }

  get room(): number {
    return this.places - this.running.size - this.reserved.size;
  }

  holds(job: JobId): boolean {
    return this.running.has(job) || this.reserved.has(job);
  }

  onRoom(listener: () => void): void {
    this.listeners.push(listener);
  }

  reserve(job: JobId): boolean {
    if (this.room <= 0 || this.holds(job)) return false;
    this.reserved.add(job);
    return true;
  }

  giveUp(job: JobId): void {
    if (this.reserved.delete(job)) this.tell();
  }

  run(loaded: LoadedJob): void {
    const { job } = loaded.view.ref;
    this.reserved.delete(job);
    this.running.set(job, loaded);
    this.claimed.push(job);
  }

  /** The place of the job is free. */
  letGo(job: JobId): void {
    this.running.delete(job);
    this.tell();
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}
