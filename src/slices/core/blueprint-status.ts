// Owns: desired beside actual: what a blueprint wants of each slice, and what the rows of its instances say.
// Does not own: reading either from the store (blueprints/read-status.ts).
import type { ArtifactId, NodeId } from "../../base/ids.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "./blueprint.ts";
import type { InstanceFailure, InstanceRow, InstanceRowState } from "./instance-row.ts";
import { isUnderWay, percentOf, type RolloutRow, type RolloutVersion } from "./rollout-row.ts";
import type { ResolvedSchedule, ScheduleRow, TickRow } from "./schedule-row.ts";
import { specDigestOf } from "./spec-digest.ts";

export interface InstanceStatus {
  readonly node: NodeId;
  /** Index of the instance among those of its artifact. */
  readonly instance: number;
  readonly artifact: ArtifactId;
  /** `UNREADABLE`: its row is damaged. It is left as it is and counts as one instance of its artifact. */
  readonly state: InstanceRowState | "UNREADABLE";
  /** When it entered the state, in milliseconds since the Unix epoch; 0 when that is not known. */
  readonly since: number;
  readonly error?: InstanceFailure;
}

/** Instances of a slice that no node may have. */
export interface UnplacedInstances {
  readonly blueprint: string;
  readonly slice: string;
  readonly count: number;
  /** No node is on duty; none of those has the labels; none of those has the memory left. */
  readonly reason: "no-node" | "labels" | "capacity";
}

export interface SliceStatus {
  readonly artifact: ArtifactId;
  readonly want: number;
  /** ACTIVE instances that are as the blueprint wants them now: its artifact, its config, its bounds. */
  readonly active: number;
  readonly instances: readonly InstanceStatus[];
  readonly unplaced?: Pick<UnplacedInstances, "count" | "reason">;
  /** Slices that must serve before more instances of this one are activated, and do not. */
  readonly waitsFor?: readonly string[];
  /** By name; absent when it has none. */
  readonly schedules?: Readonly<Record<string, ScheduleStatus>>;
  /** How it came, or comes, to what the blueprint wants; absent while no other version served before. */
  readonly rollout?: RolloutStatus;
}

export interface ScheduleStatus extends Omit<ResolvedSchedule, "name"> {
  /** Absent before the first tick. */
  readonly last?: LastTick;
}

/** The last tick of a schedule and how it ended; times in milliseconds since the Unix epoch. */
export interface LastTick {
  readonly state: Exclude<TickRow["state"], "waiting">;
  readonly tick: number;
  readonly ended?: number;
  readonly error?: TickRow["error"];
}

export interface RolloutStatus {
  readonly strategy: RolloutRow["strategy"];
  readonly stage: RolloutRow["stage"];
  readonly from: RolloutVersionStatus;
  readonly to: RolloutVersionStatus;
  /** Percent of the calls that go to the new version; absent while it is as its instances are of all. */
  readonly targetPercent?: number;
  /** When it entered the stage, in milliseconds since the Unix epoch. */
  readonly since: number;
  /** Why it was rolled back. */
  readonly reason?: string;
  /** Why it does not go on now; absent when it is over, and in a stage that waits for its instances alone. */
  readonly waitsFor?: RolloutWait;
}

/** What a rollout goes on with, as this node sees it. */
export interface RolloutWait {
  /**
   * `turn`: the end of another canary. `instances`: those of the new version that serve. `calls`: of the new version.
   * `time`: the end of the step. `leader`: that it looks.
   */
  readonly what: "turn" | "instances" | "calls" | "time" | "leader";
  readonly message: string;
  /** It should have gone on by now. */
  readonly isLate: boolean;
}

export interface WaitingRollout {
  readonly blueprint: string;
  readonly slice: string;
  readonly wait: RolloutWait;
}

/** What does not come about now, and why. */
export interface Outlook {
  readonly unplaced: readonly UnplacedInstances[];
  readonly waiting: readonly WaitingRollout[];
}

/** The artifact, and the revision of the blueprint that asked for it. */
export type RolloutVersionStatus = Pick<RolloutVersion, "artifact" | "revision">;

export interface BlueprintStatus {
  readonly name: string;
  readonly revision: number;
  /** Also slices that were dropped and still have instances: those want 0. */
  readonly slices: Readonly<Record<string, SliceStatus>>;
}

/** One row of `slices/…`; `row` is undefined when it cannot be read. */
export interface StatusRow {
  readonly node: NodeId;
  readonly artifact: ArtifactId;
  readonly instance: number;
  readonly row: InstanceRow | undefined;
}

/** What besides the rows of its instances says how a blueprint stands. */
export interface StatusFacts {
  readonly outlook: Outlook;
  /** By slice: the rollouts that are about what the blueprint wants now. */
  readonly rollouts: ReadonlyMap<string, RolloutRow>;
  /** Of a schedule of a slice; undefined when there is none, or it cannot be read. */
  scheduleRow(slice: string, name: string): ScheduleRow | undefined;
}

