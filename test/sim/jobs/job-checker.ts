// Owns: whether what jobs did is what they may do, by books of its own: the store's changes as every replica has them,
// what the world outside counted, what clients were told, what steps ran. It shares no rule with the code under test:
// keys are split, rows and events decoded, hashes made here.
import { createHash } from "node:crypto";
import { decode } from "../../../src/base/codec.ts";
import type { Seen } from "./player.ts";

export type JobCheck =
  | "chain" | "owner" | "terminal" | "inbox" | "ledger" | "timers" | "dispatch" | "effects" | "replay" | "liveness";

export interface JobViolation {
  readonly check: JobCheck;
  readonly message: string;
}

export interface StreamChange {
  readonly key: string;
  /** Undefined when the key was deleted. */
  readonly value: unknown;
}

/** One transaction, as the store applied it. */
export interface StreamTxn {
  readonly revision: number;
  readonly changes: readonly StreamChange[];
}

export interface SentRequest {
  readonly tool: string;
  readonly key: string;
  readonly from: string;
  readonly sentAtMs: number;
  readonly isDone: boolean;
}

export interface JobBooks {
  readonly stream: readonly StreamTxn[];
  readonly requests: readonly SentRequest[];
  /** What the other side answered when it had its effect, by effect id. */
  readonly receipts: ReadonlyMap<string, readonly string[]>;
  /** Transactions with a grant whose proposer had its answer. */
  readonly grantsAnswered: readonly { readonly node: string; readonly effectId: string; readonly atMs: number }[];
  /** Steps that began. */
  readonly stepsBegun: readonly { readonly job: string; readonly label: string; readonly atMs: number }[];
  /** When the record of a step was known to be stored. */
  readonly stepsStored: ReadonlyMap<string, number>;
  /** What persons said, by effect id. */
  readonly answers: ReadonlyMap<string, number>;
  /** Signals that were acknowledged, by job. */
  readonly signals: ReadonlyMap<string, readonly string[]>;
  readonly started: readonly string[];
  /** From when on a revision was known to be stored, in the order of time. */
  readonly revisions: readonly { readonly atMs: number; readonly revision: number }[];
  readonly timersSkewMs: number;
}

const ONCE = new Set(["once", "far", "blind"]);
const MAY_AGAIN = new Set(["look", "twice"]);

interface Event {
  readonly type: number;
  readonly atMs: number;
  readonly epoch: number;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Numbers of events on the wire, as docs and fixtures have them. */
const COMPLETED = 6;
const FAILED = 7;
const CANCELLED = 8;
const STEP_COMPLETED = 16;
const STEP_FAILED = 17;
const GRANTED = 24;
const SUCCEEDED = 25;
const TOOL_FAILED = 26;
const UNKNOWN = 27;
const RESOLVED = 28;
const TIMER_SET = 32;
const TIMER_FIRED = 33;
const SIGNAL = 34;

type CallState = "none" | "granted" | "succeeded" | "failed" | "unknown" | "not-done" | "given-up";

interface CallBook {
  state: CallState;
  tool: string;
  call: string;
  grants: number;
  /** How often it was found not to have happened. */
  notDone: number;
  byPerson: number;
}

interface Row {
  readonly status: string;
  readonly epoch: number;
  readonly owner?: { readonly node: string };
  readonly waiting?: { readonly reason: string; readonly on: readonly string[] };
}

interface JobBook {
  row: Row | undefined;
  uid: string | undefined;
  link: Buffer | undefined;
  seq: number;
  head: { readonly seq: number; readonly link: Buffer } | undefined;
  result: unknown;
  readonly events: Event[];
  /** Whose it is from a revision on; undefined: nobody's. */
  readonly owners: { readonly revision: number; readonly node: string | undefined }[];
  readonly inbox: Map<number, Readonly<Record<string, unknown>>>;
  lastEntry: number;
  readonly calls: Map<string, CallBook>;
  readonly due: Map<string, number>;
  readonly fired: Set<string>;
  readonly received: string[];
}

class Found extends Error {
  readonly check: JobCheck;

