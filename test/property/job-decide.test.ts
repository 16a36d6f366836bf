// Nodes that act on a job from what they last knew of it, in any order: the store takes a transition only from who
// knows the job as it is, and then it is one that the table of a job's life has.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { InboxEntry } from "../../src/jobs/core/flow/inbox-entry.ts";
import {
  decideAppend, decideClaim, decideFinish, decideRelease, decideWait,
} from "../../src/jobs/core/life/decide.ts";
import { decideContinue } from "../../src/jobs/core/life/decide-continue.ts";
import { decideInbox } from "../../src/jobs/core/life/decide-inbox.ts";
import { handBackTxn } from "../../src/jobs/core/life/hand-back.ts";
import { hasEnded, NEXT, type JobStep } from "../../src/jobs/core/life/job-life.ts";
import { rowKey } from "../../src/jobs/core/life/job-keys.ts";
import type { JobStatus } from "../../src/jobs/core/rows.ts";
import { digestOfPlain } from "../../src/jobs/core/plain-digest.ts";
import type { Decision, JobView } from "../../src/jobs/ports.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { jobStore, life, putPin, REF, startJob, stepDone } from "../support/job-log.ts";
import { createLocalKv } from "../support/local-kv.ts";

const clock = createRealClock();
const AT = { atMs: 5_000 };
const SIGNAL: InboxEntry = { kind: "signal", signal: "go", payload: 1, principal: "anonymous" };

type Act = "look" | "claim" | "append" | "wait" | "release" | "continue" | "finish";
type Action =
  | { readonly kind: "act"; readonly node: "a" | "b"; readonly act: Act }
  | { readonly kind: "hand-back" | "signal" };

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 8, arbitrary: fc.record({
    kind: fc.constant("act" as const),
    node: fc.constantFrom("a" as const, "b" as const),
    act: fc.constantFrom<Act>(
      "look", "look", "claim", "claim", "append", "append", "wait", "release", "continue", "finish",
    ),
  }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("hand-back" as const, "signal" as const) }) },
);

function decide(view: JobView, node: "a" | "b", act: Exclude<Act, "look">): Decision {
  const batch = { events: [stepDone(node)], ...AT };
  switch (act) {
    case "claim":
      return decideClaim(view, { life: life(node), ...AT });
    case "append":
      return decideAppend(view, batch);
    case "wait":
      return decideWait(view, batch, { reason: "signal", on: ["signal:go"] });
    case "release":
      return decideRelease(view, batch);
    case "continue":
      return decideContinue(view, batch, { input: node, inputDigest: digestOfPlain(node) }, new Map());
    case "finish":
      return decideFinish(view, batch, { result: { kind: "completed", output: node } });
  }
}

/** The step of the table by which a job came from one status to another. */
function isStep(before: JobStatus, after: JobStatus, act: JobStep): boolean {
  const next = NEXT[before][act];
  return next === after || (next === "ended" && hasEnded(after)) || (act === "claim" && NEXT[before].stick === after);
}

test("a job changes as the table says, and only by who knows it as it is (JOB1, JOB2, JOB6)", async () => {
  await fc.assert(fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 40 }), async (actions) => {
    const local = await createLocalKv();
    const store = jobStore(clock, local.kv);
    await putPin(local.kv);
    const started = await startJob(local.kv);
    const known = { a: started, b: started };
    let { view } = await store.load(REF);
    for (const todo of actions) {
      const before = view;
      if (todo.kind === "act" && todo.act === "look") known[todo.node] = before;
      if (todo.kind === "act" && todo.act !== "look") {
        const mine = known[todo.node];
        const decision = decide(mine, todo.node, todo.act);
        if (decision.kind === "refused") {
          expect(NEXT[mine.row.status][todo.act]).toBe("refuse");
        } else {
          const verdict = await store.commit(decision);
          const isCurrent = mine.rowRevision === before.rowRevision && mine.headRevision === before.headRevision &&
            (todo.act !== "wait" || mine.inbox.revision === before.inbox.revision);
          expect(verdict.kind === "applied").toBe(isCurrent);
          if (verdict.kind === "applied") known[todo.node] = verdict.view;
        }
      }
      if (todo.kind === "hand-back" && before.row.owner !== undefined) {
        const guard = { key: rowKey(REF), target: "exists", op: "=", value: true } as const;
        await local.kv.transact(handBackTxn(before.row.owner.node, [before], guard, 1));
      }
      if (todo.kind === "signal") {
        const entry = decideInbox({ ...before, folded: before.head.folded }, [{ entry: SIGNAL }], 1);
        if (entry.kind === "transition") expect((await local.kv.transact(entry.txn)).succeeded).toBe(true);
        else expect(hasEnded(before.row.status)).toBe(true);
      }
      // Reading checks the whole chain.
      ({ view } = await store.load(REF));
      const after = view.row;
      expect(after.epoch).toBeGreaterThanOrEqual(before.row.epoch);
      if (hasEnded(before.row.status)) expect(view.rowRevision).toBe(before.rowRevision);
      expect(after.run - before.row.run).toBe(todo.kind === "act" && view.head.run > before.head.run ? 1 : 0);
      expect(after.owner !== undefined).toBe(after.status === "running");
      expect(after.waiting !== undefined).toBe(after.status === "waiting");
      if (view.rowRevision !== before.rowRevision) {
        const step = todo.kind === "act" ? todo.act : todo.kind === "signal" ? "wake" : todo.kind;
        if (step === "look") throw new RangeError("looking changes nothing");
        expect(isStep(before.row.status, after.status, step)).toBe(true);
      }
    }
    await local.close();
  }), { numRuns: 60 });
});
