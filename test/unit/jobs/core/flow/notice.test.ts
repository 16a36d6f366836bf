import { describe, expect, test } from "vitest";
import { sha256 } from "../../../../../src/base/digest.ts";
import {
  NOTICE_EVENTS, NOTICE_TRIES_MAX, noticeAfterFailure, noticeOps, UNTOLD_KEPT, untoldAfter,
  type NoticeRow, type UntoldRow,
} from "../../../../../src/jobs/core/flow/notice.ts";
import type { CallName, JobUid } from "../../../../../src/jobs/core/ids.ts";
import { decideStart } from "../../../../../src/jobs/core/life/decide-start.ts";
import type { JobEvent } from "../../../../../src/jobs/core/log/event.ts";
import { startContext, transitionOf } from "../../../../support/job-log.ts";

const RULE = { name: "desk", events: NOTICE_EVENTS };
const ASKED: JobEvent = {
  type: "approval.requested", call: "manager#1" as CallName, name: "manager", summary: "?", data: 1, shown: sha256("x"),
};
const ROW: NoticeRow = {
  event: "ended", uid: "0".repeat(32) as JobUid, agent: "claims", tenant: "default", atMs: 1, tries: 0, nextMs: 0,
};

describe("which events are told", () => {
  const start = transitionOf(decideStart(startContext()));
  const head = { ...start.next.head, seq: 7 };
  const tellOf = (...events: readonly JobEvent[]) =>
    noticeOps({ ...start, events, next: { ...start.next, head } }, [RULE], 5).map((op) => ({
      key: op.key, event: op.kind === "put" ? (op.value as NoticeRow).event : undefined,
    }));

  test("those of an append each under its own number", () => {
    const stuck: JobEvent = { type: "job.waiting", reason: "stuck", on: [] };
    expect(tellOf(ASKED, { type: "timer.fired", call: "nap#1" as CallName }, stuck)).toEqual([
      { key: "job-notices/000/job-1/000001/00000005/desk", event: "approval" },
      { key: "job-notices/000/job-1/000001/00000007/desk", event: "stuck" },
    ]);
  });

  test("no wait that ends by itself, and nothing of a run that is over", () => {
    expect(tellOf({ type: "job.waiting", reason: "timer", on: [] })).toEqual([]);
    expect(tellOf(ASKED, { type: "job.continued", run: 2, inputDigest: sha256("next") })).toEqual([]);
  });
});

test("what fails is tried again later and later, and then no more", () => {
  const pauses: number[] = [];
  let row: NoticeRow | undefined = ROW;
  for (let nowMs = 1_000; ; nowMs = row.nextMs) {
    row = noticeAfterFailure(row, nowMs);
    if (row === undefined) break;
    pauses.push(row.nextMs - nowMs);
  }
  expect(pauses).toHaveLength(NOTICE_TRIES_MAX - 1);
  expect(pauses).toEqual([...pauses].sort((a, b) => a - b));
});

test("of what was not told the latest is kept, and all is counted", () => {
  let row: UntoldRow | undefined;
  const one = { hook: "desk", event: "ended", atMs: 1, reason: "x".repeat(1_000) } as const;
  for (let seq = 1; seq <= UNTOLD_KEPT + 3; seq++) row = untoldAfter(row, { ...one, seq });
  expect(row?.count).toBe(UNTOLD_KEPT + 3);
  expect(row?.last.map(({ seq }) => seq)).toEqual(Array.from({ length: UNTOLD_KEPT }, (_, at) => at + 4));
  expect(row?.last[0]?.reason).toHaveLength(200);
});
