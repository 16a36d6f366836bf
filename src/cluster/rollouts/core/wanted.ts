// Owns: what one slice of a blueprint is to be now: which version, made from which revision, how many.
import type { Digest } from "../../../base/ids.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "../../../slices/core/blueprint.ts";
import { specDigestOf } from "../../../slices/core/spec-digest.ts";

export interface Wanted {
  readonly blueprint: ResolvedBlueprint;
  readonly slice: string;
  readonly resolved: ResolvedSlice;
  readonly specDigest: Digest;
  /** The revision of the blueprint that its instances are made from. */
  readonly revision: number;
  /** The row of its rollout as the plan saw it; 0: there is none. Guards each instance that is made. */
  readonly rolloutRevision: number;
}

/** What the current revision of a blueprint wants of a slice. */
export function wantedNow(blueprint: ResolvedBlueprint, slice: string, resolved: ResolvedSlice): Wanted {
  const { revision } = blueprint;
  return { blueprint, slice, resolved, specDigest: specDigestOf(resolved), revision, rolloutRevision: 0 };
}
