// Owns: jobs that a job starts: what their start adds to an append of the parent, what their end means to it, and what
// a parent's end means to them. Does not own: telling one of the other (outbox.ts).
//
// A child comes into being in the transaction that writes `child.started` into its parent's log, under an id that
// follows from the call. So there is no moment at which one of the two is there without the other.
// JOB14  A call of `child` starts one job, and that job's end reaches the call once.
import type { Digest, JobId } from "../../../base/ids.ts";
import { encode } from "../../../base/codec.ts";
import type { Compare, Op } from "../../../kvstore/core/schema.ts";
import { formatKey } from "../../../kvstore/core/key.ts";
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import type { JobView } from "../../ports.ts";
import type { Account, Amount } from "../budget/account.ts";
import { atMost, minus, plus } from "../budget/account.ts";
import type { InboxEntry } from "../flow/inbox-entry.ts";
import { childUidOf, type CallName } from "../ids.ts";
import type { JobEvent } from "../log/event.ts";
import { apart } from "../payloads/blob.ts";
import type { JobResult, JobSpec, OutboxRow, ParentRef } from "../rows.ts";
import type { AgentOp } from "../worker/messages.ts";
import { decideStart, type JobNeeds } from "./decide-start.ts";
import type { Refused } from "./decide.ts";
import { outboxKey } from "./job-keys.ts";

/** Levels of children below a job that nobody's code has started: a chain that starts itself ends. */
export const CHILD_DEPTH_MAX = 8;
/** Jobs that one job may start: all that it has not seen the end of are cancelled in one go when it ends. */
export const CHILDREN_MAX = 1_000;
/** Each is nine operations of the transaction, and an input of 64 KiB at most, or three more for a larger one. */
export const CHILDREN_PER_APPEND_MAX = 4;

export type WantChild = Extract<AgentOp, { readonly kind: "want-child" }>;

/** A child as the log of its parent has it. */
export interface Child {
  readonly job: JobId;
  readonly isDetached: boolean;
  /** The code has been told how it ended, or waits for it no longer. */
  readonly isOver: boolean;
  /** What of the job's budget it may spend, until it is known what it has spent. */
  readonly reserved?: Amount;
}

export type Children = ReadonlyMap<CallName, Child>;

/** A child that is to be started, and what it runs. */
export interface ChildStart {
  readonly want: WantChild;
  readonly job: JobId;
  readonly pin: Digest;
  readonly needs?: JobNeeds;
  /** What it may spend; absent without a limit. */
  readonly budget?: Amount;
}

/** What an append has beside its events. */
interface BesideAppend {
  readonly guards: readonly Compare[];
  readonly also: readonly Op[];
}

/** The children after this event. */
export function noteChild(children: Map<CallName, Child>, event: JobEvent): void {
  switch (event.type) {
    case "child.started": {
      const { job, isDetached, budget } = event;
      const reserved = isDetached || budget === undefined ? {} : { reserved: budget };
      children.set(event.call, { job, isDetached, isOver: false, ...reserved });
      return;
    }
    case "child.detached":
    case "timer.fired": {
      const child = children.get(event.call);
      if (child !== undefined) children.set(event.call, { ...child, isOver: true });
      return;
    }
    case "child.completed":
    case "child.failed":
    case "child.settled": {
      const child = children.get(event.call);
      if (child === undefined) return;
      const { reserved: _reserved, ...rest } = child;
      children.set(event.call, { ...rest, isOver: true });
      return;
    }
    default:
      return;
  }
}

export function childrenAfter(children: Children, events: readonly JobEvent[]): Children {
  const after = new Map(children);
  for (const event of events) noteChild(after, event);
  return after;
}

/** Those that end with their parent. */
export function attachedOf(children: Children): readonly JobId[] {
  return [...children.values()].flatMap(({ job, isDetached, isOver }) => (isDetached || isOver ? [] : [job]));
}

export function depthOf({ parent }: Pick<JobSpec, "parent">): number {
  return parent?.depth ?? 0;
}