  constructor(check: JobCheck, message: string) {
    super(message);
    this.check = check;
  }
}

/** The first rule that is broken; undefined when none is. */
export function checkJobs(books: JobBooks): JobViolation | undefined {
  try {
    const jobs = new Map<string, JobBook>();
    for (const txn of books.stream) applyTxn(jobs, txn, books);
    checkOutside(jobs, books);
    for (const [id, job] of jobs) checkEnd(id, job, books);
    for (const id of books.started) {
      if (!hasEnded(jobs.get(id)?.row)) throw new Found("liveness", `${id} was acknowledged and has not ended`);
    }
    return undefined;
  } catch (error) {
    if (error instanceof Found) return { check: error.check, message: error.message };
    throw error;
  }
}

/** How many events of each number there are: for what a run covered. */
export function eventsOf(stream: readonly StreamTxn[]): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (const { changes } of stream) {
    for (const { key, value } of changes) {
      if (!key.includes("/log/") || value === undefined) continue;
      for (const { type } of pageEvents(value)) counts.set(type, (counts.get(type) ?? 0) + 1);
    }
  }
  return counts;
}

function hasEnded(row: Row | undefined): boolean {
  return row !== undefined && ["completed", "failed", "cancelled"].includes(row.status);
}

function pageEvents(value: unknown): readonly Event[] {
  const [, , events] = value as readonly [number, Uint8Array, readonly Uint8Array[]];
  return events.map((bytes) => {
    const [, type, atMs, epoch, data] = decode(bytes, bytes.byteLength) as
      readonly [number, number, number, number, Readonly<Record<string, unknown>>];
    return { type, atMs, epoch, data };
  });
}

function bookOf(jobs: Map<string, JobBook>, id: string): JobBook {
  const found = jobs.get(id);
  if (found !== undefined) return found;
  const book: JobBook = {
    row: undefined, uid: undefined, link: undefined, seq: 0, head: undefined, result: undefined, events: [],
    owners: [], inbox: new Map(), lastEntry: 0, calls: new Map(), due: new Map(), fired: new Set(), received: [],
  };
  jobs.set(id, book);
  return book;
}

/** What one transaction says of one job, by the end of its key. */
function applyTxn(jobs: Map<string, JobBook>, { revision, changes }: StreamTxn, books: JobBooks): void {
  const byJob = new Map<string, [string, string, unknown][]>();
  for (const { key, value } of changes) {
    const [root = "", a = "", b = "", ...rest] = key.split("/");
    if (root !== "jobs" && root !== "job-data" && root !== "job-inbox") continue;
    if (a !== "000" || b === "") continue;
    byJob.set(b, [...byJob.get(b) ?? [], [root, rest.join("/"), value]]);
  }
  for (const [id, parts] of byJob) {
    const job = bookOf(jobs, id);
    applyToJob(`${id} at revision ${revision}`, job, parts, books);
    if (parts.some(([root]) => root === "jobs")) job.owners.push({ revision, node: job.row?.owner?.node });
  }
}

function applyToJob(
  where: string, job: JobBook, parts: readonly (readonly [string, string, unknown])[], books: JobBooks,
): void {
  const before = job.row;
  const value = (root: string, rest: string): unknown =>
    parts.find(([partRoot, partRest]) => partRoot === root && partRest === rest)?.[2];
  const spec = value("job-data", "spec") as { readonly uid: string } | undefined;
  if (spec !== undefined) {
    if (job.uid !== undefined) throw new Found("terminal", `${where}: what was started changes`);
    job.uid = spec.uid;
    job.link = createHash("sha256").update(`aether-job\n${spec.uid}\n1`).digest();
  }
  const row = value("jobs", "") as Row | undefined;
  if (row !== undefined) applyRow(where, job, row);
  const pages = parts.filter(([, rest]) => rest.startsWith("log/"));
  if (pages.length > 1) throw new Found("chain", `${where}: two pages at once`);
  const added: Event[] = [];
  for (const [, rest, page] of pages) added.push(...applyPage(where, job, rest, page, before));
  const head = value("job-data", "head") as readonly unknown[] | undefined;
  if (head !== undefined) job.head = { seq: head[2] as number, link: Buffer.from(head[3] as Uint8Array) };
  const isHead = job.head?.seq === job.seq && job.link !== undefined && job.head.link.equals(job.link);
  if (!isHead) throw new Found("chain", `${where}: the head is not where the log ends`);
  applyInbox(where, job, parts, added, row);
  for (const event of added) applyEvent(where, job, event, books);
  const result = parts.find(([, rest]) => rest === "result");
  if (result !== undefined) applyResult(where, job, result[2]);
  if (row !== undefined && hasEnded(row)) checkEnding(where, job, before);
}

