import { beforeEach, describe, expect, test } from "vitest";
import type { CallName } from "../../../../../src/jobs/core/ids.ts";
import { sha256 } from "../../../../../src/base/digest.ts";
import {
  CLAIMS_IN_DOUBT_MAX, CLAIMS_WITHOUT_PROGRESS_MAX, decideAppend, decideClaim, decideFinish, decideRelease, decideWait,
} from "../../../../../src/jobs/core/life/decide.ts";
import { TIME_IS_OVER } from "../../../../../src/jobs/core/life/deadline.ts";
import { decideContinue } from "../../../../../src/jobs/core/life/decide-continue.ts";
import { decideInbox } from "../../../../../src/jobs/core/life/decide-inbox.ts";
import { rowKey } from "../../../../../src/jobs/core/life/job-keys.ts";
import { unchanged } from "../../../../../src/kvstore/core/guards.ts";
import { decideGoOn, decideMove, type Move } from "../../../../../src/jobs/core/life/decide-move.ts";
import { handBackTxn } from "../../../../../src/jobs/core/life/hand-back.ts";
import { parseArtifactId, parseDigest } from "../../../../../src/base/ids.ts";
import { JOB_STEPS, NEXT, type JobStep } from "../../../../../src/jobs/core/life/job-life.ts";
import { LOG_EVENTS_MAX, PAGE_EVENTS_MAX } from "../../../../../src/jobs/core/log/page.ts";
import { INBOX_UNREAD_MAX, type InboxEntry } from "../../../../../src/jobs/core/flow/inbox-entry.ts";
import { NOTICES_RESERVED } from "../../../../../src/jobs/core/flow/notice.ts";
import { TXN_OPS_MAX } from "../../../../../src/kvstore/core/limits.ts";
import { JOB_STATUSES, parseJobRow, type JobRow, type JobStatus } from "../../../../../src/jobs/core/rows.ts";
import type { ToolRow } from "../../../../../src/jobs/core/tools/tool-row.ts";
import { digestOfPlain } from "../../../../../src/jobs/core/plain-digest.ts";
import type { Decision, JobView } from "../../../../../src/jobs/ports.ts";
import { decideStart } from "../../../../../src/jobs/core/life/decide-start.ts";
import { life, startContext, stepDone, transitionOf, REF } from "../../../../support/job-log.ts";

const AT = { atMs: 9_000 };
const NOTHING = { events: [], ...AT };
const SIGNAL: InboxEntry = { kind: "signal", signal: "go", payload: null, principal: "anonymous" };

let pending: JobView;
let running: JobView;

/** As if it were in the store: revisions of no meaning. */
function applied(decision: Decision): JobView {
  return { ...transitionOf(decision).next, rowRevision: 5, headRevision: 5 };
}

beforeEach(() => {
  const start = decideStart(startContext());
  if (start.kind === "refused") throw new RangeError(start.reason);
  pending = applied(start);
  running = applied(decideClaim(pending, { life: life("a"), ...AT }));
});

function rowIn(status: JobStatus): JobRow {
  const { owner, waiting: _, ...rest } = running.row;
  if (status === "running") return { ...rest, status, ...(owner !== undefined && { owner }) };
  if (status === "waiting") return { ...rest, status, waiting: { reason: "signal", on: ["signal:go"] } };
  return { ...rest, status };
}

const MOVE: Move = {
  pin: parseDigest("b".repeat(64)), principal: "ann", ...AT,
  from: parseArtifactId("demo:refunds:1.0.0"), to: parseArtifactId("demo:refunds:1.1.0"),
};

/** The status that a step leads to, as the transactions have it. */
const STEPS: Readonly<Record<Exclude<JobStep, "start" | "hand-back">, (view: JobView) => string>> = {
  claim: (view) => outcome(decideClaim(view, { life: life("b"), ...AT })),
  stick: (view) => {
    const claims = { atSeq: view.head.seq, count: CLAIMS_WITHOUT_PROGRESS_MAX };
    return outcome(decideClaim({ ...view, row: { ...view.row, claims } }, { life: life("b"), ...AT }));
  },
  append: (view) => outcome(decideAppend(view, { events: [stepDone("a")], ...AT })),
  wait: (view) => outcome(decideWait(view, NOTHING, { reason: "signal", on: ["signal:go"] })),
  wake: (view) => {
    const decision = decideInbox({ ...view, folded: 0 }, [{ entry: SIGNAL }], AT.atMs);
    if (decision.kind === "refused" || !decision.isWoken) return "refuse";
    const row = decision.txn.then.find((op) => op.kind === "put" && op.key.startsWith("jobs/"));
    return row?.kind === "put" ? parseJobRow(row.value).status : "refuse";
  },
  release: (view) => outcome(decideRelease(view, NOTHING)),
  continue: (view) => {
    const next = { input: 1, inputDigest: digestOfPlain(1) };
    return outcome(decideContinue(view, NOTHING, next, new Map()));
  },
  move: (view) => outcome(decideMove(view, MOVE)),
  finish: (view) => {
    const result = outcome(decideFinish(view, NOTHING, { result: { kind: "completed", output: 1 } }));
    return result === "completed" ? "ended" : result;
  },
};

