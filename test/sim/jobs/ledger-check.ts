// Owns: what may follow what for each call of a tool or model of a job, and for what people decide about it.
import { callIn, E, Found, type CallBook, type Event, type JobBook } from "./job-book.ts";
import type { JobBooks } from "./job-books.ts";

/** Tools whose calls may be made once. */
export const ONCE = new Set(["once", "far", "blind", "asked"]);

/** Calls that may be made again when nobody knows what became of one. */
function mayBeMadeAgain(tool: string): boolean {
  return tool === "look" || tool === "twice" || tool.startsWith("llm.");
}

export function applyCall(where: string, job: JobBook, event: Event, books: JobBooks): void {
  const { type, data } = event;
  if (type === E.verified) return applyLook(where, job, event, books);
  const effectId = String(data["effectId"]);
  const book = job.calls.get(effectId) ??
    { state: "none", tool: String(data["tool"]), call: String(data["call"]), grants: 0, notDone: 0, byPerson: 0 };
  job.calls.set(effectId, book);
  checkRepeated(where, job, book, effectId);
  const from = book.state;
  const refuse = (what: string): never => {
    throw new Found("ledger", `${where}: ${book.call} is ${from}, and is ${what}`);
  };
  if (type === E.granted) {
    const mayAgain = from === "unknown" && mayBeMadeAgain(book.tool);
    if (from !== "none" && from !== "failed" && from !== "not-done" && !mayAgain) refuse("granted");
    book.grants += 1;
    if (data["attempt"] !== book.grants) refuse(`granted as attempt ${String(data["attempt"])}`);
    book.state = "granted";
    if (book.tool === "asked") checkAllowed(where, job, book.call);
  } else if (type === E.succeeded || type === E.toolFailed) {
    // An answer may come after its time, and so may a failure.
    if (from !== "granted" && from !== "unknown") refuse("said to have ended");
    book.state = type === E.succeeded ? "succeeded" : "failed";
    if (type === E.toolFailed) book.notDone += 1;
    if (type === E.succeeded) checkReceipt(where, book, effectId, data["result"], books);
  } else if (type === E.unknown) {
    if (from !== "granted") refuse("unknown");
    book.state = "unknown";
  } else {
    applyResolved(where, book, effectId, data, books);
  }
}

/** A call is the same one in every job that does it again. */
function checkRepeated(where: string, { of, row }: JobBook, { call }: CallBook, effectId: string): void {
  const known = row?.run === of?.run ? of?.effectIds.get(call) : undefined;
  if (known === undefined || known === effectId) return;
  throw new Found("repeats", `${where}: ${call} has another effect id than in ${of?.job}`);
}

function applyResolved(
  where: string, book: CallBook, effectId: string, data: Event["data"], books: JobBooks,
): void {
  if (book.state !== "unknown") throw new Found("ledger", `${where}: ${book.call} is ${book.state}, and is resolved`);
  const by = (data["by"] as { readonly kind: string }).kind;
  const resolution = data["resolution"] as { readonly kind: string; readonly result?: unknown };
  if (by === "person") {
    book.byPerson += 1;
    const said = books.answers.get(effectId) ?? 0;
    if (book.byPerson > said) throw new Found("ledger", `${where}: nobody said what became of ${book.call}`);
  }
  if (by === "reconcile" && book.tool === "blind") {
    throw new Found("ledger", `${where}: ${book.call} cannot be asked about, and is resolved by ${by}`);
  }
  if (resolution.kind === "done") {
    book.state = "succeeded";
    checkReceipt(where, book, effectId, resolution.result, books);
  } else {
    book.state = resolution.kind === "not-done" ? "not-done" : "given-up";
    book.notDone += 1;
  }
}

function checkReceipt(
  where: string, { call, tool }: CallBook, effectId: string, result: unknown, books: JobBooks,
): void {
  const isGiven = tool.startsWith("llm.")
    ? (books.asked.get(effectId) ?? 0) > 0
    : books.receipts.get(effectId)?.includes(String(result)) === true;
  if (isGiven) return;
  throw new Found("ledger", `${where}: ${call} has the result ${String(result)}, which the other side never gave`);
}

/** What is to be allowed is called once it was. */
function checkAllowed(where: string, job: JobBook, call: string): void {
  const decided = job.events.findLast((event) =>
    event.type === E.approvalDecided && callIn(event).startsWith(`${call}/`));
  if (decided?.data["approved"] === true) return;
  throw new Found("approval", `${where}: ${call} is made, and nobody allowed it`);
}

/** Somebody has decided that, and nobody was told that something else holds. */
export function checkDecided(where: string, job: JobBook, event: Event, books: JobBooks): void {
  const { approved, principal } = event.data;
  const call = callIn(event);
  const said = books.decisions.get(`${job.id} ${call}`) ?? [];
  const refuse = (what: string): never => {
    throw new Found("approval", `${where}: ${call} is decided by ${String(principal)}, ${what}`);
  };
  const times = job.events.filter((other) => other.type === E.approvalDecided && callIn(other) === call).length;
  if (times > 1) refuse("again");
  if (!said.some((one) => one.approved === approved && one.principal === principal)) refuse("who did not say that");
  const isAnothers = said.some((one) => one.isAcknowledged && one.principal !== principal);
  if (isAnothers) refuse("and another one was told that it is theirs");
}

/** What is found out about a call that is done, when a job was taken over. */
function applyLook(where: string, job: JobBook, event: Event, books: JobBooks): void {
  const call = callIn(event);
  const [effectId = "", book] = [...job.calls].find(([, one]) => one.call === call) ?? [];
  const { kind } = event.data["verdict"] as { readonly kind: string };
  if (book?.state !== "succeeded") throw new Found("looks", `${where}: ${call} is ${book?.state}, and is looked at`);
  const wanted = books.undone.has(effectId) ? "differs" : "agrees";
  if (kind !== wanted) throw new Found("looks", `${where}: ${call} was looked at and ${kind}, where it ${wanted}`);
  const claims = job.events.filter(({ type }) => type === E.claimed).length;
  const looks = job.events.filter((other) => other.type === E.verified && callIn(other) === call).length;
  if (looks >= claims) throw new Found("looks", `${where}: ${call} was looked at ${looks} times in ${claims} claims`);
}
