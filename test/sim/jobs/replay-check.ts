// Owns: whether what the code of a job saw, over all its lives and runs, is what its log says, in that order.
import { isSameData } from "../../../src/slices/core/canonical.ts";
import { callIn, E, Found, type Event, type JobBook } from "./job-book.ts";
import type { JobBooks } from "./job-books.ts";
import type { Seen } from "./player.ts";

/** What an event gave to the code. */
interface Given {
  readonly call: string;
  /** Undefined where it is not known here. */
  readonly value: unknown;
}

export function checkSeen(job: JobBook, books: JobBooks): void {
  const { id } = job;
  for (const { label, atMs } of books.stepsBegun.filter((begun) => begun.job === id)) {
    const storedMs = books.stepsStored.get(`${id} ${label}`);
    if (storedMs !== undefined && atMs > storedMs) throw new Found("replay", `${id}: the step ${label} began again`);
  }
  const unknown = job.received.find((payload) => books.signals.get(id)?.includes(payload) !== true);
  if (unknown !== undefined) throw new Found("inbox", `${id} received ${unknown}, which nobody sent`);
  if (job.result?.kind === "completed") checkStrict(job);
  const { seen } = (job.result?.output ?? {}) as { readonly seen?: Seen };
  if (seen === undefined) return;
  const ofLog = seen.slice(job.of?.seenBefore);
  const logged = job.events.flatMap((event, at) => givenBy(event, job.events.slice(at + 1)));
  const compare = (part: string, saw: Seen, has: readonly Given[]): void => compareSeen(`${id}${part}`, saw, has);
  if (job.of === undefined) return compare("", ofLog, logged);
  // Of ends that it has from the job that it does again, its log has the times behind them that its code saw between.
  compare(", of times", ofLog.filter(isTime), logged.filter(({ call }) => TIME.test(call)));
  compare(", of calls", ofLog.filter((one) => !isTime(one)), logged.filter(({ call }) => !TIME.test(call)));
}

const TIME = /(^|[/])now#/;

function isTime([label]: Seen[number]): boolean {
  return label === "now";
}

function compareSeen(id: string, ofLog: Seen, logged: readonly Given[]): void {
  for (const [at, [label, value]] of ofLog.entries()) {
    const given = logged[at];
    const isCall = given !== undefined && (given.call.includes(`${label}#`) || /(^|[/])told#/.test(given.call));
    if (!isCall || (given.value !== undefined && !isSameData(given.value, value))) {
      throw new Found("replay", `${id}: its code saw ${label} = ${JSON.stringify(value)} as number ${at + 1}, ` +
        `its log says ${given?.call} = ${JSON.stringify(given?.value)}`);
    }
  }
  if (logged.length !== ofLog.length) {
    throw new Found("replay", `${id}: its code saw ${ofLog.length} values, its log has ${logged.length}`);
  }
}

/** A job does not complete where the world outside is not as it has to be. */
function checkStrict({ id, events }: JobBook): void {
  const found = events.find(({ type, data }) => type === E.verified && data["onMismatch"] === "strict" &&
    (data["verdict"] as { readonly kind: string }).kind === "differs");
  if (found !== undefined) throw new Found("looks", `${id} has completed, although ${callIn(found)} is undone`);
}

function givenBy(event: Event, later: readonly Event[]): readonly Given[] {
  const { type, data } = event;
  const call = callIn(event);
  if (isWithin(event, later)) return [];
  switch (type) {
    case E.stepCompleted:
    case E.value:
      return [{ call, value: data["value"] }];
    case E.succeeded:
      return [{ call, value: data["usage"] === undefined ? data["result"] : textOf(data["result"]) }];
    case E.signal:
      return [{ call, value: data["payload"] }];
    case E.resolved: {
      const resolution = data["resolution"] as { readonly kind: string; readonly result?: unknown };
      return resolution.kind === "done" ? [{ call, value: resolution.result }] : [];
    }
    case E.approvalDecided: {
      const { approved, principal: by, data: said } = data;
      return [{ call, value: isOfTool(call) ? undefined : { approved, by, data: said } }];
    }
    case E.childCompleted:
      return [{ call, value: data["output"] }];
    case E.childDetached:
      return [{ call, value: { id: data["job"] } }];
    case E.stepFailed:
    case E.toolFailed:
    case E.timerFired:
    case E.childFailed:
      return [{ call, value: undefined }];
    default:
      return [];
  }
}

/** It is part of a question to a model, or of a call that has to be allowed, which goes on. */
function isWithin(event: Event, later: readonly Event[]): boolean {
  const call = callIn(event);
  if (event.type === E.approvalDecided) return isOfTool(call) && event.data["approved"] === true;
  const question = /^(.*llm\.model\/[^#]+#1)/.exec(call)?.[1];
  return question !== undefined && (event.type === E.toolFailed || event.type === E.timerFired) &&
    later.some((other) => callIn(other).startsWith(question));
}

function isOfTool(call: string): boolean {
  return call.includes("/approval#");
}

function textOf(result: unknown): unknown {
  return (result as { readonly text: unknown }).text;
}
