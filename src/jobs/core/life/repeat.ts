// Owns: from where a job that has ended can be done again, and what of its log and ledger the new job has from the
// start. Does not own: the new job's rows (decide-repeat.ts).
//
// Both jobs have the same effect ids. What the new one has in its log it does not do again; a call that the old one
// made after the place where the new one begins would be made twice, so that a person has to say so.
import type { CallName, EffectId } from "../ids.ts";
import type { JobEvent, StoredEvent } from "../log/event.ts";
import type { JobError } from "../rows.ts";

/** An event of the old job, as stored and as read. */
export interface OldEvent extends StoredEvent {
  readonly bytes: Uint8Array;
}

/** What of the old log the new one has. */
export interface RepeatPlan {
  /** As it was, up to where the new job begins. */
  readonly kept: readonly OldEvent[];
  /** What calls that were under way there came to later. The code hears of it without what was in between. */
  readonly ends: readonly OldEvent[];
  /** Calls that may have happened and that the new job would make again. */
  readonly again: readonly CallName[];
}

export type RepeatVerdict =
  | { readonly kind: "plan"; readonly plan: RepeatPlan }
  | { readonly kind: "refused"; readonly code: "E_CONFLICT" | "E_NOT_FOUND"; readonly reason: string };

interface Cut {
  /** Index of the first event that is not kept. */
  readonly at: number;
  /** Events before it that are not kept either. */
  readonly without: ReadonlySet<number>;
}

/** From where it failed, was cancelled, or its time was over: what failed is done again, the rest is not. */
export function planRetry(log: readonly OldEvent[]): RepeatVerdict {
  const last = log.at(-1)?.event;
  const cancelAt = log.findIndex(({ event }) => event.type === "job.cancel-requested");
  if (last?.type === "job.cancelled" || (last?.type === "job.failed" && isOverdue(log[cancelAt]?.event))) {
    return planOf(log, { at: cancelAt === -1 ? log.length : cancelAt, without: new Set() });
  }
  if (last?.type !== "job.failed") return refusal("only a job that failed or was cancelled can be retried");
  return planOf(log, failedAt(log, last.error) ?? { at: log.length, without: new Set() });
}

function isOverdue(event: JobEvent | undefined): boolean {
  return event?.type === "job.cancel-requested" && event.reason === "deadline";
}

/** From before the first event of a call on. */
export function planFork(log: readonly OldEvent[], call: string): RepeatVerdict {
  const at = log.findIndex(({ event }) => "call" in event && event.call === call);
  if (at === -1) {
    const reason = `its log has no call "${call}": aether job trace lists them`;
    return { kind: "refused", code: "E_NOT_FOUND", reason };
  }
  return planOf(log, { at, without: new Set() });
}

/** The last event whose error the code did not get over. */
function failedAt(log: readonly OldEvent[], error: JobError): Cut | undefined {
  const at = log.findLastIndex(({ event }) => isCause(event, error));
  const event = log[at]?.event;
  switch (event?.type) {
    case "step.failed":
    case "tool.resolved":
      // A call that was given up may have happened: it is in doubt again.
      return { at, without: new Set() };
    case "tool.failed": {
      // It has not happened, so that nothing of it is kept.
      const { effectId } = event;
      return { at, without: new Set(log.flatMap((one, index) => (isOf(one, effectId) ? [index] : []))) };
    }
    default:
      return undefined;
  }
}

function isCause(event: JobEvent, { name, message, code }: JobError): boolean {
  if (event.type === "tool.resolved") return event.resolution.kind === "given-up";
  if (event.type !== "step.failed" && event.type !== "tool.failed") return false;
  return event.error.name === name && event.error.message === message && event.error.code === code;
}

function planOf(log: readonly OldEvent[], { at, without }: Cut): RepeatVerdict {
  const asked = openApprovals(log.slice(0, at));
  const isAsked = (event: JobEvent): boolean => event.type === "approval.requested" && asked.has(event.call);
  const before = log.filter(({ event }, index) =>
    index < at && !without.has(index) && !isFrame(event) && !isAsked(event));
  const after = log.filter(({ event }, index) => index >= at && !without.has(index) && !isFrame(event));
  const begun = effectsOf(before);
  const children = openChildren(before);
  // What was under way came to something later; a call that was given up is left in doubt.
  const ends = after.filter(({ event }) =>
    ("effectId" in event && begun.has(event.effectId) && !isGivenUp(event)) || isEndOf(event, children));
  const unended = [...openChildren([...before, ...ends])];
  if (unended.length > 0) {
    return refusal(`it did not hear of the end of ${unended.join(", ")}, a job that it had started`);
  }
  const again = [...madeAfter(after, begun)];
  return { kind: "plan", plan: { kept: before, ends, again } };
}

function refusal(reason: string): RepeatVerdict {
  return { kind: "refused", code: "E_CONFLICT", reason };
}

/**
 * What only the old job has: its beginning, what it ran, what was found when it was taken over, and its end. Its
 * budget, with all that was added, is the new one's.
 */
function isFrame({ type }: JobEvent): boolean {
  return type === "job.created" || type === "job.moved" || type === "budget.raised" || type === "tool.verified" ||
    type === "job.completed" || type === "job.failed" || type === "job.cancelled";
}

function isOf({ event }: OldEvent, effectId: EffectId): boolean {
  return "effectId" in event && event.effectId === effectId;
}

function isGivenUp(event: JobEvent): boolean {
  return event.type === "tool.resolved" && event.resolution.kind === "given-up";
}

function effectsOf(events: readonly OldEvent[]): ReadonlySet<EffectId> {
  return new Set(events.flatMap(({ event }) => ("effectId" in event ? [event.effectId] : [])));
}

function openApprovals(events: readonly OldEvent[]): ReadonlySet<CallName> {
  const open = new Set<CallName>();
  for (const { event } of events) {
    if (event.type === "approval.requested") open.add(event.call);
    if (event.type === "approval.decided") open.delete(event.call);
  }
  return open;
}

function openChildren(events: readonly OldEvent[]): ReadonlySet<CallName> {
  const open = new Set<CallName>();
  for (const { event } of events) {
    if (event.type === "child.started" && !event.isDetached) open.add(event.call);
    if (isEndOf(event, open)) open.delete(event.call);
  }
  return open;
}

type ChildEnd = Extract<JobEvent, { readonly type: "child.completed" | "child.failed" }>;

function isEndOf(event: JobEvent, children: ReadonlySet<CallName>): event is ChildEnd {
  return (event.type === "child.completed" || event.type === "child.failed") && children.has(event.call);
}

/** Calls that began after the cut, may be made once only, and are not known not to have happened; and other jobs. */
function madeAfter(after: readonly OldEvent[], begun: ReadonlySet<EffectId>): ReadonlySet<CallName> {
  const made = new Set<CallName>();
  const once = new Set<EffectId>();
  for (const { event } of after) {
    if (event.type === "child.started") made.add(event.call);
    if (!("effectId" in event) || begun.has(event.effectId)) continue;
    if (event.type === "tool.granted" || event.type === "tool.doubted") {
      if (event.effect !== "once") continue;
      once.add(event.effectId);
      made.add(event.call);
    } else if (once.has(event.effectId) && isNotDone(event)) made.delete(event.call);
  }
  return made;
}

function isNotDone(event: JobEvent): boolean {
  return event.type === "tool.failed" || (event.type === "tool.resolved" && event.resolution.kind === "not-done");
}
