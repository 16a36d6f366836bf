// Owns: jobs for tests of their rows: started, claimed and continued by the real decisions on a real store.
import { SeededRandom } from "../../src/base/random.ts";
import { parseDigest, parseJobId, parseNodeId, parseNodeUid } from "../../src/base/ids.ts";
import { present } from "../../src/base/assert.ts";
import type { NodeLife } from "../../src/cluster/core/rows.ts";
import type { Clock } from "../../src/env/clock.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { drawUid, refOf, type CallName, type JobUid } from "../../src/jobs/core/ids.ts";
import { decideClaim } from "../../src/jobs/core/life/decide.ts";
import { decideStart, judgeStart, type StartContext } from "../../src/jobs/core/life/decide-start.ts";
import type { JobEvent } from "../../src/jobs/core/log/event.ts";
import { digestOfPlain } from "../../src/jobs/core/plain-digest.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import { JobStore } from "../../src/jobs/job-store.ts";
import type { Decision, JobView, Transition, Verdict } from "../../src/jobs/ports.ts";
import { SILENT_TELEMETRY } from "./cluster-world.ts";

export const PIN = parseDigest("a".repeat(64));
export const JOB = parseJobId("job-1");
export const REF = refOf(JOB);

export function life(node: string, incarnation = 1): NodeLife {
  return { node: parseNodeId(node), uid: parseNodeUid(`${node}uid`.padEnd(16, "0")), incarnation };
}

export function startContext(over: Partial<StartContext> = {}): StartContext {
  const input = over.input ?? { order: 7 };
  return {
    job: JOB,
    uid: drawUid(new SeededRandom(1)) as JobUid,
    agent: "refunds",
    tenant: "default",
    pin: PIN,
    input,
    inputDigest: digestOfPlain(input),
    queueClass: "default",
    priority: 0,
    attributes: {},
    atMs: 1_000,
    ...over,
  };
}

export function stepDone(name: string, value: unknown = name): JobEvent {
  return { type: "step.completed", call: `main/${name}#1` as CallName, value };
}

export function transitionOf(decision: Decision): Transition {
  if (decision.kind === "transition") return decision;
  throw new RangeError(`refused: ${decision.code} ${decision.reason}`);
}

export function viewOf(verdict: Verdict): JobView {
  if (verdict.kind === "applied") return verdict.view;
  throw new RangeError(`the transition is ${verdict.kind}`);
}

/** A store with the pin of the agent. */
export async function putPin(kv: Pick<Kv, "transact">): Promise<void> {
  const key = formatKey({ kind: "job-pin", digest: PIN });
  await kv.transact({ compare: [], then: [{ kind: "put", key, value: {} }], else: [] });
}

export function jobStore(clock: Clock, kv: Kv): JobStore {
  return new JobStore({ clock, telemetry: SILENT_TELEMETRY }, { kv, metrics: createJobsMetrics(SILENT_TELEMETRY) });
}

export async function startJob(kv: Kv, over: Partial<StartContext> = {}): Promise<JobView> {
  const decision = decideStart(startContext(over));
  if (decision.kind === "refused") throw new RangeError(decision.reason);
  const verdict = judgeStart(decision, await kv.transact(decision.txn));
  if (verdict.kind === "started") return verdict.view;
  throw new RangeError(`the start is ${verdict.kind}`);
}

/** Started, and claimed by node a. */
export async function runningJob(clock: Clock, kv: Kv): Promise<JobView> {
  const view = await startJob(kv);
  return viewOf(await jobStore(clock, kv).commit(transitionOf(decideClaim(view, { life: life("a"), atMs: 2_000 }))));
}

/** The value of a key that is there. */
export async function valueAt(kv: Pick<Kv, "get">, key: Parameters<typeof formatKey>[0]): Promise<unknown> {
  return present((await kv.get(formatKey(key))).entry, `there is ${formatKey(key)}`).value;
}
