// Owns: taking jobs from the queue for this node, as many as it has room for. Does not own: running them (runner.ts).
//
// Every node sees the whole queue. The one that a job's id points to claims it at once, the others a moment later if it
// is still there: so few claims are lost, and none waits for a node that is full or away. What a change of the queue
// costs a node does not depend on how long it is.
import { crc32 } from "../../base/digest.ts";
import { toAetherError } from "../../base/errors.ts";
import type { JobId, NodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { NodeLife } from "../../cluster/core/rows.ts";
import { hasLabels, type Labels } from "../../cluster/deployment/core/placement.ts";
import type { MembershipService } from "../../cluster/membership/membership-service.ts";
import { RowView } from "../../cluster/row-view.ts";
import { StoreOutage } from "../../cluster/store-outage.ts";
import { Wake } from "../../cluster/wake.ts";
import type { Clock } from "../../env/clock.ts";
import type { Telemetry } from "../../env/telemetry.ts";
import type { JobRef, PermitPlace } from "../../kvstore/core/job-key.ts";
import { knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { ClaimQueue } from "../core/flow/claim-queue.ts";
import { decideClaim } from "../core/life/decide.ts";
import { queueKey } from "../core/life/job-keys.ts";
import type { ClusterUid } from "../core/ids.ts";
import { parseQueueRow, type QueueRow } from "../core/rows.ts";
import type { PermitView } from "../admission/permit-view.ts";
import type { JobLog } from "../ports.ts";
import type { JobRunner } from "../running/runner.ts";

export interface JobClaimerPorts {
  readonly kv: Kv;
  readonly log: JobLog;
  readonly runner: Pick<JobRunner, "room" | "reserve" | "giveUp" | "run" | "onRoom" | "holds">;
  readonly ownership: { whenValid(signal: AbortSignal): Promise<void> };
  readonly membership: Pick<MembershipService, "nodes">;
  readonly permits: Pick<PermitView, "hasRoom" | "isLimited" | "reserve" | "settle" | "onChange">;
  /** The cluster's own uid, as soon as it has one. */
  readonly clusterUid: (signal: AbortSignal) => Promise<ClusterUid>;
  readonly onFatal: (error: unknown) => void;
}

export interface JobClaimerEnv {
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

/** After which a node claims a job that is another one's to claim. */
const OTHERS_AFTER_MS = 50;
/** Claims under way: each is some reads and one transaction. */
const CLAIMS_MAX = 32;
/** Before a job is tried again whose place another one got. */
const CONTENDED_MS_MAX = 20;
/** Before a job is looked at again that could not be read. */
const DAMAGED_MS = 30 * SECOND_MS;
/** A look without a reason: what a lost race or an outage left. */
const LOOK_EVERY_MS = SECOND_MS;

/** This node, and what jobs may ask of the node that runs them. */
export interface ClaimingNode {
  readonly life: NodeLife;
  readonly labels: Labels;
}

/** `contended`: another job got a place that it was to have. */
type ClaimEnd = "claimed" | "not-claimed" | "contended";

interface Queued extends QueueRow {
  readonly job: JobId;
  readonly ref: JobRef;
}

export class JobClaimer {
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly log: Telemetry["log"];
  private readonly ports: JobClaimerPorts;
  private readonly self: ClaimingNode;
  private readonly queue: RowView<Queued>;
  private readonly wake: Wake;
  private readonly outage: StoreOutage;
  private readonly scope: TaskScope;
  private readonly waiting = new ClaimQueue<Queued>();
  /** Jobs of the queue that this node has not let go of yet: it claims them once it has. */
  private readonly held = new Map<JobId, Queued>();
  private underWay = 0;
  private isOpen = true;

  constructor(env: JobClaimerEnv, ports: JobClaimerPorts, self: ClaimingNode) {
    const { clock, random, telemetry: { log } } = env;
    this.clock = clock;
    this.random = random;
    this.log = log;
    this.ports = ports;
    this.self = self;
    this.wake = new Wake(clock);
    this.outage = new StoreOutage(log, "job-claims");
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
    this.queue = new RowView({ clock, log }, ports.kv, prefixOf({ kind: "job-queue" }), (key, value) =>
      key.kind === "job-queue"
        ? { ...parseQueueRow(value), job: key.job, ref: { partition: key.partition, job: key.job } }
        : undefined);
    this.queue.subscribe((changed) => this.take(changed));
    ports.runner.onRoom(() => this.takeBack());
    ports.permits.onChange(() => this.wake.notify());
  }

  /** Jobs that wait for a node, as this one sees it. */
  get queued(): number {
    return this.queue.rows().size;
  }

  /** Wall time since when the first of them does; undefined when there is none. */
  get oldestQueuedSinceMs(): number | undefined {
    let oldest: number | undefined;
    for (const { value: { sinceMs } } of this.queue.rows().values()) oldest = Math.min(oldest ?? sinceMs, sinceMs);
    return oldest;
  }

  start(): void {
    this.queue.open();
    this.scope.spawn("job-claims", (signal) => this.look(signal));
  }

  /** Claims nothing more. */
  stop(): void {
    this.isOpen = false;
  }

  async close(): Promise<void> {
    this.stop();
    await this.scope.close();
    await this.queue.close();
  }

  /** Whether a job that this node could run waits for a place. */
  get hasWaiting(): boolean {
    return this.queued > 0 && this.waiting.hasOne(this.clock.nowMs(), this.mayRun);
  }

  private async look(signal: AbortSignal): Promise<void> {
    const cluster = await this.ports.clusterUid(signal);
    while (!signal.aborted) {
      while (this.mayClaim) {
        const next = this.waiting.take(this.clock.nowMs(), this.mayRun);
        if (next === undefined) break;
        this.beginClaim(next, cluster);
      }
      await this.wake.wait(signal, this.waitMs());
    }
  }

  private get mayClaim(): boolean {
    return this.isOpen && this.underWay < CLAIMS_MAX && this.ports.runner.room > 0;
  }

  /** A place or an end of a claim wakes it, so that a full node has no reason to look. */
  private waitMs(): number {
    const dueMs = this.mayClaim ? this.waiting.nextDueMs : undefined;
    if (dueMs === undefined) return LOOK_EVERY_MS;
    return Math.max(1, Math.min(LOOK_EVERY_MS, dueMs - this.clock.nowMs()));
  }

  private take(changed: readonly KeyText[]): void {
    const nowMs = this.clock.nowMs();
    for (const text of changed) {
      const key = knownKey(text);
      if (key?.kind !== "job-queue") continue;
      const queued = this.queue.get(text)?.value;
      this.held.delete(key.job);
      if (queued === undefined) this.waiting.remove(key.job);
      else if (hasLabels(this.self, queued.labels ?? {})) this.waiting.put(queued, nowMs + this.firstDelayMs(queued));
    }
    this.wake.notify();
  }

  /** Others are before a job that is started now, or it may not begin yet, or not here. */
  mustQueue(job: Pick<QueueRow, "agent" | "tenant" | "agentMax" | "labels">): boolean {
    return this.ports.permits.isLimited(job) || !hasLabels(this.self, job.labels ?? {}) || this.hasWaiting;
  }

  private readonly mayRun = (queued: Queued): boolean => this.ports.permits.hasRoom(queued);

  private firstDelayMs(queued: Queued): number {
    return this.isOurs(queued) ? 0 : OTHERS_AFTER_MS + this.random.below(OTHERS_AFTER_MS);
  }

  private takeBack(): void {
    for (const [job, queued] of this.held) {
      if (this.ports.runner.holds(job)) continue;
      this.held.delete(job);
      this.waiting.put(queued, this.clock.nowMs());
    }
    this.wake.notify();
  }

  /** The node with the highest hash of itself and the job, of those that may run it. */
  private isOurs({ job, labels = {} }: Queued): boolean {
    const { node: self } = this.self.life;
    const nodes = this.ports.membership.nodes
      .filter((view) => view.status === "on-duty" && hasLabels({ labels: view.row?.labels ?? {} }, labels))
      .map(({ node }) => node);
    const score = (node: NodeId): number => crc32(Buffer.from(`${job}/${node}`));
    const own = score(self);
    return nodes.every((node) => node === self || score(node) < own);
  }

  private beginClaim(queued: Queued, cluster: ClusterUid): void {
    if (!this.ports.runner.reserve(queued.job)) {
      this.held.set(queued.job, queued);
      return;
    }
    const places = this.ports.permits.reserve(queued.job, queued);
    if (places === undefined) {
      this.ports.runner.giveUp(queued.job);
      return this.putOff(queued, 0);
    }
    this.underWay += 1;
    this.scope.spawn("job-claim", async (signal) => {
      try {
        const end = await this.claim(queued, places, cluster, signal);
        this.outage.noteSuccess();
        if (end === "not-claimed") this.putOff(queued, LOOK_EVERY_MS);
        if (end === "contended") this.putOff(queued, this.random.below(CONTENDED_MS_MAX));
      } catch (error) {
        if (!signal.aborted) this.takeFailure(queued, error);
      } finally {
        this.underWay -= 1;
        this.ports.runner.giveUp(queued.job);
        this.wake.notify();
      }
    });
  }

  private async claim(
    queued: Queued, permits: readonly PermitPlace[], cluster: ClusterUid, signal: AbortSignal,
  ): Promise<ClaimEnd> {
    let givenAt: number | undefined;
    try {
      await this.ports.ownership.whenValid(signal);
      const loaded = await this.ports.log.load(queued.ref, { signal });
      if (loaded.view.row.status !== "pending" || !this.isOpen) return "not-claimed";
      const decision = decideClaim(loaded.view, { life: this.self.life, atMs: this.clock.wallMs(), permits });
      if (decision.kind === "refused") return "not-claimed";
      const verdict = await this.ports.log.commit(decision, { signal });
      if (verdict.kind !== "applied") return verdict.kind === "contended" ? "contended" : "not-claimed";
      givenAt = verdict.view.rowRevision;
      if (verdict.view.row.status === "running") this.ports.runner.run({ ...loaded, view: verdict.view }, cluster);
      else this.log.warn({ event: "jobs.stuck", job: queued.job });
      return "claimed";
    } finally {
      this.ports.permits.settle(permits, givenAt);
    }
  }

  private takeFailure(queued: Queued, thrown: unknown): void {
    const { code, message: reason } = toAetherError(thrown);
    if (code === "E_DATA_CORRUPT" || code === "E_VERSION") {
      this.log.error({ event: "jobs.unreadable", job: queued.job, code, reason });
      return this.putOff(queued, DAMAGED_MS);
    }
    this.putOff(queued, code === "E_NOT_FOUND" ? LOOK_EVERY_MS : this.outage.noteFailure(thrown));
  }

  /** Unless it is not there any more, or there anew. */
  private putOff(queued: Queued, delayMs: number): void {
    if (this.queue.get(queueKey(queued.ref))?.value !== queued) return;
    this.waiting.put(queued, this.clock.nowMs() + delayMs);
  }
}
