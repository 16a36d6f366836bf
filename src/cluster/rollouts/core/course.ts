// Owns: where a slice goes now: to what its blueprint wants, or back to what served before; and when its rollout
// begins, ends and turns back. Does not own: the instances on the way (reconcile.ts).
//
// The row comes first: no instance of a new version is made before a row says what served until then, so whoever leads
// next knows where to go back to.
import { assert, unreachable } from "../../../base/assert.ts";
import { SECOND_MS } from "../../../base/units.ts";
import type { Digest } from "../../../base/ids.ts";
import type { ResolvedBlueprint } from "../../../slices/core/blueprint.ts";
import type { RolloutWait } from "../../../slices/core/blueprint-status.ts";
import { instanceKeyOf } from "../../../slices/core/instance-spec.ts";
import {
  ALL_CALLS, isJudged, isOfWish, isUnderWay, NEXT_STAGE, percentOf, type RolloutEvent, type RolloutRow,
  type RolloutVersion,
} from "../../../slices/core/rollout-row.ts";
import { specDigestOf } from "../../../slices/core/spec-digest.ts";
import { ROLLOUT_DEFAULT } from "../../../sdk/rollout.ts";
import type { PlanInstance, PlanRollout } from "../../deployment/core/plan-types.ts";
import { canaryVerdict, timeWait, type CanaryVerdict } from "./canary-verdict.ts";
import { CANARIES_MAX, NO_CALLS } from "./version-tally.ts";
import type { Wanted } from "./wanted.ts";

/** A row to be written; when is for whoever writes it. */
export type NextRollout = Omit<RolloutRow, "sinceMs">;

export type Course =
  | { readonly kind: "write"; readonly row: NextRollout }
  | { readonly kind: "replace"; readonly wanted: Wanted; readonly isUnderWay: boolean }
  /** Both versions stay, as many of each as is said, until `againInMs` have passed or something changes. */
  | {
    readonly kind: "beside"; readonly target: Wanted; readonly previous: Wanted;
    readonly wait: RolloutWait; readonly againInMs?: number;
  };

/** A slice with all that the course depends on. */
export interface SliceState {
  readonly wanted: Wanted;
  /** Its instances, of whatever version. */
  readonly rows: readonly PlanInstance[];
  readonly rollout: PlanRollout | undefined;
  readonly isServing: (instance: PlanInstance) => boolean;
  /** A revision of a blueprint, while it is kept. */
  readonly revisionOf: (name: string, revision: number) => ResolvedBlueprint | undefined;
}

/** Instances that come up take less; only what takes longer is worth telling. */
const COMING_UP_MS_MAX = 30 * SECOND_MS;
/** How often a canary is looked at while it has calls. */
const LOOK_EVERY_MS = 500;
const NO_TALLY = { target: NO_CALLS, previous: NO_CALLS };
/** Attempts to bring an instance of the target up; when the last of them fails, it is rolled back. */
const ATTEMPTS_MAX = 3;
/** Of the message in a reason: enough for a person, small in a row. */
const REASON_CHARS_MAX = 500;

export function courseOf(state: SliceState): Course {
  const { rollout } = state;
  const wanted = { ...state.wanted, rolloutRevision: rollout?.modRevision ?? 0 };
  const row = rollout?.row;
  if (row === undefined || !isAboutIt(state, row)) {
    const begun = beginning(state, row);
    return begun === undefined ? { kind: "replace", wanted, isUnderWay: false } : { kind: "write", row: begun };
  }
  switch (row.stage) {
    case "done":
      return { kind: "replace", wanted, isUnderWay: false };
    case "shifting":
      return isSteppedThrough(row) ? besides({ ...state, wanted }, row) : shifting({ ...state, wanted }, row);
    case "finishing":
      return finishing({ ...state, wanted }, row);
    case "rolling-back":
    case "rolled-back":
      return goingBack({ ...state, wanted }, row);
    default:
      return unreachable(row.stage);
  }
}

function isAboutIt(state: SliceState, row: RolloutRow): boolean {
  const { blueprint, slice } = state.wanted;
  return isOfWish(row, state.wanted, (revision) => {
    const then = state.revisionOf(blueprint.name, revision);
    if (then === undefined) return undefined;
    const resolved = then.slices[slice];
    return resolved === undefined ? "nothing" : specDigestOf(resolved);
  });
}

function shifting(state: SliceState, row: RolloutRow): Course {
  if (isComplete(state, state.wanted)) return { kind: "write", row: moved(row, "complete") };
  const failed = row.isReturn === true ? undefined : state.rows.find((instance) => isFailure(instance, row));
  if (failed !== undefined && before(state, row.previous) !== undefined) return turnBack(row, reasonOf(failed));
  return { kind: "replace", wanted: state.wanted, isUnderWay: true };
}