/** What the append with this child's `child.started` has to do besides. */
function childParts(
  parent: JobView, { want, job, pin, needs = {}, budget }: ChildStart, atMs: number,
): BesideAppend | Refused {
  const { ref, row, spec } = parent;
  const { call, agent, input, inputDigest, isDetached } = want;
  const { budget: _ofAgent, ...asked } = needs;
  const parentRef: ParentRef = { job: ref.job, call, isDetached, depth: depthOf(spec) + 1 };
  const start = decideStart({
    job,
    uid: childUidOf(spec.uid, call),
    effectUid: childUidOf(spec.effectUid, call),
    agent,
    tenant: row.tenant,
    pin,
    input,
    ...(want.blob !== undefined && { inputBlob: want.blob }),
    inputDigest,
    queueClass: row.queueClass,
    priority: row.priority,
    attributes: {},
    needs: { ...asked, ...(budget !== undefined && { budget }) },
    parent: parentRef,
    ...(spec.traceparent !== undefined && { traceparent: spec.traceparent }),
    // It may have been started in the old cluster too, and have done all that it does.
    ...(row.restored !== undefined && { restored: { seq: 0, inbox: 0 } }),
    atMs,
  });
  if (start.kind === "refused") return start;
  return {
    guards: start.txn.compare,
    also: [...start.txn.then, { kind: "put", key: formatKey({ kind: "job-child", ...ref, child: job }), value: null }],
  };
}

/** `n`: the number of the first event of the append that it belongs to. */
function outboxPut(ref: JobRef, n: number, row: OutboxRow): readonly Op[] {
  const isEmpty = row.ended === undefined && (row.cancel ?? []).length === 0;
  return isEmpty ? [] : [{ kind: "put", key: outboxKey(ref, n), value: row }];
}

/** What the end of a job adds to its outbox. */
function endedOf({ parent }: Pick<JobSpec, "parent">): Pick<OutboxRow, "ended"> {
  return parent === undefined || parent.isDetached ? {} : { ended: { job: parent.job, call: parent.call } };
}

/**
 * What a child has spent for its parent: all of it, but for what was added to its budget since, which is not the
 * parent's. What it has not heard the end of counts as spent.
 */
export function spentOfParent({ budget }: Pick<JobSpec, "budget">, account: Account | undefined): Amount | undefined {
  if (budget === undefined || account === undefined) return undefined;
  const spent = plus(account.spent, account.reserved);
  const ofOthers = atMost(minus(spent, budget), minus(account.limit, budget));
  return minus(spent, ofOthers);
}

/** A child that has ended, as its parent knows it. */
export interface EndedChild {
  readonly job: JobId;
  readonly agent: string;
  readonly call: CallName;
  /** Of a child with a budget. */
  readonly spent?: Amount | undefined;
}

/** What the parent of a job is told of its end. */
export function childEntry(child: EndedChild, result: JobResult): InboxEntry {
  const { spent } = child;
  return { ...endEntry(child, result), ...(spent !== undefined && { spent }) };
}

function endEntry({ job, agent, call }: EndedChild, result: JobResult): InboxEntry {
  if (result.kind === "completed") {
    return { kind: "child-completed", call, output: encode(result.output), ...apart(result) };
  }
  const what = `the child job ${job} of the agent "${agent}"`;
  if (result.kind === "cancelled") {
    const details = { job, agent, status: "cancelled" };
    return { kind: "child-failed", call, error: { name: CHILD_FAILED, message: `${what} was cancelled`, details } };
  }
  const { name, message, code } = result.error;
  return {
    kind: "child-failed",
    call,
    error: {
      name: CHILD_FAILED,
      message: `${what} failed: ${message}`,
      ...(code !== undefined && { code }),
      details: { job, agent, status: "failed", error: { name, message, ...(code !== undefined && { code }) } },
    },
  };
}

/** Name of the error that code gets for a child that did not complete, see sdk/child.ts. */
const CHILD_FAILED = "ChildFailed";

/** What of a plan concerns other jobs. */
export interface ChildPlan {
  readonly childStarts: readonly ChildStart[];
  readonly childCancels: readonly JobId[];
  readonly end?: JobResult;
}

/** What an append of this plan changes at other jobs, or has to tell them. */
export function besideAppend(
  view: JobView, { childStarts, childCancels, end }: ChildPlan, atMs: number,
): BesideAppend | Refused {
  const guards: Compare[] = [];
  const also: Op[] = [];
  for (const start of childStarts) {
    const parts = childParts(view, start, atMs);
    if ("kind" in parts) return parts;
    guards.push(...parts.guards);
    also.push(...parts.also);
  }
  const cancel = childCancels.length === 0 ? {} : { cancel: childCancels };
  also.push(...outboxPut(view.ref, view.head.seq + 1, { ...(end !== undefined && endedOf(view.spec)), ...cancel }));
  return { guards, also };
}

/** Whether somebody has to be told after this plan is in the store. */
export function hasToTell({ spec }: Pick<JobView, "spec">, { childCancels, end }: ChildPlan): boolean {
  return childCancels.length > 0 || (end !== undefined && endedOf(spec).ended !== undefined);
}
