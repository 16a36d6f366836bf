// Owns: what is taken away of a job that has ended, and when: first its log, its input and the calls of its tools, so
// that its outcome stays; later all of it, with its id and its idempotency key.
// JOB11  Nothing of a job that may still run, or whose end others wait for, is taken away.
import { unchanged } from "../../../kvstore/core/guards.ts";
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import { formatKey, parseKey, type KeyText } from "../../../kvstore/core/key.ts";
import type { Compare, Op, Txn } from "../../../kvstore/core/schema.ts";
import { refOf } from "../ids.ts";
import { payloadKey, unnaming, type BlobRef } from "../payloads/blob.ts";
import type { JobRow, JobSpec } from "../rows.ts";
import { hasEnded } from "./job-life.ts";
import { headKey, resultKey, rowKey, specKey, untoldKey } from "./job-keys.ts";

/** Rows that one transaction takes away: with the rows of the job itself far below what a transaction may have. */
export const COLLECTED_PER_TXN = 100;

/** A job that has ended, as the index of ends names it. */
export interface EndedJob {
  readonly ref: JobRef;
  readonly endedMs: number;
  readonly row: JobRow;
  /** modRevision of the row. */
  readonly rowRevision: number;
}

/** What stands under the name of a job that has ended. */
export interface JobData {
  readonly keys: readonly KeyText[];
  /** Of its output, where that is stored apart. */
  readonly output: BlobRef | undefined;
}

/**
 * `stale`: the job has been begun anew since, so that this is not its end. `needed`: others have not been told yet.
 */
export type CollectVerdict = "collect" | "stale" | "needed";

export function judgeCollect({ row, endedMs }: EndedJob, isAwaited: boolean): CollectVerdict {
  if (!hasEnded(row.status) || row.sinceMs !== endedMs) return "stale";
  return isAwaited ? "needed" : "collect";
}

/** The end was none: only its place in the index goes. */
export function forgetEnd(job: EndedJob): Txn {
  return {
    compare: [unchanged(rowKey(job.ref), job.rowRevision)], then: [{ kind: "delete", key: endKey(job) }], else: [],
  };
}

/**
 * Transactions in their order, each to be applied before the next: the first one marks the row, so that nobody reads
 * what is being taken away; the last one takes the job from the index, so that it is met again until all of it is done.
 * `data` are the keys under its name; its head, spec and result stay among them, and the payload of its output.
 */
export function collectTxns(
  job: EndedJob, { inputBlob: _gone, ...spec }: JobSpec, { keys, output }: JobData, atMs: number,
): readonly Txn[] {
  const { ref, row, endedMs } = job;
  const kept = new Set([
    headKey(ref), specKey(ref), resultKey(ref), ...(output === undefined ? [] : [payloadKey(ref, output)]),
  ]);
  const gone = keys.filter((key) => !kept.has(key)).flatMap((key) => goneWith(ref, key));
  const first: readonly Op[] = row.collectedMs === undefined
    ? [
      { kind: "put", key: rowKey(ref), value: { ...row, collectedMs: atMs } },
      { kind: "put", key: specKey(ref), value: { ...spec, input: null } },
    ]
    : [];
  const last: readonly Op[] = [
    { kind: "delete", key: endKey(job) },
    { kind: "put", key: formatKey({ kind: "job-collected", ...ref, endedMs }), value: null },
  ];
  const parts = chunks(gone);
  return parts.map((part, at) => ({
    compare: at === 0 ? [unchanged(rowKey(ref), job.rowRevision)] : [isThere(rowKey(ref))],
    then: [...at === 0 ? first : [], ...part, ...at === parts.length - 1 ? last : []],
    else: [],
  }));
}

/** A row, and the reference of the payload that it stands for. */
function goneWith(ref: JobRef, text: KeyText): readonly Op[] {
  const key = parseKey(text);
  return key.kind === "job-payload" ? unnaming(ref, key.digest) : [{ kind: "delete", key: text }];
}

/** The last that is left of a job: from now on its id and its key may be used again. */
export function forgetTxn(job: EndedJob, spec: Pick<JobSpec, "startKey">, payloads: readonly KeyText[]): Txn {
  const { ref, row: { agent, tenant, parent }, endedMs } = job;
  const keys = [
    rowKey(ref),
    headKey(ref),
    specKey(ref),
    resultKey(ref),
    untoldKey(ref),
    formatKey({ kind: "job-agent", ...ref, agent }),
    formatKey({ kind: "job-collected", ...ref, endedMs }),
    ...(spec.startKey === undefined
      ? []
      : [formatKey({ kind: "job-start", tenant, agent, digest: spec.startKey })]),
    ...(parent === undefined ? [] : [formatKey({ kind: "job-child", ...refOf(parent), child: ref.job })]),
  ];
  return {
    compare: [unchanged(rowKey(ref), job.rowRevision)],
    then: [
      ...keys.map((key): Op => ({ kind: "delete", key })), ...payloads.flatMap((key) => goneWith(ref, key)),
    ],
    else: [],
  };
}

/** At least one, which may be empty. */
function chunks(ops: readonly Op[]): readonly (readonly Op[])[] {
  const parts: (readonly Op[])[] = [];
  let at = 0;
  do {
    parts.push(ops.slice(at, at + COLLECTED_PER_TXN));
    at += COLLECTED_PER_TXN;
  } while (at < ops.length);
  return parts;
}

function isThere(key: KeyText): Compare {
  return { key, target: "exists", op: "=", value: true };
}

function endKey({ ref, endedMs }: { readonly ref: JobRef; readonly endedMs: number }): KeyText {
  return formatKey({ kind: "job-end", ...ref, endedMs });
}
