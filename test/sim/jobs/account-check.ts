// Owns: whether the account of a job's budget is what its log adds up to, and never more than its limit. The sums are
// made here. JOB16
import { callIn, E, Found, type Account, type Amount, type Event, type JobBook } from "./job-book.ts";
import { COST_USD, type ToolName } from "./player.ts";

const UNITS = ["usdMicros", "tokens", "steps"];
const NOTHING: Amount = {};
const MICROS = 1_000_000;

/** To be called with what a transaction has added, once its head is known. */
export function checkAccount(where: string, job: JobBook, added: readonly Event[]): void {
  for (const event of added) job.account = after(where, job, event);
  const { account, head } = job;
  if (textOf(account) !== textOf(head?.account)) {
    const [said, sum] = [textOf(head?.account), textOf(account)];
    throw new Found("account", `${where}: its head says ${said}, its log adds up to ${sum}`);
  }
  if (account === undefined) return;
  for (const unit of UNITS) {
    const [limit, reserved, spent] = [account.limit[unit], account.reserved[unit] ?? 0, account.spent[unit] ?? 0];
    if (reserved < 0 || spent < 0) throw new Found("account", `${where}: less than nothing: ${textOf(account)}`);
    if (reserved + spent > (limit ?? Number.POSITIVE_INFINITY)) {
      throw new Found("account", `${where}: more than its limit: ${textOf(account)}`);
    }
  }
}

/** What a child has spent for its parent: all but what others have added to its budget. */
export function spentOfParent({ spec, account }: JobBook): Amount | undefined {
  const { budget } = spec ?? {};
  if (budget === undefined || account === undefined) return undefined;
  const all = plus(account.spent, account.reserved);
  const others = (unit: string): number => {
    const given = budget[unit] ?? 0;
    return Math.max(0, Math.min((all[unit] ?? 0) - given, (account.limit[unit] ?? 0) - given));
  };
  return Object.fromEntries(UNITS.map((unit) => [unit, (all[unit] ?? 0) - others(unit)]));
}

/** Absent and zero are the same. */
export function isSameAmount(one: Amount | undefined, other: Amount | undefined): boolean {
  return UNITS.every((unit) => (one?.[unit] ?? 0) === (other?.[unit] ?? 0));
}

function after(where: string, job: JobBook, event: Event): Account | undefined {
  const { type, data } = event;
  if (type === E.created) return opened(where, job, data);
  const { account } = job;
  if (account === undefined) return undefined;
  const { limit, reserved, spent } = account;
  const call = callIn(event);
  const held = job.held.get(call) ?? NOTHING;
  const settle = (cost: Amount): Account => {
    job.held.delete(call);
    return { limit, reserved: plus(reserved, held, -1), spent: plus(spent, cost) };
  };
  switch (type) {
    case E.repeated:
      return { ...account, spent: plus(spent, (data["spent"] ?? NOTHING) as Amount) };
    case E.raised:
      return { ...account, limit: plus(limit, data["add"] as Amount) };
    case E.stepCompleted:
      return { ...account, spent: plus(spent, { steps: 1 }) };
    case E.stepFailed:
      return data["isRefusal"] === true ? account : { ...account, spent: plus(spent, { steps: 1 }) };
    case E.granted: {
      checkReserved(where, data);
      const wanted = (data["reserved"] ?? NOTHING) as Amount;
      job.held.set(call, wanted);
      const lost = data["effect"] === "read" ? held : NOTHING;
      return { limit, reserved: plus(plus(reserved, held, -1), wanted), spent: plus(spent, lost) };
    }
    case E.succeeded:
      return settle((data["cost"] ?? held) as Amount);
    case E.toolFailed:
      return settle((data["cost"] ?? NOTHING) as Amount);
    case E.resolved:
      return settle((data["resolution"] as { readonly kind: string }).kind === "not-done" ? NOTHING : held);
    case E.childStarted: {
      const budget = (data["budget"] ?? NOTHING) as Amount;
      if (data["isDetached"] === true) return { ...account, spent: plus(spent, budget) };
      job.held.set(call, budget);
      return { ...account, reserved: plus(reserved, budget) };
    }
    case E.childCompleted:
    case E.childFailed:
    case E.childSettled:
      return settle((data["spent"] ?? held) as Amount);
    default:
      return account;
  }
}

/** A later run begins with what the one before has left. */
function opened(where: string, job: JobBook, data: Event["data"]): Account | undefined {
  const { budget: limit, spent = NOTHING } = data as { readonly budget?: Amount; readonly spent?: Amount };
  const before = job.account;
  job.held.clear();
  const isLater = before !== undefined;
  const isSame = isSameAmount(limit, before?.limit) &&
    isSameAmount(spent, plus(before?.spent ?? NOTHING, before?.reserved ?? NOTHING));
  if (isLater && !isSame) throw new Found("account", `${where}: its next run begins with another account`);
  return limit === undefined ? undefined : { limit, reserved: NOTHING, spent };
}

/** What is known to cost something is reserved. */
function checkReserved(where: string, { tool, call, reserved }: Event["data"]): void {
  const usd = COST_USD[tool as ToolName] ?? 0;
  const has = (reserved ?? NOTHING) as Amount;
  const isReserved = String(tool).startsWith("llm.") ? (has["tokens"] ?? 0) > 0 : has["usdMicros"] === usd * MICROS;
  if (isReserved || (usd === 0 && reserved === undefined)) return;
  throw new Found("account", `${where}: ${String(call)} is granted with ${textOf(has)} reserved`);
}

function plus(one: Amount, other: Amount, sign = 1): Amount {
  const sums = UNITS.map((unit) => [unit, (one[unit] ?? 0) + sign * (other[unit] ?? 0)] as const);
  return Object.fromEntries(sums.filter(([unit, sum]) => sum !== 0 || one[unit] !== undefined));
}

function textOf(value: Account | Amount | undefined): string {
  if (value === undefined) return "none";
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    const entries = Object.entries(part).filter(([, one]) => one !== 0).sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries);
  });
}
