import { expect, test } from "vitest";
import {
  judgeAgents, type AgentFindings, type CallFound, type CustomerFound, type JobFound,
} from "../../../src/cli/demo/agent-verdict.ts";

const WANTS = { killsMin: 20, killsInCallMin: 10 };

/** None of them large. */
const CUSTOMERS: readonly CustomerFound[] = Array.from({ length: 20 }, (_, at) => ({
  job: `refund-${at}`, status: "completed", isLarge: false, notices: 1, refund: `re-${at}`, booked: `re-${at}`,
}));
const CHILDREN: readonly JobFound[] = CUSTOMERS.map(({ job }) => ({
  job: `child of ${job}`, status: "completed", parent: job,
}));
/** Nothing is paid. */
const REFUSED: CustomerFound = {
  job: "refund-x", status: "completed", isLarge: true, approved: false, said: false, notices: 0,
};
const CALLS: readonly CallFound[] = CUSTOMERS.map(({ job }) => ({
  job, effectId: `effect of ${job}`, requests: 1, payments: 1, saidNotDone: 0,
}));
const GOOD: AgentFindings = {
  seed: 1,
  customers: CUSTOMERS,
  children: CHILDREN,
  calls: CALLS,
  strangers: [],
  unknowns: 5,
  remade: 1,
  resolved: { reconcileDone: 2, reconcileNotDone: 1, personDone: 1, personNotDone: 0, late: 1 },
  answers: { done: 3, notDone: 4, unknown: 2 },
  kills: 20,
  killsInCall: 10,
  tookMs: 90_000,
};

/** The first customer's job, its child or its call, changed. */
function jobThat(change: Partial<CustomerFound>): Pick<AgentFindings, "customers"> {
  return { customers: CUSTOMERS.map((job, at) => (at === 0 ? { ...job, ...change } : job)) };
}

function childThat(change: Partial<JobFound>): Pick<AgentFindings, "children"> {
  return { children: CHILDREN.map((job, at) => (at === 0 ? { ...job, ...change } : job)) };
}

function and(customer: CustomerFound): Pick<AgentFindings, "customers"> {
  return { customers: [...CUSTOMERS, customer] };
}

function waitingJob(job: string): CustomerFound {
  return { job, status: "waiting", waiting: "unknown", isLarge: false, notices: 1 };
}

function callThat(change: Partial<CallFound>): Pick<AgentFindings, "calls"> {
  return { calls: CALLS.map((call, at) => (at === 0 ? { ...call, ...change } : call)) };
}

/** What of it did not hold. */
function broken(change: Partial<AgentFindings>): readonly string[] {
  return judgeAgents({ ...GOOD, ...change }, WANTS).filter(({ isHeld }) => isHeld === false)
    .map(({ what, found }) => `${what}: ${found}`);
}

test("a run in which every refund was asked for once holds", () => {
  expect(broken({})).toEqual([]);
});

test("a refund may be asked for as often again as somebody said that it was not done", () => {
  expect(broken(callThat({ requests: 3, saidNotDone: 2 }))).toEqual([]);
});

test("one job of twenty may wait for a person", () => {
  expect(broken(jobThat({ status: "waiting", waiting: "unknown" }))).toEqual([]);
});

test("a large refund that a person refused, or approved, holds", () => {
  expect(broken(and(REFUSED))).toEqual([]);
  expect(broken(jobThat({ isLarge: true, approved: true, said: true }))).toEqual([]);
});

test("customers' jobs and those that they started are counted apart, and by what became of them", () => {
  const findings = { ...GOOD, ...and(REFUSED) };
  const counted = judgeAgents(findings, WANTS).slice(0, 3).map(({ found }) => found);
  expect(counted).toEqual(["21 of 21", "20 / 1 / 0", "20 of 20"]);
});

test.each<[string, Partial<AgentFindings>, RegExp]>([
  ["no jobs at all", { customers: [] }, /jobs completed.*: 0 of 0/],
  ["too many jobs that wait", { customers: [...CUSTOMERS.slice(2), ...["a", "b"].map(waitingJob)] },
    /jobs completed.*: 18 of 20/],
  ["a job that runs for ever", jobThat({ status: "running" }), /wait for no person: 1: refund-0 running/],
  ["a job that failed", jobThat({ status: "failed" }), /wait for no person: 1: refund-0 failed/],
  ["a job that waits for nobody", jobThat({ status: "waiting", waiting: "timer" }), /refund-0 waiting timer/],
  ["a job that waits for its child", jobThat({ status: "waiting", waiting: "child" }), /refund-0 waiting child/],
  ["a child that failed", childThat({ status: "failed" }), /wait for no person: 1: child of refund-0 failed/],
  ["no child at all", { children: [] }, /started by them.*: 0 of 0/],
  ["a customer who was told twice", jobThat({ notices: 2 }), /told twice: 1: refund-0/],
  ["a customer who was paid and not told", jobThat({ notices: 0 }), /without being told: 1: refund-0/],
  ["a large refund that nobody was asked about", jobThat({ isLarge: true }), /nobody approved: 1: refund-0 re-0/],
  ["one that was refused", jobThat({ isLarge: true, approved: false, said: false }), /nobody approved: 1: refund-0/],
  ["a no that was a yes", and({ ...REFUSED, said: true }), /not what the person said: 1: refund-x/],
  ["a decision that nobody made", jobThat({ isLarge: true, approved: true }), /not what the person said: 1: refund-0/],
  ["no refund at all", { calls: [] }, /asked for once.*: 0 \/ 0/],
  ["a refund that was asked for twice", callThat({ requests: 2 }), /asked for again.*: 1: refund-0 2 times, 0 said so/],
  ["one that was asked for once too often", callThat({ requests: 3, saidNotDone: 1 }), /refund-0 3 times, 1 said so/],
  ["a refund that was paid twice", callThat({ requests: 2, saidNotDone: 1, payments: 2 }), /paid twice: 1/],
  ["a request that no job knows of", { strangers: ["effect 9"] }, /no job knows of it: 1: effect 9/],
  ["a result that is not in the books", jobThat({ booked: "re-9" }), /refund-0 has re-0, booked re-9/],
  ["a refund that the job does not have", and({ ...waitingJob("a"), status: "completed", booked: "re-a" }),
    /a has none, booked re-a/],
  ["no reconcile that said done", { answers: { ...GOOD.answers, done: 0 } }, /reconcile was told.*: 0/],
  ["no reconcile that said not done", { answers: { ...GOOD.answers, notDone: 0 } }, /reconcile was told/],
  ["no reconcile that did not know", { answers: { ...GOOD.answers, unknown: 0 } }, /reconcile was told/],
  ["too few kills", { kills: 19 }, /nodes killed.*: 19/],
  ["too few kills in the middle of a refund", { killsInCall: 9 }, /middle of a refund.*: 9/],
])("%s does not hold", (_what, change, expected) => {
  expect(broken(change)).toEqual([expect.stringMatching(expected)]);
});
