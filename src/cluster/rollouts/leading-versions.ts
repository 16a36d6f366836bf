// Owns: this node's view of which version of each slice leads, as the blueprint's revision says it.
// Does not own: the rule (core/leading-version.ts), what is done with its routes and schedules.
import type { Digest } from "../../base/ids.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey } from "../../kvstore/core/key.ts";
import type { Compare } from "../../kvstore/core/schema.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "../../slices/core/blueprint.ts";
import { isOfWish, isTurnedBack, isUnderWay } from "../../slices/core/rollout-row.ts";
import { specDigestOf } from "../../slices/core/spec-digest.ts";
import type { ClusterViews } from "../cluster-views.ts";
import { leadingVersion, type VersionOfRevision } from "./core/leading-version.ts";

/** A slice of a blueprint, as the version that leads has it. */
export interface LeadingSlice {
  readonly blueprint: string;
  readonly slice: string;
  readonly resolved: ResolvedSlice;
  /** Whether it is what the blueprint wants now. */
  readonly isCurrent: boolean;
  /** Whether it is that, and no version before it will lead again by itself. */
  readonly isSettled: boolean;
  /** What comes to lead after it, unless that fails; undefined when nothing does. */
  readonly next: ResolvedSlice | undefined;
}

export type LeadingViews = Pick<
  ClusterViews, "blueprints" | "rollouts" | "slices" | "currentBlueprints" | "revisionOf" | "isComplete"
>;

export class LeadingVersions {
  private readonly views: LeadingViews;
  private readonly digests = new WeakMap<ResolvedSlice, Digest>();
  private known: readonly LeadingSlice[] | undefined;

  constructor(views: LeadingViews) {
    this.views = views;
    this.subscribe(() => {
      this.known = undefined;
    });
  }

  get isComplete(): boolean {
    return this.views.isComplete;
  }

  /** Of each slice of each blueprint that can be read. */
  all(): readonly LeadingSlice[] {
    this.known ??= this.read();
    return this.known;
  }

  /** Called when any of them may have changed. The listener must not throw and not write. */
  subscribe(listener: () => void): void {
    const { blueprints, rollouts, slices } = this.views;
    for (const view of [blueprints, rollouts, slices]) view.subscribe(listener);
  }

  /** Hold while nobody has changed which version of the slice leads by a new revision or a step of a rollout. */
  guards({ blueprint, slice }: Pick<LeadingSlice, "blueprint" | "slice">): readonly Compare[] {
    const { blueprints, rollouts } = this.views;
    const current = formatKey({ kind: "blueprint-current", name: blueprint });
    const rollout = formatKey({ kind: "rollout", blueprint, slice });
    const row = rollouts.get(rollout) ?? rollouts.damaged.get(rollout);
    return [unchanged(current, blueprints.get(current)?.modRevision ?? 0), unchanged(rollout, row?.modRevision ?? 0)];
  }

  private read(): readonly LeadingSlice[] {
    const serving = this.servingBySlice();
    return this.views.currentBlueprints().flatMap((blueprint) =>
      Object.entries(blueprint.slices).map(([slice, resolved]) =>
        this.leadingOf(blueprint, slice, { resolved, serving: serving.get(`${blueprint.name}/${slice}`) ?? [] })));
  }

  private servingBySlice(): ReadonlyMap<string, readonly VersionOfRevision[]> {
    const found = new Map<string, VersionOfRevision[]>();
    for (const { value: { row } } of this.views.slices.rows().values()) {
      const { specDigest, state, blueprint, slice, revision } = row;
      if (state !== "ACTIVE" || specDigest === undefined) continue;
      const label = `${blueprint}/${slice}`;
      const known = found.get(label) ?? [];
      found.set(label, known);
      known.push({ specDigest, revision });
    }
    return found;
  }

  private leadingOf(
    { name, revision }: ResolvedBlueprint,
    slice: string,
    { resolved, serving }: { readonly resolved: ResolvedSlice; readonly serving: readonly VersionOfRevision[] },
  ): LeadingSlice {
    const wanted = { specDigest: this.digestOf(resolved), revision };
    const rollout = this.views.rollouts.get(formatKey({ kind: "rollout", blueprint: name, slice }))?.value.row;
    const isSettled = rollout === undefined || !isUnderWay(rollout);
    const current = { blueprint: name, slice, resolved, isCurrent: true, isSettled, next: undefined };
    const digestAt = this.digestsOf(name, slice);
    const leading = leadingVersion({ wanted, serving, rollout, digestAt });
    if (leading.specDigest === wanted.specDigest) return current;
    const before = this.views.revisionOf(name, leading.revision)?.slices[slice];
    // With its revision gone nobody knows what it had.
    if (before === undefined || this.digestOf(before) !== leading.specDigest) return current;
    const hasFailed = rollout !== undefined && isTurnedBack(rollout) && isOfWish(rollout, wanted, digestAt);
    const next = hasFailed ? undefined : resolved;
    return { blueprint: name, slice, resolved: before, isCurrent: false, isSettled: false, next };
  }

  private digestsOf(name: string, slice: string): (revision: number) => Digest | "nothing" | undefined {
    return (revision) => {
      const then = this.views.revisionOf(name, revision);
      if (then === undefined) return undefined;
      const resolved = then.slices[slice];
      return resolved === undefined ? "nothing" : this.digestOf(resolved);
    };
  }

  /** Of each only once: all of them are asked for after every change of an instance. */
  private digestOf(resolved: ResolvedSlice): Digest {
    const known = this.digests.get(resolved);
    if (known !== undefined) return known;
    const digest = specDigestOf(resolved);
    this.digests.set(resolved, digest);
    return digest;
  }
}
