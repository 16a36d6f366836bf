// Owns: jobs as rows of a store: brought to a phase of their life by the transitions that owners make, and read.
import { sha256 } from "../../src/base/digest.ts";
import { parseJobId, parseNodeId, parseNodeUid, type JobId } from "../../src/base/ids.ts";
import type { NodeLife } from "../../src/cluster/core/rows.ts";
import type { CallName, JobUid } from "../../src/jobs/core/ids.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import type { AppendBatch } from "../../src/jobs/core/life/append-batch.ts";
import { decideAppend, decideFinish, decideWait } from "../../src/jobs/core/life/decide.ts";
import { decideStart } from "../../src/jobs/core/life/decide-start.ts";
import { parseInboxEntry, type InboxEntry } from "../../src/jobs/core/flow/inbox-entry.ts";
import type { JobEventType } from "../../src/jobs/core/log/event.ts";
import { numberedEvents } from "../../src/jobs/core/log/page.ts";
import {
  parseInboxCount, parseJobPage, parseJobResult, parseJobRow, type JobResult, type JobRow, type Waiting,
} from "../../src/jobs/core/rows.ts";
import { inboxCountKey, resultKey, rowKey } from "../../src/jobs/core/life/job-keys.ts";
import { proposeTransition } from "../../src/jobs/job-store.ts";
import type { Decision, JobView, NumberedEvent } from "../../src/jobs/ports.ts";
import { formatKey, parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";

const OWNER: NodeLife = { node: parseNodeId("n1"), uid: parseNodeUid("a".repeat(16)), incarnation: 1 };
const PIN = sha256("pin");
const AT_MS = 1_700_000_000_000;
const EMPTY: AppendBatch = { events: [], atMs: AT_MS };

/** A job that its owner runs. */
export async function runningJob(kv: Kv, id: string, owner = OWNER): Promise<JobView> {
  await kv.transact({
    compare: [], then: [{ kind: "put", key: formatKey({ kind: "job-pin", digest: PIN }), value: null }], else: [],
  });
  return await commit(kv, decideStart({
    job: parseJobId(id), uid: "0".repeat(32) as JobUid, agent: "claims", tenant: "default", pin: PIN, input: null,
    inputDigest: sha256("input"), queueClass: "default", priority: 0, attributes: {}, atMs: AT_MS, claim: owner,
  }));
}

export async function waitingJob(
  kv: Kv, id: string, waiting: Waiting, timers: AppendBatch["timersSet"] = [],
): Promise<JobView> {
  return await commit(kv, decideWait(await runningJob(kv, id), { ...EMPTY, timersSet: timers }, waiting));
}

/** A job whose call is as `batch` says. */
export async function jobWith(kv: Kv, id: string, batch: Omit<AppendBatch, "atMs">): Promise<JobView> {
  return await commit(kv, decideAppend(await runningJob(kv, id), { ...batch, atMs: AT_MS }));
}

export async function endedJob(kv: Kv, id: string): Promise<JobView> {
  return await endJob(kv, await runningJob(kv, id));
}

/** Its owner ends it. */
export async function endJob(kv: Kv, view: JobView): Promise<JobView> {
  return await commit(kv, decideFinish(view, EMPTY, { result: { kind: "completed", output: 1 } }));
}

/** One that waits for a timer of the call `/nap#1`. */
export async function sleepingJob(kv: Kv, id: string, dueMs: number): Promise<JobView> {
  const call = "/nap#1" as CallName;
  return await waitingJob(kv, id, { reason: "timer", on: [`call:${call}`], untilMs: dueMs }, [
    { dueMs, name: call, call },
  ]);
}

export async function rowOf(kv: Kv, job: JobId): Promise<JobRow> {
  return parseJobRow((await kv.get(rowKey(refOf(job)))).entry?.value);
}

/** How the job has ended. */
export async function resultOf(kv: Kv, job: JobId): Promise<JobResult> {
  return parseJobResult((await kv.get(resultKey(refOf(job)))).entry?.value);
}

/** The log of its first run. */
export async function eventsOf(kv: Kv, job: JobId): Promise<readonly NumberedEvent[]> {
  const { entries } = await kv.list({ prefix: prefixOf({ kind: "job-log", ...refOf(job), run: 1 }) });
  return entries.flatMap(({ key: text, value }) => {
    const key = parseKey(text);
    if (key.kind !== "job-page") throw new RangeError(`${text} is no page of a log`);
    return numberedEvents({ run: 1, seq: key.seq, page: parseJobPage(value) });
  });
}

export async function eventTypesOf(kv: Kv, job: JobId): Promise<readonly JobEventType[]> {
  return (await eventsOf(kv, job)).map(({ event }) => event.type);
}

export async function inboxOf(kv: Kv, job: JobId): Promise<readonly InboxEntry[]> {
  const { entries } = await kv.list({ prefix: prefixOf({ kind: "job-inboxes", ...refOf(job) }) });
  const count = (await kv.get(inboxCountKey(refOf(job)))).entry;
  const last = count === undefined ? 0 : parseInboxCount(count.value).last;
  // The count is that of the latest entry, and none is missing before it.
  if (last < entries.length) throw new RangeError(`the inbox of ${job} counts ${last} of ${entries.length}`);
  return entries.map(({ value }) => parseInboxEntry(value));
}

async function commit(kv: Kv, decision: Decision): Promise<JobView> {
  if (decision.kind === "refused") throw new RangeError(decision.reason);
  const verdict = await proposeTransition(kv, decision);
  if (verdict.kind !== "applied") throw new RangeError(`not applied: ${verdict.kind}`);
  return verdict.view;
}
