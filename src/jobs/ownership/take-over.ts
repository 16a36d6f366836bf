// Owns: that no job stays with a node that does not run it: those of a dead node, and of this node's own earlier life,
// go back into the queue. Does not own: who claims them then (claimer.ts).
//
// The jobs of a dead node are taken by one transaction on its sign of life, which fails if that has changed, and makes
// the node's next one fail: from then on nothing that the node was granted before is dispatched by it. Each job's own
// row is compared besides, so that a job which its owner ended or lost meanwhile is left alone.
import { doRounds } from "../../base/rounds.ts";
import { TaskScope } from "../../base/task-scope.ts";
import type { JobId, NodeId } from "../../base/ids.ts";
import type { NodeLife } from "../../cluster/core/rows.ts";
import { storable } from "../../cluster/core/plain-value.ts";
import type { MembershipService } from "../../cluster/membership/membership-service.ts";
import type { Env } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { readUndamaged } from "../../slices/core/damaged-row.ts";
import { handBackParts, handBackTxn, type OwnedJob } from "../core/life/hand-back.ts";
import { rowKey } from "../core/life/job-keys.ts";
import { parseJobRow, type BeatRow } from "../core/rows.ts";
import type { OwnershipService, SeenBeat } from "./ownership-service.ts";

export interface TakeOverPorts {
  readonly kv: Kv;
  readonly ownership: Pick<OwnershipService, "othersSeen" | "mayTakeFrom">;
  readonly membership: Pick<MembershipService, "suspectedForMs" | "nodes">;
  /** Whether this node runs the job, or is about to claim it. */
  holds(job: JobId): boolean;
  readonly onFatal: (error: unknown) => void;
}

/** A dead node is looked at so often. */
const LOOK_EVERY_MS = 250;
/** Between the tries of nodes that notice a death at the same time. */
const RANK_STEP_MS = 150;
/** Rows of jobs that are this node's and that it does not run; none, but for a mistake or a start. */
const OWN_EVERY_MS = 5_000;
const PAGE_JOBS = 200;
const WRITE_TIMEOUT_MS = 2_000;

