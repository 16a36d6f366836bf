// Owns: how a job comes into being, and what it means when it could not: another one has its key or its id.
// Does not own: which pin an agent has, and the ids (jobs-service.ts).
import { storable } from "../../../cluster/core/plain-value.ts";
import type { NodeLife } from "../../../cluster/core/rows.ts";
import type { Digest, JobId } from "../../../base/ids.ts";
import { unchanged } from "../../../kvstore/core/guards.ts";
import { formatKey } from "../../../kvstore/core/key.ts";
import type { Compare, KvEntry, Op, TxnResult } from "../../../kvstore/core/schema.ts";
import type { JobView, Transition } from "../../ports.ts";
import { refOf, type JobUid } from "../ids.ts";
import { firstLink } from "../log/chain.ts";
import { openAccount } from "../budget/account.ts";
import type { JobEvent } from "../log/event.ts";
import {
  parseJobHead, parseJobRow, parseJobSpec, parseStartRow,
  type JobHead, type JobRow, type JobSpec, type ParentRef, type QueueClass, type RestoredPoint,
  type StartRow,
} from "../rows.ts";
import { naming, type BlobRef } from "../payloads/blob.ts";
import { applyBatch } from "./append-batch.ts";
import { deadlineSet } from "./deadline.ts";
import { refuse, type Refused } from "./decide.ts";
import { queueRowOf } from "./hand-back.ts";
import { headKey, ownedKey, queueKey, rowKey, specKey } from "./job-keys.ts";

/** What an agent says of its jobs. What they ask of the nodes is part of their row: no node has to look it up. */
export type JobNeeds = Pick<JobRow, "labels" | "agentMax"> & Pick<JobSpec, "maxDurationMs" | "budget">;

export interface StartContext {
  readonly job: JobId;
  readonly uid: JobUid;
  /** Its own uid, unless given. */
  readonly effectUid?: JobUid;
  readonly agent: string;
  readonly tenant: string;
  readonly pin: Digest;
  readonly input: unknown;
  /** Of an input that is stored apart. */
  readonly inputBlob?: BlobRef;
  readonly inputDigest: Digest;
  /** Digest of the idempotency key. */
  readonly startKey?: Digest;
  readonly queueClass: QueueClass;
  readonly priority: number;
  readonly attributes: Readonly<Record<string, string>>;
  /** The job whose code starts it. */
  readonly parent?: ParentRef;
  readonly restored?: RestoredPoint;
  readonly needs?: JobNeeds;
  readonly traceparent?: string;
  /** Of a job that does another one again: that one's run. Default: 1. */
  readonly run?: number;
  readonly atMs: number;
  /** What else must hold for it to begin. */
  readonly guards?: readonly Compare[];
  /** The node that runs it at once: created and claimed in one transaction. */
  readonly claim?: NodeLife;
}

const FIRST_RUN = 1;

export interface Start extends Transition {
  /** The events, as stored. */
  readonly log: readonly Uint8Array[];
}

/** The job as one transaction, which is refused when its id or its start key is taken, or its pin is gone. */
export function decideStart(start: StartContext): Start | Refused {
  const ref = refOf(start.job);
  const { spec, row } = rowsOf(start);
  const created: JobEvent = {
    type: "job.created", agent: start.agent, pin: start.pin, inputDigest: start.inputDigest,
    ...(spec.budget !== undefined && { budget: spec.budget }),
    ...(start.inputBlob !== undefined && { blob: start.inputBlob }),
  };
  const named = naming(ref, start.inputBlob === undefined ? [] : [start.inputBlob], start.atMs);
  const events = start.claim === undefined ? [created] : [created, claimedBy(start.claim)];
  const empty: JobHead = {
    run: row.run, seq: 0, link: firstLink(spec.uid, row.run), bytes: 0, folded: 0, openEffects: 0, steps: 0,
    ...(spec.budget !== undefined && { account: openAccount(spec.budget) }),
  };
  const appended = applyBatch({ ref, head: empty, epoch: row.epoch }, { events, atMs: start.atMs });
  if (appended.kind === "too-large") return refuse("E_TOO_LARGE", appended.reason);
  const { head, log } = appended;
  const { compare, then, read } = startKeyParts(start);
  const pinKey = formatKey({ kind: "job-pin", digest: start.pin });
  const place: Op = start.claim === undefined
    ? { kind: "put", key: queueKey(ref), value: queueRowOf(row) }
    : { kind: "put", key: ownedKey(start.claim.node, ref), value: { epoch: row.epoch } };
  return {
    kind: "transition",
    txn: {
      compare: [
        unchanged(rowKey(ref), 0),
        { key: pinKey, target: "exists", op: "=", value: true },
        ...compare,
        ...(start.guards ?? []),
        ...named.compare,
      ],
      then: [
        { kind: "put", key: rowKey(ref), value: row },
        { kind: "put", key: specKey(ref), value: spec },
        ...appended.then,
        place,
        ...named.then,
        ...deadlineSet(ref, spec),
        { kind: "put", key: formatKey({ kind: "job-agent", ...ref, agent: start.agent }), value: null },
        ...then,
      ],
      else: [
        { kind: "get", key: rowKey(ref) },
        { kind: "get", key: specKey(ref) },
        { kind: "get", key: headKey(ref) },
        { kind: "get", key: pinKey },
        ...read,
      ],
    },
    next: { ref, row, rowRevision: 0, head, headRevision: 0, spec, inbox: { last: 0, revision: 0 } },
    events,
    log,
  };
}

