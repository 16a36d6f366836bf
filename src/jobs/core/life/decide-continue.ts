// Owns: a job that begins afresh under its id: the end of one run and the beginning of the next, as one transaction.
// Does not own: how code asks for it (worker/agent-run.ts), what may follow what (job-life.ts).
//
// What is of the job stays: its uid, its inbox with what nobody has read, its deadline, its attributes, its start key,
// its parent. What is of the run is new: input, log, calls. The old run's log and ledger stay until the job is
// collected. Any node takes the new run, in its turn, so that places of limits are given back.
import { storable } from "../../../cluster/core/plain-value.ts";
import type { Digest } from "../../../base/ids.ts";
import type { Op } from "../../../kvstore/core/schema.ts";
import type { Decision, JobView } from "../../ports.ts";
import { continuedAccount } from "../budget/account.ts";
import { firstLink } from "../log/chain.ts";
import type { JobEvent } from "../log/event.ts";
import { apart, naming, type BlobRef } from "../payloads/blob.ts";
import { runValue, type JobHead, type JobRow, type JobRunRow, type JobSpec } from "../rows.ts";
import { applyBatch, type AppendBatch } from "./append-batch.ts";
import { attachedOf, childrenAfter, type Children } from "./children.ts";
import { refuse, refuseSize, refuseStep, transition } from "./decide.ts";
import { disown, queueRowOf, withoutOwner } from "./hand-back.ts";
import { headKey, queueKey, runKey, specKey } from "./job-keys.ts";

/** Its number is part of keys. */
export const RUNS_MAX = 999_999;

/** What the job's next run begins with. */
export interface NextRun {
  readonly input: unknown;
  readonly inputDigest: Digest;
  /** Of an input that is stored apart. */
  readonly blob?: BlobRef;
}

/**
 * `children`: those of the run that ends, before this batch. Refused while it has one after it that would end with it,
 * or a call of a tool that may have happened and nobody knows: nobody would hear of either.
 */
export function decideContinue(view: JobView, batch: AppendBatch, next: NextRun, children: Children): Decision {
  const { ref, row, spec } = view;
  const attached = attachedOf(childrenAfter(children, batch.events));
  if (attached.length > 0) {
    return refuse("E_CONFLICT", `its children ${attached.join(", ")} have not ended: await them before continueAs`);
  }
  if (row.run >= RUNS_MAX) {
    return refuse("E_TOO_LARGE", `it has had ${row.run} runs: let its code start another job`, { limit: RUNS_MAX });
  }
  const refused = refuseStep(view, "continue");
  if (refused !== undefined) return refused;
  const run = row.run + 1;
  const { inputDigest } = next;
  const ended: JobEvent = { type: "job.continued", run, inputDigest };
  const nextRow = rowOfRun(row, run, batch.atMs);
  const last = transition(view, { ...batch, events: [...batch.events, ended] }, {
    row: nextRow,
    then: [...disown(ref, row), { kind: "put", key: queueKey(ref), value: queueRowOf(nextRow) }],
    compare: [],
  });
  if (last.kind === "refused") return last;
  const { head: left } = last.next;
  if (left.openEffects > 0) {
    return refuse("E_CONFLICT", `${left.openEffects} calls of tools have no outcome`, { open: left.openEffects });
  }
  const account = left.account && continuedAccount(left.account);
  const created: JobEvent = {
    type: "job.created", agent: row.agent, pin: row.pin, inputDigest,
    ...(account !== undefined && { budget: account.limit, spent: account.spent }),
    ...apart(next),
  };
  const empty = { ...emptyHead(spec, run, left.folded), ...(account !== undefined && { account }) };
  const begun = applyBatch({ ref, head: empty, epoch: row.epoch }, {
    events: [created], atMs: batch.atMs,
  });
  if (begun.kind === "too-large") return refuseSize(begun);
  const { input, inputBlob, inputDigest: oldDigest, ...kept } = spec;
  const named = naming(ref, next.blob === undefined ? [] : [next.blob], batch.atMs);
  const nextSpec: JobSpec = {
    ...kept,
    input: storable(next.input),
    ...(next.blob !== undefined && { inputBlob: next.blob }),
    inputDigest,
    startDigest: spec.startDigest ?? oldDigest,
  };
  const old: JobRunRow = { head: left, input, inputDigest: oldDigest, ...(inputBlob !== undefined && { inputBlob }) };
  const then: readonly Op[] = [
    ...last.txn.then.filter(({ key }) => key !== headKey(ref)),
    ...begun.then,
    ...named.then,
    { kind: "put", key: specKey(ref), value: nextSpec },
    { kind: "put", key: runKey(ref, row.run), value: runValue(old) },
  ];
  return {
    ...last,
    txn: { ...last.txn, compare: [...last.txn.compare, ...named.compare], then },
    next: { ...last.next, spec: nextSpec, head: begun.head },
  };
}

/** Since it goes on it has got somewhere: it is tried as often as at first. */
function rowOfRun(row: JobRow, run: number, atMs: number): JobRow {
  const { restored } = row;
  return {
    ...withoutOwner(row),
    status: "pending",
    run,
    claims: { atSeq: 0, count: 0 },
    sinceMs: atMs,
    // None of its events is in the backup. The old cluster may have made its calls all the same.
    ...(restored !== undefined && { restored: { ...restored, seq: 0 } }),
  };
}

/** Entries of the inbox are counted through all runs. */
function emptyHead({ uid }: JobSpec, run: number, folded: number): JobHead {
  return { run, seq: 0, link: firstLink(uid, run), bytes: 0, folded, openEffects: 0, steps: 0 };
}
