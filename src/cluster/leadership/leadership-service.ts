// Owns: the rows `leader` and `leader/beat`: taking them, beating, and the fence of every transaction of the leader.
// Does not own: what the leader does. Safety is in the compares of the transactions; a deposed leader writes nothing.
import type { NodeId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import { TaskScope } from "../../base/task-scope.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import type { Group, GroupMembership } from "../../consensus/group.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, LEADER_KEY, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, Txn } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type { ClusterViews } from "../cluster-views.ts";
import {
  Leadership, LEADERSHIP_DEFAULTS, type LeaderRows, type LeadershipAction, type LeadershipConfig,
} from "./core/leadership.ts";
import type { LeaderBeatRow, LeaderRow, NodeLife } from "../core/rows.ts";
import { StoreOutage } from "../store-outage.ts";
import { Wake } from "../wake.ts";

export interface LeadershipServiceConfig {
  readonly self: NodeLife;
  /** Other patience than the usual one, for simulated runs, which are short. */
  readonly patience?: Omit<LeadershipConfig, "self">;
}

export interface LeadershipPorts {
  readonly kv: Kv;
  readonly group: Pick<Group, "status"> & Pick<GroupMembership, "membership">;
  readonly views: Pick<ClusterViews, "leader">;
  readonly onFatal: (error: unknown) => void;
}

export interface CurrentLeader {
  readonly node: NodeId;
  readonly epoch: number;
}

type LeadershipWrite = Exclude<LeadershipAction, { kind: "wait" }>;

const TICK_MS = 250;
/** Below the time after which a holder gives up: a beat that took longer would come too late. */
const WRITE_TIMEOUT_MS = 2 * SECOND_MS;
const BEAT_KEY: KeyText = formatKey({ kind: "leader-beat" });

export class LeadershipService {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: LeadershipPorts;
  private readonly config: LeadershipServiceConfig;
  private readonly core: Leadership;
  private readonly outage: StoreOutage;
  private readonly wake: Wake;
  private readonly scope: TaskScope;
  private readonly listeners: (() => void)[] = [];
  private told = "";

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: LeadershipPorts,
    config: LeadershipServiceConfig,
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.config = config;
    this.core = new Leadership({ ...LEADERSHIP_DEFAULTS, ...config.patience, self: config.self });
    this.outage = new StoreOutage(this.log, "leadership");
    this.wake = new Wake(this.clock);
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
    ports.views.leader.subscribe(() => this.wake.notify());
  }

  start(): void {
    this.scope.spawn("leadership", (signal) => this.run(signal));
  }

  /** The leader as this node knows it; undefined while there is none, or none that gave a sign of life lately. */
  current(): CurrentLeader | undefined {
    const row = this.core.current(this.clock.nowMs());
    return row === undefined ? undefined : { node: row.holder.node, epoch: row.epoch };
  }

  get isLeader(): boolean {
    return this.core.isLeader(this.clock.nowMs());
  }

  /**
   * The guard to put into every transaction of the leader: it fails once another epoch has begun.
   * Undefined when this node does not lead now: then it must not write as the leader.
   */
  fence(): Compare | undefined {
    if (!this.isLeader) return undefined;
    return unchanged(LEADER_KEY, this.core.leaderModRevision);
  }

  /** Called when `current()` or `isLeader` changed. The listener must not throw and not write. */
  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.look();
      try {
        await this.act(this.core.next(this.clock.nowMs()), signal);
      } catch (error) {
        signal.throwIfAborted();
        const waitMs = this.outage.noteFailure(error);
        this.tellChange();
        await this.clock.sleep(Math.min(waitMs, TICK_MS), signal);
      }
      await this.wake.wait(signal, TICK_MS);
    }
  }

  private look(): void {
    const nowMs = this.clock.nowMs();
    this.tellChange();
    const rank = [...this.ports.group.membership().voters].sort().indexOf(this.config.self.node);
    this.core.setRank(rank < 0 ? undefined : rank);
    this.core.setReady(this.ports.group.status().isReady, nowMs);
    this.core.observe(this.rowsSeen(), nowMs);
    this.tellChange();
  }

  private rowsSeen(): LeaderRows {
    const { leader: view } = this.ports.views;
    const leader = view.get(LEADER_KEY);
    const beat = view.get(BEAT_KEY);
    // A damaged row is written anew by the next leader, as one that nobody holds.
    return {
      leader: leader?.value.kind === "leader" ? leader.value.row : undefined,
      leaderModRevision: (leader ?? view.damaged.get(LEADER_KEY))?.modRevision ?? 0,
      beatModRevision: (beat ?? view.damaged.get(BEAT_KEY))?.modRevision ?? 0,
      beatCount: beat?.value.kind === "beat" ? beat.value.row.count : 0,
    };
  }

  private async act(action: LeadershipAction, signal: AbortSignal): Promise<void> {
    if (action.kind === "wait") return;
    const sentAtMs = this.clock.nowMs();
    const { leader, count } = this.rowsAfter(action);
    const txn = this.txnOf(action, leader, count);
    const result = await this.ports.kv.transact(txn, { signal, timeoutMs: WRITE_TIMEOUT_MS });
    this.outage.noteSuccess();
    // Somebody else was faster: the view will show who.
    if (!result.succeeded) return;
    const leaderModRevision = action.kind === "take" ? result.revision : action.leaderModRevision;
    const rows = { leader, leaderModRevision, beatModRevision: result.revision, beatCount: count };
    // Time alone may have taken the leadership meanwhile, and whoever saw that waits to be told that it is back.
    this.tellChange();
    this.core.acknowledge(rows, sentAtMs, this.clock.nowMs());
    if (action.kind === "take") this.log.info({ event: "leader.taken", epoch: action.epoch });
    this.tellChange();
  }

  private rowsAfter(action: LeadershipWrite): { readonly leader: LeaderRow; readonly count: number } {
    const leader: LeaderRow = { epoch: action.epoch, holder: this.config.self };
    return { leader, count: action.kind === "take" ? 0 : action.count };
  }

  private txnOf(action: LeadershipWrite, leader: LeaderRow, count: number): Txn {
    const beat: LeaderBeatRow = { epoch: action.epoch, count };
    const isStill = unchanged(LEADER_KEY, action.leaderModRevision);
    const putBeat = { kind: "put", key: BEAT_KEY, value: beat } as const;
    if (action.kind === "beat") return { compare: [isStill], then: [putBeat], else: [] };
    const isSilent = unchanged(BEAT_KEY, action.beatModRevision);
    return { compare: [isStill, isSilent], then: [{ kind: "put", key: LEADER_KEY, value: leader }, putBeat], else: [] };
  }

  private tellChange(): void {
    const current = this.current();
    const text = `${current?.node}/${current?.epoch}/${this.isLeader}`;
    if (text === this.told) return;
    this.told = text;
    for (const listener of this.listeners) listener();
  }
}
