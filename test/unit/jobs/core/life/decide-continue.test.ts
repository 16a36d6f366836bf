import { expect, test } from "vitest";
import { parseJobId } from "../../../../../src/base/ids.ts";
import type { CallName } from "../../../../../src/jobs/core/ids.ts";
import type { Child } from "../../../../../src/jobs/core/life/children.ts";
import { decideContinue, RUNS_MAX } from "../../../../../src/jobs/core/life/decide-continue.ts";
import { decideClaim } from "../../../../../src/jobs/core/life/decide.ts";
import { decideStart } from "../../../../../src/jobs/core/life/decide-start.ts";
import { firstLink } from "../../../../../src/jobs/core/log/chain.ts";
import type { JobEvent } from "../../../../../src/jobs/core/log/event.ts";
import { digestOfPlain } from "../../../../../src/jobs/core/plain-digest.ts";
import { parseJobRun } from "../../../../../src/jobs/core/rows.ts";
import type { JobView } from "../../../../../src/jobs/ports.ts";
import { life, REF, startContext, stepDone, transitionOf } from "../../../../support/job-log.ts";

const NEXT = { input: { cursor: 2 }, inputDigest: digestOfPlain({ cursor: 2 }) };
const BATCH = { events: [stepDone("a")], atMs: 5_000 };

function running(over: Partial<JobView["row"]> = {}): JobView {
  const started = transitionOf(decideStart(startContext({
    needs: { maxDurationMs: 60_000 }, attributes: { region: "eu" },
  }))).next;
  const { next } = transitionOf(decideClaim(started, { life: life("a"), atMs: 2_000 }));
  return { ...next, row: { ...next.row, ...over } };
}

function child(over: Partial<Child>): ReadonlyMap<CallName, Child> {
  const started = { job: parseJobId("child-1"), isDetached: false, isOver: false };
  return new Map([["audit#1" as CallName, { ...started, ...over }]]);
}

test("what is of the job stays, what is of the run is new, and anybody may take it", () => {
  const view = running({ permits: [{ scope: "agent", name: "refunds", slot: 0 }], restored: { seq: 9, inbox: 4 } });
  const { next, txn } = transitionOf(decideContinue({ ...view, head: { ...view.head, folded: 3 } }, BATCH, NEXT,
    child({ isOver: true })));
  expect(next.row).toEqual({
    ...view.row, owner: undefined, permits: undefined, status: "pending", run: 2, sinceMs: 5_000,
    claims: { atSeq: 0, count: 0 }, restored: { seq: 0, inbox: 4 },
  });
  expect(next.spec).toEqual({ ...view.spec, ...NEXT, startDigest: view.spec.inputDigest });
  expect(next.head).toMatchObject({ run: 2, seq: 1, folded: 3, openEffects: 0, steps: 0 });
  const keys = txn.then.map(({ kind, key }) => `${kind} ${key}`);
  const job = `000/${REF.job}`;
  expect(keys).toContain(`delete job-owned/a/${job}`);
  expect(keys).toContain("delete job-permits/agent/refunds/000000");
  expect(keys).toContain(`put job-queue/${job}`);
  expect(keys).toContain(`put job-data/${job}/log/000001/00000003`);
  expect(keys).toContain(`put job-data/${job}/log/000002/00000001`);
  // Its deadline is untouched, and each key is written once.
  expect(keys.some((key) => key.includes("job-timers"))).toBe(false);
  expect(new Set(keys).size).toBe(keys.length);
});

test("how the run was left is kept, with what it had begun with", () => {
  const view = running();
  const { txn, next } = transitionOf(decideContinue(view, BATCH, NEXT, new Map()));
  const put = txn.then.find(({ key }) => key.endsWith("/runs/000001"));
  const row = parseJobRun(put?.kind === "put" ? put.value : undefined);
  expect(row).toMatchObject({ input: view.spec.input, inputDigest: view.spec.inputDigest });
  expect(row.head).toMatchObject({ run: 1, seq: 4, steps: 1 });
  expect(next.head.link).not.toEqual(firstLink(view.spec.uid, 2));
});

test("a run is not left with a child that would end with it, or after too many others", () => {
  expect(decideContinue(running(), BATCH, NEXT, child({}))).toMatchObject({ kind: "refused", code: "E_CONFLICT" });
  expect(decideContinue(running(), BATCH, NEXT, child({ isDetached: true })).kind).toBe("transition");
  expect(decideContinue(running({ run: RUNS_MAX }), BATCH, NEXT, new Map())).toMatchObject({ code: "E_TOO_LARGE" });
});

test("a run is left with a child whose end is in the same append", () => {
  const ended: JobEvent = { type: "child.completed", call: "audit#1" as CallName, output: null };
  expect(decideContinue(running(), { ...BATCH, events: [ended] }, NEXT, child({})).kind).toBe("transition");
});

test("a run is not left with a call of which nobody knows what became", () => {
  const view = running();
  const open = { ...view, head: { ...view.head, openEffects: 1 } };
  expect(decideContinue(open, BATCH, NEXT, new Map())).toMatchObject({ code: "E_CONFLICT", details: { open: 1 } });
});

test("a job that is not running does not continue", () => {
  expect(decideContinue(running({ status: "waiting" }), BATCH, NEXT, new Map())).toMatchObject({ code: "E_CONFLICT" });
});
