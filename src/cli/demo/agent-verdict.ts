// Owns: what a run of the agents' demo found, and what of it had to hold. Pure.
import { seconds, type Verdict } from "./demo-report.ts";

/** One call of the tool that must not be called twice. */
export interface CallFound {
  readonly job: string;
  readonly effectId: string;
  /** The payment service's own count: how often it was asked with this effect id, and how often it paid. */
  readonly requests: number;
  readonly payments: number;
  /** How often the tool's reconcile or a person said that it had not happened. */
  readonly saidNotDone: number;
}

export interface JobFound {
  readonly job: string;
  readonly status: string;
  /** Why it waits, if it does. */
  readonly waiting?: string;
  /** The job that started it, if one did. */
  readonly parent?: string;
}

export interface CustomerFound extends JobFound {
  /** So large that a person has to be asked. */
  readonly isLarge: boolean;
  /** What the job's log has a person say, and what the person knows to have said. */
  readonly approved?: boolean;
  readonly said?: boolean;
  /** Notices to this customer that the payment service has in its books. */
  readonly notices: number;
  /** The refund that the job ended with, and that the payment service has in its books for it. */
  readonly refund?: string;
  readonly booked?: string;
}

/** Who said what of calls whose outcome nobody knew. `late`: the tool itself, after its time was over. */
export interface Resolved {
  readonly reconcileDone: number;
  readonly reconcileNotDone: number;
  readonly personDone: number;
  readonly personNotDone: number;
  readonly late: number;
}

export interface AgentFindings {
  readonly seed: number;
  /** One job of each customer, and the jobs that these have started. */
  readonly customers: readonly CustomerFound[];
  readonly children: readonly JobFound[];
  readonly calls: readonly CallFound[];
  /** Effect ids that the payment service was asked with, and that no job has. */
  readonly strangers: readonly string[];
  /** Calls of that tool whose outcome nobody knew for a while. */
  readonly unknowns: number;
  /** Calls that may be made twice, and were lost, mostly with their nodes: of models, and of what tells customers. */
  readonly remade: number;
  readonly resolved: Resolved;
  /** What the payment service told the tool's reconcile. */
  readonly answers: { readonly done: number; readonly notDone: number; readonly unknown: number };
  readonly kills: number;
  /** Kills of a node whose call the payment service was holding at that moment. */
  readonly killsInCall: number;
  readonly tookMs: number;
}

export interface AgentWants {
  readonly killsMin: number;
  readonly killsInCallMin: number;
}

/** Of the customers' jobs; the others have to wait for a person who has something to say to them. */
export const COMPLETED_SHARE_MIN = 0.95;
const PERSONS_REASONS: readonly (string | undefined)[] = ["unknown", "approval", "signal", "stuck"];
const NAMED_MAX = 5;

export function judgeAgents(found: AgentFindings, wants: AgentWants): readonly Verdict[] {
  return [
    ...judgeJobs(found),
    ...judgeDecisions(found),
    ...judgeRefunds(found),
    {
      what: `nodes killed with SIGKILL (at least ${wants.killsMin})`,
      found: String(found.kills),
      isHeld: found.kills >= wants.killsMin,
    },
    {
      what: `of them in the middle of a refund (at least ${wants.killsInCallMin})`,
      found: String(found.killsInCall),
      isHeld: found.killsInCall >= wants.killsInCallMin,
    },
    { what: "time", found: seconds(found.tookMs), isHeld: undefined },
  ];
}