export class TakeOver {
  private readonly env: Pick<Env, "clock" | "telemetry">;
  private readonly ports: TakeOverPorts;
  private readonly self: NodeLife;
  private readonly scope: TaskScope;
  /** Signs of life as this node wrote them when it took their nodes' jobs; `isEmpty` when there are no more. */
  private readonly taken = new Map<NodeId, { readonly modRevision: number; isEmpty: boolean }>();
  private ownLookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(env: Pick<Env, "clock" | "telemetry">, ports: TakeOverPorts, self: NodeLife) {
    this.env = env;
    this.ports = ports;
    this.self = self;
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  start(): void {
    const { clock, telemetry } = this.env;
    this.scope.spawn("take-over", (signal) => doRounds(clock, {
      firstAfterMs: 0,
      everyMs: LOOK_EVERY_MS,
      work: () => this.round(signal),
      // The store does not take it now; the next round looks again.
      onFailure: ({ code, message: reason }) => telemetry.log.debug({ event: "jobs.not-taken", code, reason }),
    }, signal));
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  /** The next round looks for own jobs that nobody runs: this node was taken for dead, and what it ran is dropped. */
  lookForOwn(): void {
    this.ownLookedAtMs = Number.NEGATIVE_INFINITY;
  }

  private async round(signal: AbortSignal): Promise<void> {
    const nowMs = this.env.clock.nowMs();
    if (nowMs - this.ownLookedAtMs >= OWN_EVERY_MS) {
      await this.handBackAll(this.self.node, undefined, signal);
      this.ownLookedAtMs = nowMs;
    }
    for (const beat of this.ports.ownership.othersSeen()) await this.look(beat, signal);
  }

  private async look(beat: SeenBeat, signal: AbortSignal): Promise<void> {
    const { node, modRevision } = beat;
    const taken = this.taken.get(node);
    if (taken?.modRevision === modRevision) {
      if (!taken.isEmpty) taken.isEmpty = await this.handBackAll(node, unchanged(beat.key, modRevision), signal);
      return;
    }
    this.taken.delete(node);
    const suspectedForMs = this.ports.membership.suspectedForMs(node);
    if (!this.ports.ownership.mayTakeFrom(node, suspectedForMs, this.extraMs())) return;
    // A node that owns nothing is left as it is.
    if ((await this.ownedBy(node, 1, signal)).length > 0) await this.seize(beat, signal);
  }

  /** So that of several nodes that notice a death the first one does it all, and the next one only if that dies too. */
  private extraMs(): number {
    const present = this.ports.membership.nodes.filter(({ status }) => status === "on-duty").map(({ node }) => node);
    return Math.max(0, present.indexOf(this.self.node)) * RANK_STEP_MS;
  }

  private async seize({ node, key, modRevision, row }: SeenBeat, signal: AbortSignal): Promise<void> {
    const seized: BeatRow = {
      life: row?.life ?? { ...this.self, node }, count: row?.count ?? 0, seizures: (row?.seizures ?? 0) + 1,
    };
    const result = await this.ports.kv.transact({
      compare: [unchanged(key, modRevision)],
      then: [{ kind: "put", key, value: storable(seized) }],
      else: [],
    }, { signal, timeoutMs: WRITE_TIMEOUT_MS });
    if (!result.succeeded) return;
    this.env.telemetry.log.info({ event: "jobs.taking-over", from: node });
    const guard = unchanged(key, result.revision);
    const taken = { modRevision: result.revision, isEmpty: false };
    this.taken.set(node, taken);
    taken.isEmpty = await this.handBackAll(node, guard, signal);
  }

  /** True when nothing is left. `guard`: that the node has given no sign of life since; none for this node itself. */
  private async handBackAll(node: NodeId, guard: Compare | undefined, signal: AbortSignal): Promise<boolean> {
    let after: KeyText | undefined;
    let count = 0;
    let isDone = true;
    do {
      const keys = await this.ownedBy(node, PAGE_JOBS, signal, after);
      const jobs = await this.rowsOf(node, keys, signal);
      for (const some of handBackParts(jobs)) {
        if (await this.handBack(node, some, guard, signal)) count += some.length;
        else isDone = false;
      }
      after = keys.length < PAGE_JOBS ? undefined : keys.at(-1);
    } while (after !== undefined);
    if (count > 0) this.env.telemetry.log.info({ event: "jobs.handed-back", from: node, count });
    return isDone;
  }

  private async ownedBy(
    node: NodeId, limit: number, signal: AbortSignal, after?: KeyText,
  ): Promise<readonly KeyText[]> {
    const prefix = prefixOf({ kind: "job-owned", node });
    const query = { prefix, limit, ...(after === undefined ? {} : { after }) };
    const { entries } = await this.ports.kv.list(query, { signal });
    return entries.map(({ key }) => key);
  }

  /** The jobs that are the node's by their own rows; of this node's, those that it does not run. */
  private async rowsOf(node: NodeId, keys: readonly KeyText[], signal: AbortSignal): Promise<readonly OwnedJob[]> {
    const jobs: OwnedJob[] = [];
    for (const text of keys) {
      const key = knownKey(text);
      if (key?.kind !== "job-owned" || (node === this.self.node && this.ports.holds(key.job))) continue;
      const ref = { partition: key.partition, job: key.job };
      const { entry } = await this.ports.kv.get(rowKey(ref), { signal, consistency: "local" });
      const row = entry === undefined ? undefined : readUndamaged(() => parseJobRow(entry.value));
      if (entry !== undefined && row?.owner?.node === node) jobs.push({ ref, row, rowRevision: entry.modRevision });
    }
    return jobs;
  }

  private async handBack(
    from: NodeId, jobs: readonly OwnedJob[], guard: Compare | undefined, signal: AbortSignal,
  ): Promise<boolean> {
    const nowWallMs = this.env.clock.wallMs();
    const txn = handBackTxn(from, jobs, guard, nowWallMs);
    const { succeeded } = await this.ports.kv.transact(txn, { signal, timeoutMs: WRITE_TIMEOUT_MS });
    return succeeded;
  }
}