function outcome(decision: Decision): string {
  return decision.kind === "refused" ? "refuse" : decision.next.row.status;
}

describe("the longest duration of a job", () => {
  test("is a timer from its start to its end, and no part of its row", () => {
    const start = decideStart(startContext({ needs: { maxDurationMs: 5_000, agentMax: 2 }, atMs: 1_000.5 }));
    if (start.kind === "refused") throw new RangeError(start.reason);
    const key = `job-timers/000/000000000006000/${REF.job}/deadline`;
    expect(start.txn.then).toContainEqual({ kind: "put", key, value: { deadline: true } });
    expect(start.next).toMatchObject({ spec: { maxDurationMs: 5_000 }, row: { agentMax: 2 } });
    expect(start.next.row).not.toHaveProperty("maxDurationMs");
    const claimed = applied(decideClaim(applied(start), { life: life("a"), ...AT }));
    const end = transitionOf(decideFinish(claimed, NOTHING, { result: { kind: "cancelled" } }));
    expect(end.txn.then).toContainEqual({ kind: "delete", key });
  });

  test("is nothing for one that has none", () => {
    const start = decideStart(startContext());
    if (start.kind === "refused") throw new RangeError(start.reason);
    const end = transitionOf(decideFinish(running, NOTHING, { result: { kind: "cancelled" } }));
    expect([...start.txn.then, ...end.txn.then].filter((op) => op.key.startsWith("job-timers/"))).toEqual([]);
  });
});

describe("the life of a job", () => {
  const pairs = JOB_STATUSES.flatMap((status) => JOB_STEPS.map((step) => [status, step] as const))
    .filter((pair): pair is readonly [JobStatus, keyof typeof STEPS] => pair[1] in STEPS);

  test.each(pairs)("from %s by %s is as the table says (JOB6)", (status, step) => {
    const view = { ...running, row: rowIn(status) };
    expect(STEPS[step](view)).toBe(NEXT[status][step]);
  });

  test("a job that was handed back waits for any node", () => {
    const txn = handBackTxn(life("a").node, [running], unchanged(rowKey(REF), 1), 1);
    const row = txn.then.find((op) => op.kind === "put" && op.key.startsWith("jobs/"));
    expect(row?.kind === "put" && parseJobRow(row.value).status).toBe(NEXT.running["hand-back"]);
  });
});

describe("a move", () => {
  const stuck = (): JobRow => ({
    ...rowIn("waiting"), waiting: { reason: "stuck", on: [] }, claims: { atSeq: 2, count: 5 },
  });

  test("gives a job that nobody runs another pin, with an event that has both, and back to the queue", () => {
    const view = { ...running, row: stuck() };
    const { next, events, txn } = transitionOf(decideMove(view, MOVE));
    expect(next.row).toMatchObject({ status: "pending", pin: MOVE.pin, epoch: view.row.epoch, claims: { count: 0 } });
    expect(next.row.waiting).toBeUndefined();
    expect(events).toEqual([{
      type: "job.moved", from: view.row.pin, to: MOVE.pin, principal: "ann",
      fromArtifact: MOVE.from, toArtifact: MOVE.to,
    }]);
    expect(txn.then.some(({ key }) => key.startsWith("job-queue/"))).toBe(true);
    expect(txn.compare.map(({ key }) => key.split("/")[0])).toEqual(["jobs", "job-data", "job-pins"]);
  });

  test("leaves a job that is held since a restore to a person", () => {
    const row: JobRow = { ...stuck(), waiting: { reason: "restored", on: [] } };
    const { next, txn } = transitionOf(decideMove({ ...running, row }, MOVE));
    expect(next.row).toMatchObject({ status: "waiting", waiting: { reason: "restored" }, pin: MOVE.pin });
    expect(txn.then.some(({ key }) => key.startsWith("job-queue/"))).toBe(false);
  });

  test("that does not come about lets a job go on that was asked to hold still, without a word", () => {
    const { next, events } = transitionOf(decideGoOn({ ...running, row: stuck() }, 9_000));
    expect([next.row.status, next.row.pin, events]).toEqual(["pending", running.row.pin, []]);
  });
});