function judgeJobs({ customers, children }: AgentFindings): readonly Verdict[] {
  const completed = customers.filter(isCompleted);
  const others = [...customers, ...children].filter((job) => !isCompleted(job));
  const astray = others.filter(({ status, waiting }) => status !== "waiting" || !PERSONS_REASONS.includes(waiting));
  const waiting = others.filter((job) => !astray.includes(job));
  const paid = completed.filter(({ refund }) => refund !== undefined).length;
  const refused = completed.filter(({ approved }) => approved === false).length;
  return [
    {
      what: `customers' jobs completed (at least ${COMPLETED_SHARE_MIN * 100} %)`,
      found: `${completed.length} of ${customers.length}`,
      isHeld: customers.length > 0 && completed.length >= COMPLETED_SHARE_MIN * customers.length,
    },
    {
      what: "of them paid / refused by a person / without a reason in their letter",
      found: `${paid} / ${refused} / ${completed.length - paid - refused}`,
      isHeld: undefined,
    },
    {
      what: "jobs started by them, to tell customers: completed",
      found: `${children.filter(isCompleted).length} of ${children.length}`,
      isHeld: children.some(isCompleted),
    },
    none("other jobs that wait for no person",
      astray.map(({ job, status, waiting: on = "" }) => `${job} ${status} ${on}`)),
    {
      what: "other jobs that wait for a person",
      found: namesOf(waiting.map(({ job, waiting: on = "" }) => `${job} (${on})`)),
      isHeld: undefined,
    },
    none("customers told twice", customers.filter(({ notices }) => notices > 1).map(({ job }) => job)),
    none("customers paid without being told",
      customers.filter(({ notices, booked }) => notices === 0 && booked !== undefined).map(({ job }) => job)),
  ];
}

function judgeDecisions({ customers }: AgentFindings): readonly Verdict[] {
  const unasked = customers.filter(({ isLarge, approved, booked }) =>
    isLarge && approved !== true && booked !== undefined);
  const misheard = customers.filter(({ approved, said }) => approved !== undefined && approved !== said);
  const count = (decision: boolean): number => customers.filter(({ approved }) => approved === decision).length;
  return [
    {
      what: "large refunds approved / refused by a person",
      found: `${count(true)} / ${count(false)}`,
      isHeld: undefined,
    },
    none("large refunds paid that nobody approved", unasked.map(({ job, booked = "" }) => `${job} ${booked}`)),
    none("decisions that are not what the person said", misheard.map(({ job }) => job)),
  ];
}

function judgeRefunds({ customers, calls, strangers, resolved, answers, ...found }: AgentFindings): readonly Verdict[] {
  const wrong = customers.filter((job) => isCompleted(job) && job.refund !== job.booked);
  const tooOften = calls.filter(({ requests, saidNotDone }) => requests > 1 + saidNotDone);
  const paidTwice = calls.filter(({ payments }) => payments > 1);
  const once = calls.filter(({ requests }) => requests === 1).length;
  const again = calls.filter(({ requests }) => requests > 1).length;
  return [
    {
      what: "refunds asked for once / more often",
      found: `${once} / ${again}`,
      isHeld: once > 0,
    },
    none("asked for again though nobody said that they were not done",
      tooOften.map(({ job, requests, saidNotDone }) => `${job} ${requests} times, ${saidNotDone} said so`)),
    none("paid twice", paidTwice.map(({ job, payments }) => `${job} ${payments} times`)),
    none("refunds and notices asked for, and no job knows of it", strangers),
    none("completed jobs whose refund is not the one in the books",
      wrong.map(({ job, refund, booked }) => `${job} has ${refund ?? "none"}, booked ${booked ?? "none"}`)),
    {
      what: "refunds whose outcome nobody knew",
      found: `${found.unknowns}; ${resolvedText(resolved)}`,
      isHeld: undefined,
    },
    {
      what: "requests to models and notices that were lost, and made again",
      found: String(found.remade),
      isHeld: undefined,
    },
    {
      what: "what reconcile was told: done / not done / nothing",
      found: `${answers.done} / ${answers.notDone} / ${answers.unknown}`,
      isHeld: answers.done > 0 && answers.notDone > 0 && answers.unknown > 0,
    },
  ];
}

function isCompleted({ status }: JobFound): boolean {
  return status === "completed";
}

/** Something that there must not be. */
function none(what: string, names: readonly string[]): Verdict {
  return { what, found: namesOf(names), isHeld: names.length === 0 };
}

function resolvedText({ reconcileDone, reconcileNotDone, personDone, personNotDone, late }: Resolved): string {
  return `reconcile: ${reconcileDone} done, ${reconcileNotDone} not; a person: ${personDone} done, ` +
    `${personNotDone} not; answered late: ${late}`;
}

function namesOf(names: readonly string[]): string {
  if (names.length === 0) return "0";
  const more = names.length > NAMED_MAX ? ", …" : "";
  return `${names.length}: ${names.slice(0, NAMED_MAX).join(", ")}${more}`;
}