function applyRow(where: string, job: JobBook, row: Row): void {
  const before = job.row;
  if (hasEnded(before)) throw new Found("terminal", `${where}: ${before?.status} becomes ${row.status}`);
  const epoch = before?.epoch ?? 0;
  const isClaim = row.status === "running" && before?.status !== "running";
  if (isClaim ? row.epoch !== epoch + 1 : row.epoch !== epoch) {
    const change = `${before?.status ?? "none"} becomes ${row.status}`;
    throw new Found("owner", `${where}: epoch ${epoch} becomes ${row.epoch} where ${change}`);
  }
  if (row.status === "running" && before?.status === "running") {
    throw new Found("owner", `${where}: it goes from one owner to another`);
  }
  job.row = row;
}

function applyPage(
  where: string, job: JobBook, rest: string, page: unknown, before: Row | undefined,
): readonly Event[] {
  if (page === undefined) throw new Found("chain", `${where}: a page is deleted`);
  const first = Number(rest.split("/")[2]);
  if (first !== job.seq + 1) throw new Found("chain", `${where}: event ${first} follows event ${job.seq}`);
  const [, prev, bytes] = page as readonly [number, Uint8Array, readonly Uint8Array[]];
  if (job.link === undefined || !job.link.equals(Buffer.from(prev))) {
    throw new Found("chain", `${where}: the link before event ${first} is not that of event ${job.seq}`);
  }
  for (const event of bytes) {
    job.seq += 1;
    const number = Buffer.alloc(4);
    number.writeUInt32BE(job.seq);
    job.link = createHash("sha256").update(job.link).update(number).update(event).digest();
  }
  const events = pageEvents(page);
  const { row } = job;
  const isOwned = row?.status === "running" || before?.status === "running" || before === undefined ||
    row?.status === "waiting";
  for (const { epoch } of events) {
    if (!isOwned) throw new Found("owner", `${where}: events of a job that nobody owns`);
    if (epoch !== row?.epoch) throw new Found("owner", `${where}: an event of epoch ${epoch} in ${row?.epoch}`);
  }
  if (hasEnded(before)) throw new Found("terminal", `${where}: events after the end`);
  job.events.push(...events);
  return events;
}

/** JOB9, and that nothing of it is lost or comes twice. */
function applyInbox(
  where: string, job: JobBook, parts: readonly (readonly [string, string, unknown])[], added: readonly Event[],
  row: Row | undefined,
): void {
  const taken = added.filter(({ type }) => type === SIGNAL).map(({ data }) => data["payload"]);
  for (const [root, rest, value] of parts) {
    if (root !== "job-inbox") continue;
    const n = Number(rest);
    const known = job.inbox.get(n);
    if (value !== undefined) {
      if (n !== job.lastEntry + 1) throw new Found("inbox", `${where}: entry ${n} after ${job.lastEntry}`);
      job.lastEntry = n;
      job.inbox.set(n, value as Readonly<Record<string, unknown>>);
    } else if (known !== undefined) {
      job.inbox.delete(n);
      if (known["kind"] !== "signal") continue;
      const at = taken.indexOf(known["payload"]);
      if (at >= 0) taken.splice(at, 1);
      else if (!hasEnded(row)) throw new Found("inbox", `${where}: the signal ${String(known["payload"])} is dropped`);
    }
  }
  if (taken.length > 0) throw new Found("inbox", `${where}: the signal ${String(taken[0])} comes from nowhere`);
  const waiting = job.row?.status === "waiting" ? job.row.waiting : undefined;
  for (const [n, entry] of waiting === undefined ? [] : job.inbox) {
    if (wakes(entry, waiting?.on ?? [])) {
      throw new Found("inbox", `${where}: it waits for what entry ${n} of its inbox says: ${String(entry["kind"])}`);
    }
  }
}

function wakes(entry: Readonly<Record<string, unknown>>, on: readonly string[]): boolean {
  if (entry["kind"] === "cancel" || entry["kind"] === "resolve") return true;
  if (entry["kind"] === "signal") return on.includes(`signal:${String(entry["signal"])}`);
  return entry["kind"] === "timer" && on.includes(`call:${String(entry["call"])}`);
}