describe("a claim", () => {
  test("raises the epoch, and says so in the log (JOB1)", () => {
    const { next, events } = transitionOf(decideClaim(pending, { life: life("b", 3), ...AT }));
    expect(next.row).toMatchObject({ status: "running", epoch: 1, owner: life("b", 3) });
    expect(events).toEqual([{ type: "job.claimed", node: "b", incarnation: 3 }]);
  });

  test("without progress since five others ends with a person", () => {
    let view = pending;
    for (let claims = 1; claims <= CLAIMS_WITHOUT_PROGRESS_MAX; claims++) {
      view = applied(decideClaim(view, { life: life("a", claims), ...AT }));
      expect(view.row).toMatchObject({ status: "running", claims: { count: claims } });
      const { owner: _, ...row } = view.row;
      view = { ...view, row: { ...row, status: "pending" } };
    }
    const stuck = transitionOf(decideClaim(view, { life: life("b"), ...AT }));
    expect(stuck.next.row).toMatchObject({ status: "waiting", waiting: { reason: "stuck", on: [] } });
    expect(stuck.next.row.owner).toBeUndefined();
    expect(stuck.txn.then.some(({ key }) => key.startsWith("job-owned/"))).toBe(false);
  });

  test("of a job that waits to know what became of a call may stand still for longer", () => {
    const doubtful = { ...pending, head: { ...pending.head, openEffects: 1 } };
    const claim = (count: number) => {
      const claims = { atSeq: doubtful.head.seq, count };
      const row = { ...doubtful.row, claims };
      return transitionOf(decideClaim({ ...doubtful, row }, { life: life("b"), ...AT })).next.row.status;
    };
    expect([CLAIMS_WITHOUT_PROGRESS_MAX, CLAIMS_IN_DOUBT_MAX - 1].map(claim)).toEqual(["running", "running"]);
    expect(claim(CLAIMS_IN_DOUBT_MAX)).toBe("waiting");
  });

  test("after progress counts from one", () => {
    const further = applied(decideAppend(running, { events: [stepDone("a")], ...AT }));
    const { owner: _, ...row } = further.row;
    const back = { ...further, row: { ...row, status: "pending" as const } };
    expect(transitionOf(decideClaim(back, { life: life("b"), ...AT })).next.row.claims.count).toBe(1);
  });
});

describe("an append", () => {
  test("compares the row and the head (JOB2), and reads nothing unless it is refused", () => {
    const { txn } = transitionOf(decideAppend(running, { events: [stepDone("a")], ...AT }));
    expect(txn.compare.map(({ key, target }) => [key, target])).toEqual([
      [`jobs/000/${REF.job}`, "modRevision"], [`job-data/000/${REF.job}/head`, "modRevision"],
    ]);
    expect(txn.then.map(({ kind, key }) => `${kind} ${key}`)).toEqual([
      `put job-data/000/${REF.job}/head`, `put job-data/000/${REF.job}/log/000001/00000003`,
    ]);
  });

  test("counts steps, folded entries and open calls", () => {
    const granted = toolRow("granted");
    const first = applied(decideAppend(running, {
      events: [stepDone("a"), stepDone("b")], ...AT, folded: [1, 2], tools: [{ row: granted, before: "none" }],
    }));
    expect(first.head).toMatchObject({ seq: 4, steps: 2, folded: 2, openEffects: 1 });
    const unknown = applied(decideAppend(first, {
      ...NOTHING, tools: [{ row: toolRow("unknown"), before: "granted" }],
    }));
    expect(unknown.head.openEffects).toBe(1);
    const done = applied(decideAppend(unknown, {
      ...NOTHING, tools: [{ row: toolRow("succeeded"), before: "unknown" }],
    }));
    expect(done.head).toMatchObject({ seq: 4, openEffects: 0 });
  });

  test("of too much is refused before it reaches the store", () => {
    const events = Array.from({ length: PAGE_EVENTS_MAX + 1 }, (_, index) => stepDone(`s${index}`));
    expect(decideAppend(running, { events, ...AT })).toMatchObject({ kind: "refused", code: "E_TOO_LARGE" });
    const large = [stepDone("a", "x".repeat(400_000)), stepDone("b", "x".repeat(400_000))];
    expect(decideAppend(running, { events: large, ...AT })).toMatchObject({ kind: "refused", code: "E_TOO_LARGE" });
  });

  test("to a log that is full is refused but for what became of calls, and the job can end all the same", () => {
    const full = { ...running, head: { ...running.head, seq: LOG_EVENTS_MAX } };
    const lost = { type: "tool.unknown", call: "t" as CallName, effectId: digestOfPlain(1), reason: "" } as const;
    expect(decideAppend(full, { events: [lost], ...AT }).kind).toBe("transition");
    expect(decideAppend(full, { events: [lost, stepDone("a")], ...AT })).toMatchObject({ code: "E_TOO_LARGE" });
    expect(decideAppend(full, { events: [stepDone("a")], ...AT })).toMatchObject({ code: "E_TOO_LARGE" });
    const failed = { kind: "failed", error: { name: "Error", message: "its log is full" } } as const;
    expect(decideFinish(full, NOTHING, { result: failed }).kind).toBe("transition");
  });
});