/** The target comes up beside what serves, then gets its calls, step by step; what served stays to go back to. */
function besides(state: SliceState, row: RolloutRow): Course {
  const { wanted, rows, rollout, isServing } = state;
  const previous = before(state, row.previous);
  // With its revision gone there is nothing to keep, and nothing to go back to.
  if (previous === undefined) return shifting(state, row);
  const failed = rows.find((instance) => isFailure(instance, row));
  if (failed !== undefined) return turnBack(row, reasonOf(failed));
  const step = stepOf(wanted, row);
  const count = Math.ceil((wanted.resolved.instances * step.share) / ALL_CALLS);
  const target = { ...wanted, resolved: { ...wanted.resolved, instances: count } };
  // Nobody counts its calls yet: it goes on when another canary has ended, which changes a row.
  if (isJudged(row) && rollout?.tally === undefined) return { kind: "beside", target, previous, wait: TURN_WAIT };
  if (row.targetShare !== step.share) {
    const serving = rows.filter((one) => isServing(one) && one.row.specDigest === wanted.specDigest).length;
    if (serving < count) {
      const message = `${serving} of ${count} instances of the new version serve, which it needs for ` +
        `${percentOf(step.share)}% of the calls`;
      const isLate = (rollout?.unchangedForMs ?? 0) > COMING_UP_MS_MAX;
      return { kind: "beside", target, previous, wait: { what: "instances", message, isLate } };
    }
    const { sinceMs: _, ...rest } = row;
    return { kind: "write", row: { ...rest, targetShare: step.share } };
  }
  const verdict = verdictOf(wanted, rollout);
  if (verdict.kind === "turn-back") return turnBack(row, verdict.reason);
  if (verdict.kind === "wait") return { kind: "beside", target, previous, ...verdict.waiting };
  return { kind: "write", row: step.share === ALL_CALLS ? moved(row, "settle") : atStep(row, (row.step ?? 0) + 1) };
}

type StepVerdict =
  | Exclude<CanaryVerdict, { kind: "wait" }>
  | { readonly kind: "wait"; readonly waiting: { readonly wait: RolloutWait; readonly againInMs: number } };

const TURN_WAIT: RolloutWait = {
  what: "turn",
  message: `the ${CANARIES_MAX} canaries that are judged at once were there before: it begins when one of them ends`,
  isLate: true,
};

function verdictOf({ resolved }: Wanted, rollout: PlanRollout | undefined): StepVerdict {
  const { unchangedForMs: heldForMs = 0, tally = NO_TALLY } = rollout ?? {};
  const settings = resolved.rollout;
  if (settings?.strategy === "canary") {
    const verdict = canaryVerdict({ ...tally, heldForMs }, settings);
    // Counts come all the time and wake nobody.
    if (verdict.kind !== "wait") return verdict;
    return { kind: "wait", waiting: { wait: verdict.wait, againInMs: LOOK_EVERY_MS } };
  }
  const bakeMs = settings?.strategy === "blue-green" ? settings.bakeMs : 0;
  const againInMs = bakeMs - heldForMs;
  if (againInMs <= 0) return { kind: "advance" };
  const wait = timeWait("the way back by one write", heldForMs, bakeMs);
  return { kind: "wait", waiting: { wait, againInMs } };
}

function atStep(row: RolloutRow, step: number): NextRollout {
  const { sinceMs: _, ...rest } = row;
  return { ...rest, step };
}

function finishing(state: SliceState, row: RolloutRow): Course {
  if (isComplete(state, state.wanted)) return { kind: "write", row: moved(row, "complete") };
  return { kind: "replace", wanted: state.wanted, isUnderWay: true };
}

function turnBack(row: RolloutRow, reason: string): Course {
  // Where calls have shares, all of them go back at once; else what serves goes on serving until others do.
  const share = row.targetShare === undefined ? {} : { targetShare: 0 };
  return { kind: "write", row: { ...moved(row, "fail"), ...share, reason } };
}

/** What goes back to what is there already needs no steps. */
function isSteppedThrough({ strategy, isReturn }: RolloutRow): boolean {
  return strategy !== "rolling" && isReturn !== true;
}

/** Which part of the calls the target is to have. Where the blueprint has come to want no steps: all. */
function stepOf({ resolved }: Wanted, { step = 0 }: RolloutRow): { readonly share: number } {
  const steps = resolved.rollout?.strategy === "canary" ? resolved.rollout.steps : [];
  return { share: ((steps[step] ?? 100) * ALL_CALLS) / 100 };
}

function goingBack(state: SliceState, row: RolloutRow): Course {
  const previous = before(state, row.previous);
  // With its revision gone nobody knows what it was: the target is better than nothing.
  if (previous === undefined) return { kind: "replace", wanted: state.wanted, isUnderWay: false };
  if (row.stage === "rolling-back" && isComplete(state, previous)) {
    return { kind: "write", row: moved(row, "complete") };
  }
  return { kind: "replace", wanted: previous, isUnderWay: isUnderWay(row) };
}

