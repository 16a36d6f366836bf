// Owns: what the owner of a job, or who is to become it, may do with the job: each transition as one transaction.
// Does not own: how jobs begin (decide-start.ts), what reaches them from outside (decide-inbox.ts), what became of a
// transaction (commit.ts).
//
// Every transaction compares the job's row, which changes with every epoch and status: what an owner proposes that is
// none any more is refused (JOB1, JOB2). It compares the head too: a log is continued where it ends, or not at all.
import { unreachable } from "../../../base/assert.ts";
import type { ErrorCode } from "../../../base/error-catalog.ts";
import type { ErrorDetails } from "../../../base/errors.ts";
import type { NodeLife } from "../../../cluster/core/rows.ts";
import { unchanged } from "../../../kvstore/core/guards.ts";
import { formatKey } from "../../../kvstore/core/key.ts";
import type { PermitPlace } from "../../../kvstore/core/job-key.ts";
import { TXN_OPS_MAX } from "../../../kvstore/core/limits.ts";
import type { Compare, Op } from "../../../kvstore/core/schema.ts";
import type { Decision, JobView, Transition } from "../../ports.ts";
import { NOTICES_RESERVED } from "../flow/notice.ts";
import { blobOf, type JobEvent } from "../log/event.ts";
import { LOG_BYTES_MAX, LOG_EVENTS_MAX } from "../log/page.ts";
import { isOnlyOutcome } from "../room.ts";
import { apart, naming, outputDigestOf } from "../payloads/blob.ts";
import {
  resultValue, WAKES_MAX, type JobHead, type JobResult, type JobRow, type JobStatus, type Waiting,
} from "../rows.ts";
import { applyBatch, type AppendBatch, type BatchResult } from "./append-batch.ts";
import { deadlineCleared } from "./deadline.ts";
import { disown, queueRowOf, withoutOwner } from "./hand-back.ts";
import { NEXT, type JobStep } from "./job-life.ts";
import { headKey, inboxCountKey, inboxKey, ownedKey, permitKey, queueKey, resultKey, rowKey } from "./job-keys.ts";

/** Claims in a row at which the log stood still. After them the job waits for a person. */
export const CLAIMS_WITHOUT_PROGRESS_MAX = 5;
/** The same of a job with an open call: its log stands still by right while nobody knows what became of that. */
export const CLAIMS_IN_DOUBT_MAX = 50;

function standsStill(claims: number): Waiting {
  const why = `it was taken ${claims} times in a row and got nowhere: the logs of the nodes say more`;
  return { reason: "stuck", on: [], why };
}

/** A decision that says no. */
export type Refused = Exclude<Decision, Transition>;

export interface Claim {
  readonly life: NodeLife;
  readonly atMs: number;
  /** Places that the job is to have, of those that limits leave: refused by the store when one of them is taken. */
  readonly permits?: readonly PermitPlace[];
}

/**
 * The job, which waits in the queue, is this node's: the epoch goes up by one, so that an earlier owner is refused from
 * now on. A job whose log stood still at so many claims in a row becomes `waiting: stuck` instead; `next.row` says
 * which of the two it is.
 */
export function decideClaim(view: JobView, { life, atMs, permits = [] }: Claim): Decision {
  const { ref, row, head } = view;
  const claims = head.seq === row.claims.atSeq ? row.claims.count + 1 : 1;
  const claimsMax = head.openEffects > 0 ? CLAIMS_IN_DOUBT_MAX : CLAIMS_WITHOUT_PROGRESS_MAX;
  const isStuck = claims > claimsMax;
  const standing = standsStill(claimsMax);
  const refused = refuseStep(view, isStuck ? "stick" : "claim");
  if (refused !== undefined) return refused;
  const epoch = row.epoch + 1;
  const event: JobEvent = isStuck
    ? waitEvent(standing)
    : { type: "job.claimed", node: life.node, incarnation: life.incarnation };
  const taken = isStuck ? [] : permits;
  const owned: readonly Op[] = isStuck ? [] : [{ kind: "put", key: ownedKey(life.node, ref), value: { epoch } }];
  const places = taken.map((place): Op => ({ kind: "put", key: permitKey(place), value: { job: ref.job, epoch } }));
  return transition(view, { events: [event], atMs }, {
    row: {
      ...row,
      epoch,
      claims: { atSeq: head.seq + 1, count: claims },
      sinceMs: atMs,
      ...(isStuck ? { status: "waiting", waiting: standing } : { status: "running", owner: life }),
      ...(taken.length > 0 && { permits: taken }),
    },
    then: [{ kind: "delete", key: queueKey(ref) }, ...owned, ...places],
    compare: taken.map((place) => unchanged(permitKey(place), 0)),
  });
}

/** Events, with the rows that follow from them. */
export function decideAppend(view: JobView, batch: AppendBatch): Decision {
  const refused = refuseStep(view, "append") ?? (isOnlyOutcome(batch.events) ? undefined : refuseLength(view.head));
  return refused ?? transition(view, batch, { row: view.row, then: [], compare: [] });
}

/**
 * The job has no owner until something of `waiting.on` reaches it, or its time is over; `batch` sets the timer. Refused
 * by the store when the inbox had something that `view.inbox` does not know (JOB9).
 */
export function decideWait(view: JobView, batch: AppendBatch, waiting: Waiting): Decision {
  const { ref, row } = view;
  const refused = refuseStep(view, "wait") ?? refuseLength(view.head) ?? refuseWakes(waiting);
  if (refused !== undefined) return refused;
  const event = waitEvent(waiting);
  return transition(view, { ...batch, events: [...batch.events, event] }, {
    row: { ...withoutOwner(row), status: "waiting", waiting, sinceMs: batch.atMs },
    then: disown(ref, row),
    compare: [unchanged(inboxCountKey(ref), view.inbox.revision)],
  });
}

