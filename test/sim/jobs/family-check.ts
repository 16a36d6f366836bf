// Owns: whether jobs and those that they start agree: a child begins with the event that says so, ends once for its
// parent, as it has ended, and is told to end when nobody waits for it any more. JOB14
import { decode } from "../../../src/base/codec.ts";
import { isSameData } from "../../../src/slices/core/canonical.ts";
import { isSameAmount, spentOfParent } from "./account-check.ts";
import {
  callIn, E, Found, hasEnded, isLast, type Amount, type ChildBook, type Event, type JobBook, type Outgoing, type Row,
} from "./job-book.ts";

/** What a transaction has changed of a job. */
export interface Changed {
  readonly where: string;
  readonly job: JobBook;
  readonly before: Row | undefined;
  readonly added: readonly Event[];
  readonly isNew: boolean;
  readonly parts: readonly (readonly [root: string, rest: string, value: unknown])[];
}

type Entry = Readonly<Record<string, unknown>>;

export function checkFamilies(jobs: ReadonlyMap<string, JobBook>, changed: readonly Changed[]): void {
  for (const one of changed) for (const event of one.added) applyEvent(jobs, changed, one, event);
  for (const { where, job, isNew } of changed) {
    const { parent } = job.spec ?? {};
    if (!isNew || parent === undefined) continue;
    const isSaid = jobs.get(parent.job)?.children.get(parent.call)?.job === job.id;
    if (!isSaid) throw new Found("family", `${where}: it began, and the log of ${parent.job} does not say so`);
  }
  for (const one of changed) {
    for (const [root, , value] of one.parts) {
      if (root === "job-inbox" && value !== undefined) applyEntry(jobs, one, value as Entry);
    }
  }
  for (const one of changed) {
    for (const [root, rest, value] of one.parts) {
      if (root === "job-outbox" && value === undefined) checkTold(jobs, one, rest);
    }
    checkSaid(one);
  }
}

function applyEvent(
  jobs: ReadonlyMap<string, JobBook>, changed: readonly Changed[], { where, job, parts }: Changed, event: Event,
): void {
  const { type, data } = event;
  const call = callIn(event);
  const child = job.children.get(call);
  switch (type) {
    case E.childStarted:
      if (child !== undefined) throw new Found("family", `${where}: the child of ${call} is started again`);
      return begin({ where, job, changed }, event);
    case E.childCompleted:
    case E.childFailed: {
      const book = jobs.get(child?.job ?? "");
      if (child?.isTold !== true) throw new Found("family", `${where}: ${call} has an end that nobody has told`);
      const isCompleted = book?.result?.kind === "completed";
      if (isCompleted !== (type === E.childCompleted)) throw new Found("family", `${where}: ${call} ended otherwise`);
      const isUnknown = data["blob"] !== undefined || type === E.childFailed;
      if (!isUnknown && !isSameData(data["output"], book?.result?.output)) {
        throw new Found("family", `${where}: ${call} has another output than its child`);
      }
      child.isOver = true;
      return;
    }
    case E.childDetached:
    case E.childSettled:
      if (child !== undefined) child.isOver = true;
      return;
    case E.timerFired:
      if (child === undefined || child.isDetached) return;
      if (!cancelsIn(parts).has(child.job)) {
        throw new Found("family", `${where}: ${call} is over, and its child goes on`);
      }
      child.isOver = true;
      return;
    case E.continued:
      if (attachedOf(job).length > 0) throw new Found("family", `${where}: it continues, and has children`);
      return;
    default:
      if (type === E.cancelRequested || isLast(event)) checkCancels({ where, job, parts });
  }
}

