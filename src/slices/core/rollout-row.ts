// Owns: the value of the rows `rollouts/{blueprint}/{slice}`: from which version to which a slice of a blueprint goes,
// and how far it got. Written by the leader alone, each time by compare on what was there.
// Does not own: which row comes next (cluster/rollouts/core/), what instances do about it
// (cluster/deployment/core/reconcile.ts).
// A version is what instances are made from (`specDigestOf`): another config is another version of the same artifact.
import { z } from "zod";
import type { ArtifactId, Digest } from "../../base/ids.ts";
import { digestSchema, parseStored } from "../../base/stored-row.ts";
import { ROLLOUT_STRATEGIES, type RolloutStrategy } from "../../sdk/rollout.ts";
import { artifactIdSchema } from "./instance-spec.ts";

/** What instances are made from: `revision` of the blueprint says it, `specDigest` names it. */
export interface RolloutVersion {
  readonly artifact: ArtifactId;
  readonly specDigest: Digest;
  readonly revision: number;
}

export const ROLLOUT_STAGES = ["shifting", "finishing", "done", "rolling-back", "rolled-back"] as const;
export type RolloutStage = (typeof ROLLOUT_STAGES)[number];

/**
 * `settle`: the target has all calls and keeps them. `complete`: nothing of the version that is left runs any more.
 * `fail`: the target does not work.
 */
export type RolloutEvent = "settle" | "complete" | "fail";

export const NEXT_STAGE = {
  shifting: { settle: "finishing", complete: "done", fail: "rolling-back" },
  finishing: { settle: "refuse", complete: "done", fail: "refuse" },
  done: { settle: "refuse", complete: "refuse", fail: "refuse" },
  "rolling-back": { settle: "refuse", complete: "rolled-back", fail: "refuse" },
  "rolled-back": { settle: "refuse", complete: "refuse", fail: "refuse" },
} as const satisfies Record<RolloutStage, Record<RolloutEvent, RolloutStage | "refuse">>;

export interface RolloutRow {
  readonly strategy: RolloutStrategy;
  readonly stage: RolloutStage;
  readonly target: RolloutVersion;
  /** What served when the rollout began, and serves again if the target does not work. */
  readonly previous: RolloutVersion;
  /** Of a canary: which of its steps it is at, or on its way to; the first is 0. */
  readonly step?: number;
  /** Of 10,000 calls so many go to the target; absent: as many as its instances are of all. */
  readonly targetShare?: number;
  /** The target is what served before a rollout that was called off: it is not left again by itself. */
  readonly isReturn?: boolean;
  /** Wall time at which the stage was entered; for people. */
  readonly sinceMs: number;
  /** Why it was rolled back. */
  readonly reason?: string;
}

/** What shares of calls are parts of. */
export const ALL_CALLS = 10_000;

export function percentOf(share: number): number {
  return (share * 100) / ALL_CALLS;
}

const versionSchema = z.object({
  artifact: artifactIdSchema,
  specDigest: digestSchema,
  revision: z.int().min(1),
});

const rolloutRowSchema = z.object({
  strategy: z.enum(ROLLOUT_STRATEGIES),
  stage: z.enum(ROLLOUT_STAGES),
  target: versionSchema,
  previous: versionSchema,
  step: z.int().min(0).exactOptional(),
  targetShare: z.int().min(0).max(ALL_CALLS).exactOptional(),
  isReturn: z.boolean().exactOptional(),
  sinceMs: z.number(),
  reason: z.string().exactOptional(),
});

/** Parses a stored row. @throws AetherError E_DATA_CORRUPT naming the place that is wrong. */
export function parseRolloutRow(value: unknown): RolloutRow {
  return parseStored(rolloutRowSchema, value, "a row of a rollout");
}

/** Whether instances are still to come or to go because of it. */
export function isUnderWay({ stage }: Pick<RolloutRow, "stage">): boolean {
  return stage === "shifting" || stage === "finishing" || stage === "rolling-back";
}

/** Whether how its calls go decides what becomes of it. */
export function isJudged({ strategy, stage, isReturn }: RolloutRow): boolean {
  return strategy === "canary" && stage === "shifting" && isReturn !== true;
}

/** Whether the previous version is what is to run, or comes to be. */
export function isTurnedBack({ stage }: Pick<RolloutRow, "stage">): boolean {
  return stage === "rolling-back" || stage === "rolled-back";
}

/** Revisions between two that are looked at; older ones are not kept. */
const REVISIONS_LOOKED_AT_MAX = 32;

export interface Wish {
  readonly specDigest: Digest;
  readonly revision: number;
}

/**
 * Whether a rollout is about what the blueprint wants now. What was rolled back is not tried again because the
 * blueprint changed elsewhere, but it is when the blueprint wanted something else meanwhile. `digestAt` says what a
 * revision wanted: undefined when nobody knows any more, "nothing" when it did not have the slice.
 */
export function isOfWish(
  row: RolloutRow,
  wish: Wish,
  digestAt: (revision: number) => Digest | "nothing" | undefined,
): boolean {
  if (row.target.specDigest !== wish.specDigest) return false;
  if (!isTurnedBack(row)) return true;
  const from = Math.max(row.target.revision + 1, wish.revision - REVISIONS_LOOKED_AT_MAX);
  for (let revision = from; revision < wish.revision; revision++) {
    const wanted = digestAt(revision);
    if (wanted !== undefined && wanted !== wish.specDigest) return false;
  }
  return true;
}
