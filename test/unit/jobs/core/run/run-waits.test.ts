import { describe, expect, test } from "vitest";
import { sha256 } from "../../../../../src/base/digest.ts";
import type { CallName } from "../../../../../src/jobs/core/ids.ts";
import type { InboxEntry } from "../../../../../src/jobs/core/flow/inbox-entry.ts";
import { RunWaits, type CallsInDoubt } from "../../../../../src/jobs/core/run/run-waits.ts";

const SLEEP = "sleep#1" as CallName;
const DOCUMENTS = "documents#1" as CallName;
const PAY = "pay#1" as CallName;
const MANAGER = "manager#1" as CallName;
const PAID = sha256("paid");
const NONE: CallsInDoubt = { callOf: () => undefined, forPeople: new Set(), busy: 0, shortages: [] };
const IN_DOUBT: CallsInDoubt = { ...NONE, callOf: (effect) => (effect === PAID ? PAY : undefined) };
const principal = "p";
const NOW_MS = 1_000_000;
const DAY_MS = 86_400_000;

function waiting(): RunWaits {
  const waits = new RunWaits();
  waits.open(SLEEP, { kind: "timer", dueMs: NOW_MS + DAY_MS });
  waits.open(DOCUMENTS, { kind: "signal", signal: "documents" });
  return waits;
}

describe("what code waits for", () => {
  test("gets each entry once, and what nobody waits for stays", () => {
    const waits = waiting();
    waits.arrive(1, { kind: "signal", signal: "others", payload: 1, principal });
    waits.arrive(2, { kind: "signal", signal: "documents", payload: 2, principal });
    waits.arrive(3, { kind: "signal", signal: "documents", payload: 3, principal });
    const [offer, ...more] = waits.offer(NOW_MS, NONE);
    expect([offer, more]).toMatchObject([{ inbox: 2, call: DOCUMENTS, entry: { kind: "signal", payload: 2 } }, []]);
    expect(waits.offer(NOW_MS, NONE)).toEqual([]);
    waits.took(offer?.offer ?? 0);
    expect(waits.unreadEntries).toEqual([1, 3]);
  });

  test("keeps the owner while an offer is under way, or a timer is due soon", () => {
    const waits = waiting();
    expect(waits.leave(NOW_MS, NONE)).toMatchObject({
      waiting: { reason: "signal", on: [`call:${SLEEP}`, "signal:documents"], untilMs: NOW_MS + DAY_MS },
      timers: [{ call: SLEEP, dueMs: NOW_MS + DAY_MS }],
    });
    expect(waits.leave(NOW_MS + DAY_MS - 5_000, NONE)).toBeUndefined();
    expect(waits.offer(NOW_MS + DAY_MS, NONE)).toMatchObject([{ call: SLEEP, entry: { kind: "timer-fired" } }]);
    expect(waits.leave(NOW_MS, NONE)).toBeUndefined();
  });
});