/** Any node may go on with the job; it keeps its age in the queue. */
export function decideRelease(view: JobView, batch: AppendBatch): Decision {
  const { ref, row } = view;
  const refused = refuseStep(view, "release");
  if (refused !== undefined) return refused;
  const next: JobRow = { ...withoutOwner(row), status: "pending", sinceMs: batch.atMs };
  return transition(view, { ...batch, events: [...batch.events, { type: "job.released" }] }, {
    row: next,
    then: [...disown(ref, row), { kind: "put", key: queueKey(ref), value: queueRowOf(next) }],
    compare: [],
  });
}

export interface JobEnd {
  readonly result: JobResult;
  /** Entries of the inbox that nobody is going to read: as many of them are deleted as one transaction has room for. */
  readonly unread?: readonly number[];
}

/** The job has ended, for ever. Refused while a call of a tool may have happened and nobody knows (JOB6). */
export function decideFinish(view: JobView, batch: AppendBatch, { result, unread = [] }: JobEnd): Decision {
  const { ref, row } = view;
  const refused = refuseStep(view, "finish");
  if (refused !== undefined) return refused;
  const decision = transition(view, { ...batch, events: [...batch.events, endEvent(result)] }, {
    row: { ...withoutOwner(row), status: endStatus(result), sinceMs: batch.atMs },
    then: [
      ...disown(ref, row),
      ...deadlineCleared(ref, view.spec),
      { kind: "put", key: resultKey(ref), value: resultValue(result) },
      { kind: "put", key: formatKey({ kind: "job-end", ...ref, endedMs: batch.atMs }), value: null },
    ],
    compare: [],
  });
  if (decision.kind === "refused") return decision;
  const { txn, next: { head } } = decision;
  if (head.openEffects > 0) {
    return refuse("E_CONFLICT", `${head.openEffects} calls of tools have no outcome`, { open: head.openEffects });
  }
  const room = Math.max(0, TXN_OPS_MAX - NOTICES_RESERVED - txn.then.length - txn.else.length);
  const swept = unread.slice(0, room).map((n): Op => ({ kind: "delete", key: inboxKey(ref, n) }));
  return { ...decision, txn: { ...txn, then: [...txn.then, ...swept] } };
}

export function refuse(code: ErrorCode, reason: string, details?: ErrorDetails): Refused {
  return { kind: "refused", code, reason, ...(details !== undefined && { details }) };
}

/** What a transition does beside its batch. */
export interface Change {
  readonly row: JobRow;
  readonly then: readonly Op[];
  readonly compare: readonly Compare[];
}

export function transition(view: JobView, batch: AppendBatch, { row, then, compare }: Change): Decision {
  const { ref } = view;
  const appended = applyBatch({ ref, head: view.head, epoch: row.epoch }, batch);
  if (appended.kind === "too-large") return refuseSize(appended);
  const isPhase = row !== view.row;
  const named = naming(ref, batch.events.flatMap((event) => blobOf(event) ?? []), batch.atMs);
  const puts: readonly Op[] = isPhase ? [{ kind: "put", key: rowKey(ref), value: row }] : [];
  return {
    kind: "transition",
    txn: {
      compare: [
        unchanged(rowKey(ref), view.rowRevision),
        unchanged(headKey(ref), view.headRevision),
        ...compare,
        ...named.compare,
        ...(batch.guards ?? []),
      ],
      then: [...puts, ...appended.then, ...named.then, ...then],
      // What is read to tell why it was refused is asked for when it was: see commit.ts.
      else: [],
    },
    next: { ...view, row, head: appended.head },
    events: batch.events,
  };
}

function waitEvent({ reason, on, why }: Waiting): JobEvent {
  return { type: "job.waiting", reason, on, ...(why !== undefined && { why }) };
}

function endEvent(result: JobResult): JobEvent {
  switch (result.kind) {
    case "completed":
      return { type: "job.completed", outputDigest: outputDigestOf(result), ...apart(result) };
    case "failed":
      return { type: "job.failed", error: result.error };
    case "cancelled":
      return { type: "job.cancelled" };
    default:
      return unreachable(result);
  }
}

function endStatus({ kind }: JobResult): JobStatus {
  return kind;
}

export function refuseStep({ row }: JobView, step: JobStep): Refused | undefined {
  if (NEXT[row.status][step] !== "refuse") return undefined;
  return refuse("E_CONFLICT", `a job that is ${row.status} cannot ${step}`, { status: row.status, step });
}

function refuseLength({ seq, bytes }: JobHead): Refused | undefined {
  if (seq < LOG_EVENTS_MAX && bytes < LOG_BYTES_MAX) return undefined;
  const reason = `its log has ${seq} events in ${bytes} bytes: let its code go on in time with job.continueAs`;
  return refuse("E_TOO_LARGE", reason, {
    eventsMax: LOG_EVENTS_MAX,
    bytesMax: LOG_BYTES_MAX,
  });
}

function refuseWakes({ on }: Waiting): Refused | undefined {
  if (on.length <= WAKES_MAX) return undefined;
  const details = { limit: WAKES_MAX, actual: on.length };
  return refuse("E_TOO_LARGE", `it would wait for ${on.length} things at once`, details);
}

export function refuseSize({ reason, limit, actual }: Extract<BatchResult, { readonly kind: "too-large" }>): Refused {
  return refuse("E_TOO_LARGE", reason, { limit, actual });
}