function begin(
  { where, job, changed }: Pick<Changed, "where" | "job"> & { readonly changed: readonly Changed[] }, { data }: Event,
): void {
  const call = String(data["call"]);
  const id = String(data["job"]);
  const isDetached = data["isDetached"] === true;
  const begun = changed.find((one) => one.job.id === id && one.isNew)?.job;
  const parent = begun?.spec?.parent;
  const refuse = (what: string): never => {
    throw new Found("family", `${where}: the child ${id} of ${call} ${what}`);
  };
  if (begun === undefined || begun.spec === undefined) return refuse("does not begin with it");
  if (parent?.job !== job.id || parent.call !== call || parent.isDetached !== isDetached) refuse("is another's");
  if (begun.spec.inputDigest !== data["inputDigest"]) refuse("has another input");
  if (begun.row?.pin !== job.row?.pin) refuse("runs another version");
  if (!isSameAmount(begun.spec.budget, data["budget"] as Amount | undefined)) refuse("has another budget");
  const child: ChildBook = {
    job: id, isDetached, budget: (data["budget"] ?? {}) as Amount, isOver: false, isTold: false,
  };
  job.children.set(call, child);
}

/** Whoever ends, or is told to, takes those with it that it waits for. */
function checkCancels({ where, job, parts }: Pick<Changed, "where" | "job" | "parts">): void {
  const told = cancelsIn(parts);
  const left = attachedOf(job).find(({ job: id }) => !told.has(id));
  if (left !== undefined) throw new Found("family", `${where}: it ends, and its child ${left.job} goes on`);
}

function attachedOf({ children }: JobBook): readonly ChildBook[] {
  return [...children.values()].filter(({ isDetached, isOver }) => !isDetached && !isOver);
}

function cancelsIn(parts: Changed["parts"]): ReadonlySet<string> {
  return new Set(parts.flatMap(([root, , value]) =>
    (root === "job-outbox" ? (value as Outgoing | undefined)?.cancel ?? [] : [])));
}

/** The end of a child comes to its parent. */
function applyEntry(jobs: ReadonlyMap<string, JobBook>, { where, job }: Changed, entry: Entry): void {
  if (entry["kind"] !== "child-completed" && entry["kind"] !== "child-failed") return;
  const call = String(entry["call"]);
  const child = job.children.get(call);
  const book = jobs.get(child?.job ?? "");
  const refuse = (what: string): never => {
    throw new Found("family", `${where}: the end of the child of ${call} ${what}`);
  };
  if (child === undefined || book === undefined || child.isDetached) return refuse("is told, and nobody waits for it");
  if (child.isTold) refuse("is told again");
  if (!hasEnded(book.row)) refuse("is told before it has come");
  const { output, blob } = entry as { readonly output?: Uint8Array; readonly blob?: unknown };
  if ((output !== undefined) !== (book.result?.kind === "completed")) refuse("is told as another one");
  const isKnown = output !== undefined && blob === undefined;
  if (isKnown && !isSameData(decode(output, output.byteLength), book.result?.output)) refuse("has another output");
  if (!isSameAmount(entry["spent"] as Amount | undefined, spentOfParent(book))) refuse("has spent something else");
  child.isTold = true;
}

/** What goes from the outbox has come to whom it was for. */
function checkTold(jobs: ReadonlyMap<string, JobBook>, { where, job }: Changed, rest: string): void {
  const { ended, cancel = [] } = job.outbox.get(rest) ?? {};
  job.outbox.delete(rest);
  for (const id of cancel) {
    const child = jobs.get(id);
    const isTold = child?.isCancelled === true || hasEnded(child?.row);
    if (!isTold) throw new Found("family", `${where}: its child ${id} was not told to end`);
  }
  if (ended === undefined) return;
  const parent = jobs.get(ended.job);
  const isTold = parent?.children.get(ended.call)?.isTold === true || hasEnded(parent?.row);
  if (!isTold) throw new Found("family", `${where}: its end was not told to ${ended.job}`);
}

/** Who has ended says so to whom it concerns. */
function checkSaid({ where, job, before, parts }: Changed): void {
  const { parent } = job.spec ?? {};
  if (!hasEnded(job.row) || hasEnded(before) || parent === undefined || parent.isDetached) return;
  const isSaid = parts.some(([root, , value]) => {
    const { ended } = (root === "job-outbox" ? value as Outgoing | undefined : undefined) ?? {};
    return ended?.job === parent.job && ended.call === parent.call;
  });
  if (!isSaid) throw new Found("family", `${where}: it ends, and ${parent.job} is not to hear of it`);
}
