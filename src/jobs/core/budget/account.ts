// Owns: what a job may spend, has reserved and has spent: how each event of its log changes that. Does not own: which
// call waits for more (run/plan-calls.ts), what a call can cost (worker/call-cost.ts).
//
// What a call can cost most is reserved by the very event that grants it, and settled by the one that has its outcome.
// So the account is a fold of the log: a crash loses no reservation and makes none twice, and a log proves its account.
// All amounts are whole numbers; money is in millionths of a dollar.
// JOB16  What a job has reserved and spent is never more than its limit, unless a call cost more than it said it could.
import type { CallName } from "../ids.ts";
import type { JobEvent } from "../log/event.ts";

export const UNITS = ["usdMicros", "tokens", "steps"] as const;
export type Unit = (typeof UNITS)[number];

/** A unit that is left out is zero; in a limit it is not limited. */
export type Amount = { readonly [U in Unit]?: number };

export interface Account {
  readonly limit: Amount;
  /** For calls that are granted or in doubt, and for children that have not ended. */
  readonly reserved: Amount;
  readonly spent: Amount;
}

export const NOTHING: Amount = {};

export function plus(a: Amount, b: Amount): Amount {
  return combined(a, b, (one, other) => one + other);
}

/** Never below zero. */
export function minus(a: Amount, b: Amount): Amount {
  return combined(a, b, (one, other) => Math.max(0, one - other));
}

/** Of each unit that both have the smaller one. */
export function atMost(a: Amount, b: Amount): Amount {
  return combined(a, b, Math.min);
}

function combined(a: Amount, b: Amount, of: (one: number, other: number) => number): Amount {
  const result: { [U in Unit]?: number } = {};
  for (const unit of UNITS) {
    const value = of(a[unit] ?? 0, b[unit] ?? 0);
    if (value !== 0) result[unit] = value;
  }
  return result;
}

/** The account that a run of a job begins with. */
function openedBy(
  { budget: limit, spent = NOTHING }: Extract<JobEvent, { readonly type: "job.created" }>,
): Account | undefined {
  return limit === undefined ? undefined : { ...openAccount(limit), spent };
}

/** What the next run of the job begins with: what this one has not heard the end of it never hears. */
export function continuedAccount({ limit, reserved, spent }: Account): Account {
  return { limit, reserved: NOTHING, spent: plus(spent, reserved) };
}

export function openAccount(limit: Amount): Account {
  return { limit, reserved: NOTHING, spent: NOTHING };
}

/** What is left of a unit, not below zero; undefined where it has no limit. */
export function leftOf({ limit, reserved, spent }: Account, unit: Unit): number | undefined {
  const most = limit[unit];
  return most === undefined ? undefined : Math.max(0, most - (reserved[unit] ?? 0) - (spent[unit] ?? 0));
}

/** The first unit of which there is not enough left; undefined when all of it can be reserved. */
export function shortUnit(account: Account, wanted: Amount): Unit | undefined {
  return UNITS.find((unit) => (wanted[unit] ?? 0) > (leftOf(account, unit) ?? Number.POSITIVE_INFINITY));
}

/** What granting a call takes from the account, where `held` is reserved for an earlier attempt at it. */
export function takenByGrant(
  { effect, reserved = NOTHING }: { readonly effect: string; readonly reserved?: Amount }, held: Amount,
): Amount {
  // What it comes to is the same call to the other side, unless each is one of its own.
  return effect === "read" ? reserved : minus(reserved, held);
}

/**
 * The account after an event; `held` is what was reserved for its call before. Undefined for a job without a budget,
 * as long as there is no event that gives it one.
 */
export function accountAfter(account: Account | undefined, event: JobEvent, held: Amount): Account | undefined {
  if (event.type === "job.created") return openedBy(event);
  if (account === undefined) return undefined;
  const { limit, reserved, spent } = account;
  switch (event.type) {
    case "budget.raised":
      return { ...account, limit: raised(limit, event.add) };
    case "job.repeated":
      return { ...account, spent: plus(spent, event.spent ?? NOTHING) };
    case "step.completed":
      return { ...account, spent: plus(spent, ONE_STEP) };
    case "step.failed":
      return event.isRefusal === true ? account : { ...account, spent: plus(spent, ONE_STEP) };
    case "tool.granted":
    case "tool.doubted":
      return {
        limit,
        reserved: plus(minus(reserved, held), event.reserved ?? NOTHING),
        // The attempt that was lost may have been charged.
        spent: event.effect === "read" ? plus(spent, held) : spent,
      };
    case "child.started": {
      const { isDetached, budget = NOTHING } = event;
      // Nobody hears of what is left of it.
      return isDetached
        ? { ...account, spent: plus(spent, budget) }
        : { ...account, reserved: plus(reserved, budget) };
    }
    default: {
      const cost = costOf(event, held);
      return cost === undefined ? account : { limit, reserved: minus(reserved, held), spent: plus(spent, cost) };
    }
  }
}

/** What has no limit stays so. */
function raised(limit: Amount, add: Amount): Amount {
  const result: { [U in Unit]?: number } = {};
  for (const unit of UNITS) if (limit[unit] !== undefined) result[unit] = (limit[unit] ?? 0) + (add[unit] ?? 0);
  return result;
}

export const ONE_STEP: Amount = { steps: 1 };

/** What became of a reservation; undefined for an event that leaves it as it is. */
function costOf(event: JobEvent, held: Amount): Amount | undefined {
  switch (event.type) {
    case "tool.succeeded":
      return event.cost ?? held;
    case "tool.failed":
      return event.cost ?? NOTHING;
    case "tool.resolved":
      return event.resolution.kind === "not-done" ? NOTHING : held;
    case "child.completed":
    case "child.failed":
    case "child.settled":
      return event.spent ?? held;
    default:
      return undefined;
  }
}

/** What is reserved for the call of an event after it; undefined when the event says nothing of it. */
export function heldAfter(event: JobEvent): Amount | undefined {
  switch (event.type) {
    case "tool.granted":
    case "tool.doubted":
      return event.reserved ?? NOTHING;
    case "child.started":
      return event.isDetached ? NOTHING : (event.budget ?? NOTHING);
    case "tool.succeeded":
    case "tool.failed":
    case "tool.resolved":
    case "child.completed":
    case "child.failed":
    case "child.settled":
      return NOTHING;
    default:
      return undefined;
  }
}

/** The account of a job from the events of its log. */
export class AccountFold {
  private readonly held = new Map<CallName, Amount>();
  private current: Account | undefined;

  constructor(account?: Account) {
    this.current = account;
  }

  get account(): Account | undefined {
    return this.current;
  }

  add(event: JobEvent): void {
    const call = "call" in event ? event.call : undefined;
    const held = (call === undefined ? undefined : this.held.get(call)) ?? NOTHING;
    this.current = accountAfter(this.current, event, held);
    const after = heldAfter(event);
    if (call !== undefined && after !== undefined) this.held.set(call, after);
  }
}