/** All that is wanted serves, and nothing else has a row. */
function isComplete({ rows, isServing }: SliceState, { specDigest, resolved }: Wanted): boolean {
  return rows.every(({ row }) => row.specDigest === specDigest) && rows.filter(isServing).length >= resolved.instances;
}

/** An earlier version, in the number and where the blueprint wants the slice now. */
function before({ wanted, revisionOf }: SliceState, version: RolloutVersion): Wanted | undefined {
  const { blueprint, slice } = wanted;
  const resolved = revisionOf(blueprint.name, version.revision)?.slices[slice];
  if (resolved === undefined || specDigestOf(resolved) !== version.specDigest) return undefined;
  const { instances, labels, minAvailable, rollout } = wanted.resolved;
  return {
    ...wanted,
    resolved: { ...resolved, instances, labels, minAvailable, ...(rollout === undefined ? {} : { rollout }) },
    specDigest: version.specDigest,
    revision: version.revision,
  };
}

/** The row of a rollout that has to begin before anything is made; undefined when nothing serves that has to go. */
function beginning(state: SliceState, row: RolloutRow | undefined): NextRollout | undefined {
  const { wanted: { resolved, specDigest, blueprint: { revision } } } = state;
  if (resolved.instances === 0) return undefined;
  const interrupted = row !== undefined && isUnderWay(row) ? row : undefined;
  const previous = previousOf(state, interrupted);
  if (previous === undefined || before(state, previous) === undefined) return undefined;
  const { strategy } = resolved.rollout ?? ROLLOUT_DEFAULT;
  const target = { artifact: resolved.artifact, specDigest, revision };
  const isReturn = interrupted !== undefined && interrupted.isReturn !== true &&
    interrupted.stage !== "finishing" && interrupted.previous.specDigest === specDigest;
  if (!isReturn) {
    const shares = strategy === "rolling" ? {} : { targetShare: 0 };
    const steps = strategy === "canary" ? { step: 0 } : {};
    return { strategy, stage: "shifting", target, previous, ...shares, ...steps };
  }
  const share = interrupted.targetShare === undefined ? {} : { targetShare: ALL_CALLS };
  return { strategy, stage: "shifting", target, previous, isReturn, ...share };
}

/**
 * What to go back to: what served before a rollout that is overtaken, as long as some of it serves, because its target
 * has proved nothing yet; else what serves most.
 */
function previousOf(state: SliceState, interrupted: RolloutRow | undefined): RolloutVersion | undefined {
  const { specDigest } = state.wanted;
  const versions = servingVersions(state);
  if (interrupted === undefined) return versions[0];
  const known = [interrupted.previous, interrupted.target].filter((version) => version.specDigest !== specDigest);
  const isThere = (version: RolloutVersion): boolean =>
    versions.some((serving) => serving.specDigest === version.specDigest);
  return known.find(isThere) ?? versions[0] ?? known[0];
}

/** The other versions of which instances are ACTIVE, the one with most of them first. */
function servingVersions({ wanted, rows }: SliceState): readonly RolloutVersion[] {
  const found = new Map<Digest, { readonly version: RolloutVersion; readonly count: number }>();
  for (const { artifact, row } of rows) {
    const { specDigest, blueprint, revision } = row;
    if (row.state !== "ACTIVE" || specDigest === undefined || specDigest === wanted.specDigest) continue;
    // Another blueprint that had the slice does not say any more what it was.
    if (blueprint !== wanted.blueprint.name) continue;
    const known = found.get(specDigest);
    const newest = Math.max(revision, known?.version.revision ?? 0);
    found.set(specDigest, { version: { artifact, specDigest, revision: newest }, count: (known?.count ?? 0) + 1 });
  }
  const byCount = [...found.values()].sort((a, b) => b.count - a.count || b.version.revision - a.version.revision);
  return byCount.map(({ version }) => version);
}

function isFailure({ row }: PlanInstance, { target }: RolloutRow): boolean {
  if (row.specDigest !== target.specDigest || row.revision < target.revision) return false;
  // Attempts that ended with their nodes leave no row in FAILED.
  if (row.attempt > ATTEMPTS_MAX) return true;
  return row.state === "FAILED" && (row.error?.fatal === true || row.attempt >= ATTEMPTS_MAX);
}

function reasonOf({ node, artifact, index, row }: PlanInstance): string {
  const { code, message } = row.error ?? { code: "E_INTERNAL", message: "it failed" };
  const attempts = row.error?.fatal === true ? "" : ` in attempt ${row.attempt}`;
  return `instance ${instanceKeyOf(artifact, index)} on ${node} failed${attempts} with ${code}: ` +
    message.slice(0, REASON_CHARS_MAX);
}

function moved(row: RolloutRow, event: RolloutEvent): NextRollout {
  const stage = NEXT_STAGE[row.stage][event];
  assert(stage !== "refuse", "a rollout moves on only from where it can");
  const { sinceMs: _, ...rest } = row;
  return { ...rest, stage };
}
