// Owns: which version of a slice leads: the one whose HTTP routes and schedules hold while versions change.
// A new version leads once it has all calls, or, where versions share calls by their instances, once as many of its
// instances serve as of the version before: both serve at that moment. What served leads again when the rollout turns.
// Does not own: which version calls go to (invocation), the steps of a rollout (course.ts).
import { unreachable } from "../../../base/assert.ts";
import type { Digest } from "../../../base/ids.ts";
import { ALL_CALLS, isOfWish, isTurnedBack, isUnderWay, type RolloutRow } from "../../../slices/core/rollout-row.ts";

export interface VersionOfRevision {
  readonly specDigest: Digest;
  /** A revision of the blueprint that wants it. */
  readonly revision: number;
}

export interface LeadState {
  /** What the current revision wants. */
  readonly wanted: VersionOfRevision;
  /** Of each instance that serves. */
  readonly serving: readonly VersionOfRevision[];
  readonly rollout: RolloutRow | undefined;
  readonly digestAt: Parameters<typeof isOfWish>[2];
}

export function leadingVersion(state: LeadState): VersionOfRevision {
  const { wanted, rollout } = state;
  if (rollout === undefined || !isOfWish(rollout, wanted, state.digestAt)) return leadingBefore(state);
  switch (rollout.stage) {
    case "done":
    case "finishing":
      return wanted;
    case "rolling-back":
    case "rolled-back":
      return serves(state, rollout.previous) || !serves(state, wanted) ? rollout.previous : wanted;
    case "shifting":
      return leadingWhileShifting(state, rollout);
    default:
      return unreachable(rollout.stage);
  }
}

function leadingWhileShifting(state: LeadState, { previous, targetShare }: RolloutRow): VersionOfRevision {
  const { wanted } = state;
  if (targetShare !== undefined) return targetShare === ALL_CALLS ? wanted : previous;
  return serves(state, wanted) && countOf(state, wanted) >= countOf(state, previous) ? wanted : previous;
}

/** There is no rollout to what is wanted (yet): what led before leads as long as any of it serves. */
function leadingBefore(state: LeadState): VersionOfRevision {
  const { wanted, rollout } = state;
  const known = knownVersions(rollout).find((version) => serves(state, version));
  if (known !== undefined) return known.specDigest === wanted.specDigest ? wanted : known;
  return serves(state, wanted) ? wanted : (mostServing(state) ?? wanted);
}

/** What a rollout to something else says of what served, the likelier first. */
function knownVersions(rollout: RolloutRow | undefined): readonly VersionOfRevision[] {
  if (rollout === undefined) return [];
  const { previous, target } = rollout;
  return isUnderWay(rollout) || isTurnedBack(rollout) ? [previous, target] : [target];
}

function serves(state: LeadState, version: VersionOfRevision): boolean {
  return countOf(state, version) > 0;
}

function countOf({ serving }: LeadState, { specDigest }: VersionOfRevision): number {
  return serving.filter((one) => one.specDigest === specDigest).length;
}

function mostServing(state: LeadState): VersionOfRevision | undefined {
  const counted = state.serving.map((version) => ({ version, count: countOf(state, version) }));
  return counted.sort((a, b) => b.count - a.count || b.version.revision - a.version.revision)[0]?.version;
}