describe("an approval", () => {
  const shown = sha256("what is shown");
  const asking = (untilMs?: number): RunWaits => {
    const waits = new RunWaits();
    const until = untilMs === undefined ? {} : { untilMs };
    waits.open(MANAGER, { kind: "approval", name: "manager", summary: "?", data: null, shown, ...until });
    return waits;
  };
  const decision = (over: object = {}): InboxEntry => ({
    kind: "decision", call: MANAGER, shown, approved: true, data: 1, principal, ...over,
  });

  test("lets its job go at once, and is decided by who was shown just this", () => {
    const waits = asking();
    expect(waits.leave(NOW_MS, NONE)).toEqual({
      waiting: { reason: "approval", on: [`approval:${MANAGER}`] }, timers: [],
    });
    waits.arrive(1, decision({ shown: sha256("something else") }));
    waits.arrive(2, decision({ call: "other#1" }));
    expect(waits.offer(NOW_MS, NONE)).toEqual([]);
    expect(waits.takeUnwanted(NONE).map(({ n }) => n)).toEqual([1, 2]);
    waits.arrive(3, decision());
    const [offer, ...more] = waits.offer(NOW_MS, NONE);
    expect([offer, more]).toMatchObject([
      { inbox: 3, call: MANAGER, entry: { kind: "decided", approved: true, principal, data: 1 } }, [],
    ]);
    waits.took(offer?.offer ?? 0);
    waits.arrive(4, decision({ approved: false }));
    expect(waits.takeUnwanted(NONE).map(({ n }) => n)).toEqual([4]);
  });

  test("is over by the timer of the store alone: its owner's clock does not overtake a decision", () => {
    const waits = asking(NOW_MS + 100);
    expect(waits.leave(NOW_MS, NONE)).toEqual({
      waiting: { reason: "approval", on: [`approval:${MANAGER}`, `call:${MANAGER}`], untilMs: NOW_MS + 100 },
      timers: [],
    });
    expect([waits.nextDueMs, waits.offer(NOW_MS + DAY_MS, NONE)]).toEqual([undefined, []]);
    waits.arrive(1, decision());
    waits.arrive(2, { kind: "timer", call: MANAGER });
    const [offer, ...more] = waits.offer(NOW_MS + DAY_MS, NONE);
    expect([offer?.entry.kind, more]).toEqual(["decided", []]);
    waits.took(offer?.offer ?? 0);
    expect(waits.takeUnwanted(NONE).map(({ n }) => n)).toEqual([2]);
    const late = asking(NOW_MS + 100);
    late.arrive(1, { kind: "timer", call: MANAGER });
    expect(late.offer(NOW_MS, NONE)).toMatchObject([{ inbox: 1, call: MANAGER, entry: { kind: "timer-fired" } }]);
  });

  test("is what a job is said to wait for, of several things", () => {
    const waits = waiting();
    waits.open(MANAGER, { kind: "approval", name: "manager", summary: "?", data: null, shown });
    expect(waits.leave(NOW_MS, NONE)).toMatchObject({
      waiting: { reason: "approval", on: [`call:${SLEEP}`, "signal:documents", `approval:${MANAGER}`] },
      timers: [{ call: SLEEP }],
    });
  });
});

describe("a cancel that the code has taken", () => {
  test("ends all of its waits: nothing is offered to them, and nobody waits for an answer", () => {
    const waits = waiting();
    waits.arrive(1, { kind: "signal", signal: "documents", payload: 2, principal });
    waits.arrive(2, { kind: "cancel", principal });
    const [signal, cancel] = waits.offer(NOW_MS, NONE);
    expect([signal?.inbox, cancel?.entry]).toEqual([1, { kind: "cancel" }]);
    waits.took(cancel?.offer ?? 0);
    expect(waits.unreadEntries).toEqual([1]);
    expect(waits.offer(NOW_MS + DAY_MS, NONE)).toEqual([]);
    expect(waits.nextDueMs).toBeUndefined();
    // What it does to clean up may wait for a person.
    expect(waits.leave(NOW_MS, { ...NONE, forPeople: new Set([PAID]) })).toMatchObject({
      waiting: { reason: "unknown", on: [] },
    });
  });
});

describe("a call that has ended by itself", () => {
  test("takes no answer of anybody else", () => {
    const waits = waiting();
    waits.arrive(1, { kind: "resolve", effect: PAID, resolution: { kind: "not-done" }, principal });
    expect(waits.offer(NOW_MS, IN_DOUBT)).toMatchObject([{ inbox: 1, call: PAY }]);
    expect(waits.leave(NOW_MS, NONE)).toBeUndefined();
    waits.callEnded(PAY);
    expect(waits.takeUnwanted(NONE).map(({ n }) => n)).toEqual([1]);
    expect(waits.leave(NOW_MS, NONE)).toBeDefined();
  });
});