export function blueprintStatusOf(
  blueprint: ResolvedBlueprint,
  rows: readonly StatusRow[],
  { outlook, rollouts, scheduleRow }: StatusFacts,
): BlueprintStatus {
  const slices = new Map<string, SliceStatus>();
  for (const [slice, { artifact, instances, schedules = [] }] of Object.entries(blueprint.slices)) {
    const isOfSlice = (one: WaitingRollout | UnplacedInstances): boolean =>
      one.blueprint === blueprint.name && one.slice === slice;
    const missing = outlook.unplaced.find(isOfSlice);
    const more = missing === undefined ? {} : { unplaced: { count: missing.count, reason: missing.reason } };
    const rollout = rollouts.get(slice);
    const wait = outlook.waiting.find(isOfSlice)?.wait;
    const course = rollout === undefined ? {} : { rollout: rolloutStatusOf(rollout, wait) };
    const statuses = schedules.map((one) => [one.name, scheduleStatusOf(one, scheduleRow(slice, one.name))] as const);
    const times = statuses.length === 0 ? {} : { schedules: Object.fromEntries(statuses) };
    slices.set(slice, { artifact, want: instances, active: 0, instances: [], ...more, ...course, ...times });
  }
  const digests = new Map(Object.entries(blueprint.slices).map(([slice, wanted]) => [slice, specDigestOf(wanted)]));
  for (const found of rows) {
    const slice = sliceOf(blueprint, found);
    if (slice === undefined) continue;
    const before = slices.get(slice) ?? { artifact: found.artifact, want: 0, active: 0, instances: [] };
    const isWanted = found.artifact === before.artifact && found.row?.specDigest === digests.get(slice);
    const active = before.active + (isWanted && found.row?.state === "ACTIVE" ? 1 : 0);
    slices.set(slice, { ...before, active, instances: [...before.instances, instanceStatusOf(found)] });
  }
  const complete = new Map<string, SliceStatus>();
  for (const [slice, status] of slices) complete.set(slice, withAwaited(status, blueprint.slices[slice], slices));
  return { name: blueprint.name, revision: blueprint.revision, slices: Object.fromEntries(complete) };
}

function withAwaited(
  status: SliceStatus,
  wanted: ResolvedSlice | undefined,
  slices: ReadonlyMap<string, SliceStatus>,
): SliceStatus {
  const waitsFor = (wanted?.loadAfter ?? []).filter((name) => {
    const awaited = slices.get(name);
    return awaited !== undefined && awaited.want > 0 && !awaited.instances.some(({ state }) => state === "ACTIVE");
  });
  return status.active >= status.want || waitsFor.length === 0 ? status : { ...status, waitsFor };
}

function scheduleStatusOf({ name: _, ...schedule }: ResolvedSchedule, row: ScheduleRow | undefined): ScheduleStatus {
  return { ...schedule, ...lastTickOf(row) };
}

export function lastTickOf(row: TickRow | undefined): { readonly last?: LastTick } {
  if (row === undefined || row.state === "waiting") return {};
  const { state, tickMs: tick, endedMs, error } = row;
  const ended = endedMs === undefined ? {} : { ended: endedMs };
  return { last: { state, tick, ...ended, ...(error === undefined ? {} : { error }) } };
}

function rolloutStatusOf(row: RolloutRow, wait: RolloutWait | undefined): RolloutStatus {
  const { strategy, stage, target, previous, targetShare, sinceMs, reason } = row;
  const versionOf = ({ artifact, revision }: RolloutVersion): RolloutVersionStatus => ({ artifact, revision });
  const why = reason === undefined ? {} : { reason };
  const share = targetShare === undefined ? {} : { targetPercent: percentOf(targetShare) };
  const waits = wait === undefined || !isUnderWay(row) ? {} : { waitsFor: wait };
  const versions = { from: versionOf(previous), to: versionOf(target) };
  return { strategy, stage, ...versions, ...share, since: sinceMs, ...why, ...waits };
}

/** The slice of the blueprint that a row belongs to; of a damaged row only its artifact is known. */
function sliceOf(blueprint: ResolvedBlueprint, { row, artifact }: StatusRow): string | undefined {
  if (row !== undefined) return row.blueprint === blueprint.name ? row.slice : undefined;
  return Object.entries(blueprint.slices).find(([, wanted]) => wanted.artifact === artifact)?.[0];
}

function instanceStatusOf({ node, instance, artifact, row }: StatusRow): InstanceStatus {
  if (row === undefined) return { node, instance, artifact, state: "UNREADABLE", since: 0 };
  const error = row.error === undefined ? {} : { error: row.error };
  return { node, instance, artifact, state: row.state, since: row.sinceMs, ...error };
}
