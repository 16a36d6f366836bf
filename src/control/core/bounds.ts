// Owns: what no controller gets past, whatever it says.
// X1  Nothing is followed while control is paused, the slice is pinned, or switched off in its blueprint.
// X2  Nothing is followed without a quorum, while a version is rolled out, or while a node is being emptied.
// X3  A count stays between min and max; never below minAvailable, and never below one.
// X4  A slice changes by at most stepUp or stepDown, at most once in `every`, and goes down at the earliest
//     `reverseAfter` after it went up. What one slice waits for concerns no other.
// X5  No instance is added to a slice of which some do not serve yet. Going down needs no such thing: what can never
//     start must not keep a slice large.
import { SECOND_MS } from "../../base/units.ts";
import type { Advice, ControlContext, Decision, RefusalCode, SliceFacts } from "./advice.ts";
import { boundsOf, MAX_DEFAULT, type RuleSet, type SliceBounds } from "./rules.ts";

export interface Range {
  readonly min: number;
  readonly max: number;
}

interface Refusal {
  readonly code: RefusalCode;
  readonly reason: string;
}

/** What may be done of what is advised; nothing for advice that changes nothing. */
export function decideWithin(advice: Advice, context: ControlContext, rules: RuleSet): Decision | undefined {
  const { slice, source, instances: wanted } = advice;
  const facts = context.slices.get(slice);
  const refuse = ({ code, reason }: Refusal): Decision => ({ kind: "refused", slice, source, code, wanted, reason });
  if (facts === undefined) return refuse({ code: "no-such-slice", reason: `no blueprint has a slice "${slice}"` });
  if (!Number.isFinite(wanted)) return refuse({ code: "no-count", reason: "this is no number of instances" });
  const from = facts.instances;
  const asked = Math.ceil(wanted);
  if (asked === from) return undefined;
  const direction = asked > from ? "up" : "down";
  const bounds = boundsOf(rules, slice);
  const forbidden = forbiddenBy(facts, context) ?? tooSoon(direction, { advice, facts, bounds });
  if (forbidden !== undefined) return refuse(forbidden);
  const range = rangeOf(facts, bounds);
  const to = within(asked, from, { advice, range, bounds });
  if (to === from) return refuse(atEnd(direction, advice, range));
  if (direction === "up" && facts.active < from) {
    const reason = `${facts.active} of ${from} instances serve: more of them would not help before those do`;
    return refuse({ code: "settling", reason });
  }
  return { kind: "scale", slice, source, from, to, reason: advice.reason };
}

/** Between which counts a slice stays. What its blueprint keeps available goes before a `max`. */
export function rangeOf({ base, minAvailable }: SliceFacts, { min, max }: SliceBounds): Range {
  const least = Math.max(1, minAvailable, min ?? Math.min(base, max ?? base));
  return { min: least, max: Math.max(least, max ?? Math.max(MAX_DEFAULT, base)) };
}

function forbiddenBy(facts: SliceFacts, { cluster }: ControlContext): Refusal | undefined {
  const { pausedBy, hasQuorum, draining } = cluster;
  if (pausedBy !== undefined) return { code: "paused", reason: `control is paused by ${pausedBy}` };
  if (facts.pinnedBy !== undefined) return { code: "pinned", reason: `the slice is pinned by ${facts.pinnedBy}` };
  if (facts.base === 0) return { code: "switched-off", reason: "its blueprint wants no instance of it" };
  if (!hasQuorum) return { code: "no-quorum", reason: "the leader does not see a majority of the voters" };
  if (facts.isRollingOut) return { code: "rollout", reason: "a version of it is being rolled out" };
  if (draining.length === 0) return undefined;
  return { code: "draining", reason: `${draining.join(", ")} is being emptied: its instances move first` };
}

function tooSoon(
  direction: "up" | "down",
  { advice, facts, bounds }: {
    readonly advice: Advice; readonly facts: SliceFacts; readonly bounds: SliceBounds;
  },
): Refusal | undefined {
  const { change } = facts;
  if (change === undefined) return undefined;
  const cooldownMs = Math.max(bounds.every, advice.cooldownMs ?? 0);
  if (change.agoMs < cooldownMs) {
    const reason = `it changed ${seconds(change.agoMs)} ago, and rests for ${seconds(cooldownMs)}`;
    return { code: "cooldown", reason };
  }
  const isReversal = direction === "down" && change.direction === "up";
  if (!isReversal || change.agoMs >= bounds.reverseAfter) return undefined;
  const reason = `instances came ${seconds(change.agoMs)} ago, none goes before ${seconds(bounds.reverseAfter)}`;
  return { code: "reversal", reason };
}

function within(
  asked: number,
  from: number,
  { advice, range, bounds }: { readonly advice: Advice; readonly range: Range; readonly bounds: SliceBounds },
): number {
  if (asked > from) {
    const most = Math.min(range.max, Math.max(range.min, advice.max ?? range.max));
    // Never the other way: who is above the most already does not go down because somebody wants more.
    return Math.max(from, Math.min(asked, most, from + bounds.stepUp));
  }
  const least = Math.max(range.min, Math.min(range.max, advice.min ?? range.min));
  return Math.min(from, Math.max(asked, least, from - bounds.stepDown));
}

function atEnd(direction: "up" | "down", { min, max }: Advice, range: Range): Refusal {
  if (direction === "up") return { code: "at-max", reason: `it has at most ${Math.min(range.max, max ?? range.max)}` };
  return { code: "at-min", reason: `it has at least ${Math.max(range.min, min ?? range.min)}` };
}

function seconds(ms: number): string {
  return `${Math.round(ms / SECOND_MS)} s`;
}