describe("an end", () => {
  test("waits for calls of tools whose outcome nobody knows", () => {
    const open = applied(decideAppend(running, { ...NOTHING, tools: [{ row: toolRow("unknown"), before: "none" }] }));
    const end = { result: { kind: "completed", output: 1 } } as const;
    expect(decideFinish(open, NOTHING, end)).toMatchObject({ kind: "refused", code: "E_CONFLICT" });
    const settled = { ...NOTHING, tools: [{ row: toolRow("succeeded"), before: "unknown" as const }] };
    expect(transitionOf(decideFinish(open, settled, end)).next.row.status).toBe("completed");
  });

  test("deletes as many entries of the inbox as the transaction has room for", () => {
    const unread = Array.from({ length: 300 }, (_, index) => index + 1);
    const { txn } = transitionOf(decideFinish(running, NOTHING, { result: { kind: "cancelled" }, unread }));
    expect(txn.then.length + txn.else.length).toBe(TXN_OPS_MAX - NOTICES_RESERVED);
    expect(txn.then.some(({ kind, key }) => kind === "delete" && key.startsWith("job-inbox/"))).toBe(true);
  });
});

describe("an entry of the inbox", () => {
  const inbox = (view: JobView, folded = 0) => ({ ...view, folded });

  test("leaves a job alone that waits for something else (JOB9)", () => {
    const waiting = applied(decideWait(running, NOTHING, { reason: "signal", on: ["signal:other"] }));
    expect(decideInbox(inbox(waiting), [{ entry: SIGNAL }], 1)).toMatchObject({ isWoken: false });
    const cancel: InboxEntry = { kind: "cancel", principal: "anonymous" };
    expect(decideInbox(inbox(waiting), [{ entry: SIGNAL }, { entry: cancel }], 1)).toMatchObject({ isWoken: true });
  });

  test("is refused by a job that reads too slowly", () => {
    const behind = { ...running, inbox: { last: INBOX_UNREAD_MAX + 4, revision: 3 } };
    expect(decideInbox(inbox(behind, 5), [{ entry: SIGNAL }], 1).kind).toBe("transition");
    expect(decideInbox(inbox(behind, 4), [{ entry: SIGNAL }], 1)).toMatchObject({ code: "E_OVERLOADED" });
  });

  test("asks a job to end that reads nothing at all", () => {
    const behind = { ...running, inbox: { last: INBOX_UNREAD_MAX, revision: 3 } };
    expect(decideInbox(inbox(behind), [{ entry: TIME_IS_OVER }], 1).kind).toBe("transition");
    const both = [{ entry: TIME_IS_OVER }, { entry: SIGNAL }];
    expect(decideInbox(inbox(behind), both, 1)).toMatchObject({ code: "E_OVERLOADED" });
  });

  test("takes the next numbers, and arrives once under its key", () => {
    const view = inbox({ ...running, inbox: { last: 7, revision: 3 } });
    const decision = decideInbox(view, [
      { entry: SIGNAL, seen: { digest: sha256("k"), value: { by: "ann" } } }, { entry: SIGNAL },
    ], 1);
    if (decision.kind === "refused") throw new RangeError(decision.reason);
    const keys = decision.txn.then.map(({ key }) => key);
    expect(keys).toContain(`job-inbox/000/${REF.job}/00000008`);
    expect(keys).toContain(`job-inbox/000/${REF.job}/00000009`);
    expect(decision.txn.compare.some(({ key, value }) => key.endsWith(sha256("k")) && value === 0)).toBe(true);
    expect(decision.txn.then.find(({ key }) => key.endsWith(sha256("k")))).toMatchObject({ value: { by: "ann" } });
  });
});

function toolRow(state: ToolRow["state"]): ToolRow {
  return {
    state, effectId: sha256("e"), call: "/t#1" as CallName, tool: "t", effect: "once", canReconcile: false, epoch: 1,
    attempt: 1, inputDigest: sha256("i"), timeoutMs: 1_000, seq: 3,
  };
}