export type StartVerdict =
  | { readonly kind: "started"; readonly view: JobView }
  /** The key was used, for this job; or the id was. `isSame`: for the same agent with the same input. */
  | { readonly kind: "taken"; readonly by: "key" | "id"; readonly job: JobId; readonly isSame: boolean }
  | { readonly kind: "pin-gone" }
  /** One of the guards of the start does not hold. */
  | { readonly kind: "guarded" };

/** @throws AetherError E_DATA_CORRUPT */
export function judgeStart({ next }: Transition, { succeeded, revision, results }: TxnResult): StartVerdict {
  if (succeeded) return { kind: "started", view: { ...next, rowRevision: revision, headRevision: revision } };
  const [row, spec, head, pin, start] = results.map((result) => (result.kind === "get" ? result.entry : undefined));
  if (row !== undefined && spec !== undefined && head !== undefined) {
    const { uid, inputDigest, startDigest } = parseJobSpec(spec.value);
    // An earlier copy of this very transaction was applied.
    if (uid === next.spec.uid) return { kind: "started", view: startedBefore(next, row, head) };
    const isSame = (startDigest ?? inputDigest) === next.spec.inputDigest &&
      parseJobRow(row.value).agent === next.row.agent;
    if (start === undefined) return { kind: "taken", by: "id", job: next.ref.job, isSame };
  }
  if (start === undefined) return { kind: pin === undefined ? "pin-gone" : "guarded" };
  const { job, inputDigest } = parseStartRow(start.value);
  return { kind: "taken", by: "key", job, isSame: inputDigest === next.spec.inputDigest };
}

function startedBefore(next: JobView, row: KvEntry, head: KvEntry): JobView {
  return {
    ...next,
    row: parseJobRow(row.value),
    rowRevision: row.modRevision,
    head: parseJobHead(head.value),
    headRevision: head.modRevision,
  };
}

function rowsOf(start: StartContext): { readonly row: JobRow; readonly spec: JobSpec } {
  const { agent, tenant, pin, queueClass, priority, attributes, atMs, claim, uid, inputDigest, startKey, parent } =
    start;
  const isClaimed = claim !== undefined;
  const { maxDurationMs, budget, ...asked } = start.needs ?? {};
  return {
    row: {
      agent,
      tenant,
      pin,
      status: isClaimed ? "running" : "pending",
      ...(isClaimed && { owner: claim }),
      epoch: isClaimed ? 1 : 0,
      run: start.run ?? FIRST_RUN,
      claims: isClaimed ? { atSeq: 2, count: 1 } : { atSeq: 0, count: 0 },
      queueClass,
      priority,
      attributes,
      ...asked,
      sinceMs: atMs,
      createdMs: atMs,
      ...(start.restored !== undefined && { restored: start.restored }),
      ...(parent !== undefined && { parent: parent.job }),
    },
    spec: {
      uid,
      effectUid: start.effectUid ?? uid,
      // As it comes back from the store: whoever runs it at once sees what a later owner sees.
      input: storable(start.input),
      ...(start.inputBlob !== undefined && { inputBlob: start.inputBlob }),
      inputDigest,
      ...(startKey !== undefined && { startKey }),
      ...(parent !== undefined && { parent }),
      ...(maxDurationMs !== undefined && { maxDurationMs }),
      ...(start.run !== undefined && start.run !== FIRST_RUN && { firstRun: start.run }),
      ...(budget !== undefined && { budget }),
      ...(start.traceparent !== undefined && { traceparent: start.traceparent }),
      createdMs: atMs,
    },
  };
}

function claimedBy({ node, incarnation }: NodeLife): JobEvent {
  return { type: "job.claimed", node, incarnation };
}

interface KeyParts {
  readonly compare: readonly Compare[];
  readonly then: readonly Op[];
  readonly read: readonly Op[];
}

/** What an idempotency key adds to the transaction of a start. */
function startKeyParts({ job, tenant, agent, startKey, inputDigest }: StartContext): KeyParts {
  if (startKey === undefined) return { compare: [], then: [], read: [] };
  const key = formatKey({ kind: "job-start", tenant, agent, digest: startKey });
  const value: StartRow = { job, inputDigest };
  return { compare: [unchanged(key, 0)], then: [{ kind: "put", key, value }], read: [{ kind: "get", key }] };
}
