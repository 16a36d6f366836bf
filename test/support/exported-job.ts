// Owns: a job with something of everything in a real store, made by the real decisions, and its lines.
import { present } from "../../src/base/assert.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { parseJobId, type JobId } from "../../src/base/ids.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { clusterUid } from "../../src/jobs/ownership/cluster-uid.ts";
import { effectIdOf, type CallName } from "../../src/jobs/core/ids.ts";
import { decideAppend, decideClaim, decideFinish, decideWait } from "../../src/jobs/core/life/decide.ts";
import type { AppendBatch } from "../../src/jobs/core/life/append-batch.ts";
import { JobCheck, type JobVerdict } from "../../src/jobs/core/explain/job-check.ts";
import { JobExport } from "../../src/jobs/doors/job-export.ts";
import {
  applyGrant, applyLoss, applyOutcome, applyPerson, type LedgerStep, type ToolGrant,
} from "../../src/jobs/core/tools/ledger.ts";
import { digestOfPlain } from "../../src/jobs/core/plain-digest.ts";
import type { Decision, JobView } from "../../src/jobs/ports.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { jobStore, life, putPin, startJob, stepDone, transitionOf, viewOf } from "./job-log.ts";

export const EXPORTED = parseJobId("exported-1");
const AT_MS = 1_700_000_000_000;

/** 15 events in six appends: steps, a wait, three calls of tools of which one was in doubt, and the end. */
export async function endedJob(kv: Kv): Promise<void> {
  await putPin(kv);
  const uid = await clusterUid(new SeededRandom(5), kv);
  const store = jobStore(createRealClock(), kv);
  const commit = async (decision: Decision): Promise<JobView> => viewOf(await store.commit(transitionOf(decision)));
  let view = await startJob(kv, { job: EXPORTED, input: { order: 7, photo: Uint8Array.of(1, 2, 3) } });
  view = await commit(decideClaim(view, { life: life("n1"), atMs: AT_MS }));
  const grantOf = (name: string): ToolGrant => ({
    effectId: effectIdOf(uid, view.spec.effectUid, `/${name}#1` as CallName), call: `/${name}#1` as CallName,
    tool: name, effect: "once", canReconcile: false, input: { cents: 5 }, inputDigest: digestOfPlain({ cents: 5 }),
    timeoutMs: 1_000,
  });
  const place = (ahead: number): { readonly seq: number; readonly epoch: number } =>
    ({ seq: view.head.seq + ahead, epoch: view.row.epoch });
  const batchOf = (...steps: readonly LedgerStep[]): AppendBatch => {
    const changed = steps.map((step) => {
      if (step.kind === "refused") throw new RangeError(step.reason);
      return step;
    });
    const last = new Map(changed.map(({ row }) => [row.effectId, row]));
    return {
      atMs: AT_MS + view.head.seq,
      events: changed.map(({ event }) => event),
      tools: [...last.values()].map((row) => ({ row, before: states.get(row.effectId) ?? "none" })),
    };
  };
  const states = new Map<string, "granted" | "unknown">();

  view = await commit(decideAppend(view, { events: [stepDone("a"), stepDone("b", null)], atMs: AT_MS }));
  const pay = applyGrant(undefined, grantOf("pay"), place(1));
  const ship = applyGrant(undefined, grantOf("ship"), place(2));
  view = await commit(decideAppend(view, batchOf(pay, ship)));
  for (const name of ["pay", "ship"]) states.set(grantOf(name).effectId, "granted");
  const paid = applyOutcome(rowOf(pay), { kind: "succeeded", result: 1, externalId: "ch-1" }, place(1));
  const lost = applyLoss(rowOf(ship), "its node died", place(2));
  view = await commit(decideAppend(view, batchOf(paid, lost)));
  states.set(grantOf("ship").effectId, "unknown");
  const found = applyPerson(rowOf(lost), { kind: "done", result: 2 }, "ann", place(1));
  const note = applyGrant(undefined, { ...grantOf("note"), effect: "read" }, place(2));
  const noted = applyOutcome(rowOf(note), { kind: "succeeded", result: 3 }, place(3));
  view = await commit(decideAppend(view, batchOf(found, note, noted)));
  view = await commit(decideWait(view, { events: [], atMs: AT_MS }, { reason: "stuck", on: [], why: "its code" }));
  const row = { ...view.row, status: "pending" as const };
  view = await commit(decideClaim({ ...view, row }, { life: life("n2"), atMs: AT_MS }));
  const end = { events: [stepDone("c")], atMs: AT_MS };
  await commit(decideFinish(view, end, { result: { kind: "completed", output: { paid: true } } }));
}

function rowOf(step: LedgerStep): Extract<LedgerStep, { readonly kind: "changed" }>["row"] {
  return present(step.kind === "changed" ? step.row : undefined, "the ledger takes the step");
}

/** Of its export, without their ends. */
export async function linesOf(kv: Kv, job = EXPORTED): Promise<readonly string[]> {
  const lines: string[] = [];
  for await (const line of await new JobExport(kv).open(job)) lines.push(line.slice(0, -1));
  return lines;
}

/** What `verify` says of a job in the store. */
export async function verify(kv: Kv, job: JobId): Promise<JobVerdict> {
  return verdictOf(await linesOf(kv, job));
}

export function verdictOf(lines: readonly string[]): JobVerdict {
  const check = new JobCheck();
  for (const line of lines) check.add(line);
  return check.finish();
}