function applyEvent(where: string, job: JobBook, event: Event, books: JobBooks): void {
  const { type, data, atMs } = event;
  const call = nameIn(data);
  if (type === TIMER_SET) job.due.set(call, data["dueMs"] as number);
  if (type === TIMER_FIRED) {
    const dueMs = job.due.get(call);
    if (dueMs === undefined || job.fired.has(call)) throw new Found("timers", `${where}: ${call} fires unset or twice`);
    const earlyMs = dueMs - atMs;
    if (earlyMs > books.timersSkewMs) throw new Found("timers", `${where}: ${call} fires ${earlyMs} ms early`);
    job.fired.add(call);
  }
  if (type === SIGNAL) {
    const payload = String(data["payload"]);
    if (job.received.includes(payload)) throw new Found("inbox", `${where}: the signal ${payload} comes twice`);
    job.received.push(payload);
  }
  if (type >= GRANTED && type <= RESOLVED) applyCall(where, job, event, books);
}

function applyCall(where: string, job: JobBook, { type, data }: Event, books: JobBooks): void {
  const effectId = String(data["effectId"]);
  const book = job.calls.get(effectId) ??
    { state: "none", tool: String(data["tool"]), call: String(data["call"]), grants: 0, notDone: 0, byPerson: 0 };
  job.calls.set(effectId, book);
  const from = book.state;
  const refuse = (what: string): never => {
    throw new Found("ledger", `${where}: ${book.call} is ${from}, and is ${what}`);
  };
  if (type === GRANTED) {
    const mayAgain = from === "unknown" && MAY_AGAIN.has(book.tool);
    if (from !== "none" && from !== "failed" && from !== "not-done" && !mayAgain) refuse("granted");
    book.grants += 1;
    if (data["attempt"] !== book.grants) refuse(`granted as attempt ${String(data["attempt"])}`);
    book.state = "granted";
  } else if (type === SUCCEEDED || type === TOOL_FAILED) {
    if (from !== "granted" && !(type === SUCCEEDED && from === "unknown")) refuse("said to have ended");
    book.state = type === SUCCEEDED ? "succeeded" : "failed";
    if (type === TOOL_FAILED) book.notDone += 1;
    if (type === SUCCEEDED) checkReceipt(where, book, effectId, data["result"], books);
  } else if (type === UNKNOWN) {
    if (from !== "granted") refuse("unknown");
    book.state = "unknown";
  } else {
    applyResolved(where, book, effectId, data, books);
  }
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
  if (by !== "person" && book.tool === "blind") {
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

function checkReceipt(where: string, { call }: CallBook, effectId: string, result: unknown, books: JobBooks): void {
  if (books.receipts.get(effectId)?.includes(String(result)) === true) return;
  throw new Found("ledger", `${where}: ${call} has the result ${String(result)}, which the other side never gave`);
}

function applyResult(where: string, job: JobBook, bytes: unknown): void {
  if (job.result !== undefined || !(bytes instanceof Uint8Array)) {
    throw new Found("terminal", `${where}: its result changes`);
  }
  job.result = decode(bytes, bytes.byteLength);
}

function checkEnding(where: string, job: JobBook, before: Row | undefined): void {
  if (before?.status !== "running") throw new Found("terminal", `${where}: it ends out of ${before?.status ?? "none"}`);
  const kind = (job.result as { readonly kind: string } | undefined)?.kind;
  const last = { [COMPLETED]: "completed", [FAILED]: "failed", [CANCELLED]: "cancelled" }[job.events.at(-1)?.type ?? 0];
  if (kind !== job.row?.status || last !== kind) {
    throw new Found("terminal", `${where}: row, result and last event say ${job.row?.status}, ${kind}, ${last}`);
  }
  for (const { call, state } of job.calls.values()) {
    const isOpen = state === "granted" || state === "unknown";
    if (isOpen) throw new Found("terminal", `${where}: it ends while ${call} is ${state}`);
  }
}

/** Whose the job was, as far as anybody knew at that time. */
function ownerAt({ owners }: JobBook, atMs: number, { revisions }: JobBooks): string | undefined {
  const known = Math.max(0, ...revisions.filter((one) => one.atMs <= atMs).map(({ revision }) => revision));
  return owners.findLast(({ revision }) => revision <= known)?.node;
}

/** What was sent, against what was granted: JOB3, JOB4, and that nothing happens twice. */
function checkOutside(jobs: ReadonlyMap<string, JobBook>, books: JobBooks): void {
  const { requests, grantsAnswered } = books;
  const calls = new Map([...jobs.values()].flatMap(({ calls }) => [...calls]));
  const jobOf = new Map([...jobs.values()].flatMap((job) => [...job.calls.keys()].map((key) => [key, job])));
  const byKey = new Map<string, SentRequest[]>();
  for (const request of requests) byKey.set(request.key, [...byKey.get(request.key) ?? [], request]);
  for (const [key, sent] of byKey) {
    const book = calls.get(key);
    const first = sent[0];
    const name = `${first?.tool ?? ""} ${book?.call ?? key}`;
    if (book === undefined) throw new Found("dispatch", `${name} was sent under an id that no log has`);
    if (sent.length > book.grants) throw new Found("dispatch", `${name}: ${sent.length} sent, ${book.grants} granted`);
    for (const { from, sentAtMs } of sent) {
      const before = grantsAnswered.filter(({ node, effectId, atMs }) =>
        node === from && effectId === key && atMs <= sentAtMs).length;
      const already = sent.filter((other) => other.from === from && other.sentAtMs <= sentAtMs).length;
      if (already > before) throw new Found("dispatch", `${name} was sent by ${from} before its grant was stored`);
      const job = jobOf.get(key);
      const owner = job === undefined ? undefined : ownerAt(job, sentAtMs, books);
      if (owner !== from) {
        const whose = `when the job was ${owner ?? "nobody"}'s`;
        throw new Found("dispatch", `${name} was sent by ${from} at ${sentAtMs} ms, ${whose}`);
      }
    }
    if (!ONCE.has(book.tool)) continue;
    if (sent.length > 1 + book.notDone) {
      throw new Found("effects", `${name}: ${sent.length} sent, found not to have happened ${book.notDone} times`);
    }
    const done = sent.filter(({ isDone }) => isDone).length;
    if (done > 1) throw new Found("effects", `${name} happened ${done} times`);
  }
}

/** What the code saw is what its log says, in that order; no step began that was stored. */
function checkEnd(id: string, job: JobBook, books: JobBooks): void {
  for (const { label, atMs } of books.stepsBegun.filter((begun) => begun.job === id)) {
    const storedMs = books.stepsStored.get(`${id} ${label}`);
    if (storedMs !== undefined && atMs > storedMs) throw new Found("replay", `${id}: the step ${label} began again`);
  }
  const unknown = job.received.find((payload) => books.signals.get(id)?.includes(payload) !== true);
  if (unknown !== undefined) throw new Found("inbox", `${id} received ${unknown}, which nobody sent`);
  const end = job.result as { readonly kind: string; readonly output?: { readonly seen: Seen } } | undefined;
  if (end?.kind !== "completed") return;
  const seen = end.output?.seen ?? [];
  const logged = job.events.flatMap(deliveryOf);
  for (const [at, [label, value]] of seen.entries()) {
    const [call = "", given] = logged[at] ?? [];
    const isCall = call.includes(`${label}#`) || call.includes("told#");
    const isValue = typeof given !== "string" || given === value;
    if (!isCall || !isValue) {
      throw new Found("replay", `${id}: its code saw ${label} = ${JSON.stringify(value)} as number ${at + 1}, ` +
        `its log says ${call} = ${JSON.stringify(given)}`);
    }
  }
  if (logged.length !== seen.length) {
    throw new Found("replay", `${id}: its code saw ${seen.length} values, its log has ${logged.length}`);
  }
}

/** What an event gave to the code: the call, and the value if it is one that is known here. */
function deliveryOf({ type, data }: Event): readonly (readonly [string, unknown])[] {
  const call = nameIn(data);
  if (type === STEP_COMPLETED) return [[call, data["value"]]];
  if (type === SUCCEEDED) return [[call, data["result"]]];
  if (type === SIGNAL) return [[call, data["payload"]]];
  if (type === STEP_FAILED || type === TOOL_FAILED || type === TIMER_FIRED) return [[call, undefined]];
  if (type !== RESOLVED) return [];
  const resolution = data["resolution"] as { readonly kind: string; readonly result?: unknown };
  return resolution.kind === "done" ? [[call, resolution.result]] : [];
}

function nameIn(data: Event["data"]): string {
  const { call } = data;
  return typeof call === "string" ? call : "";
}
