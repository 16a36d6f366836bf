// Owns: whether what jobs did is what they may do, by books of its own: the store's changes as every replica has them,
// what the world outside counted, what clients were told, what steps ran. It shares no rule with the code under test:
// keys are split, rows and events decoded, hashes made here.
import { createHash } from "node:crypto";
import { decode } from "../../../src/base/codec.ts";
import { checkAccount } from "./account-check.ts";
import { checkFamilies, type Changed } from "./family-check.ts";
import {
  callIn, createBook, E, Found, hasEnded, pageEvents,
  type Account, type Event, type Head, type JobBook, type JobCheck, type Outgoing, type Row, type Spec,
} from "./job-book.ts";
import type { JobBooks, StreamTxn } from "./job-books.ts";
import { applyCall, checkDecided } from "./ledger-check.ts";
import { checkOutside } from "./outside-check.ts";
import { checkNotices } from "./notice-check.ts";
import { RateCheck } from "./rate-check.ts";
import { applyRepeat, repeatIn } from "./repeat-check.ts";
import { ScheduleCheck } from "./schedule-check.ts";
import { checkSeen } from "./replay-check.ts";
import { PLAYER, RUNNING_MAX } from "./player.ts";

export interface JobViolation {
  readonly check: JobCheck;
  readonly message: string;
}

/** The first rule that is broken; undefined when none is. */
export function checkJobs(books: JobBooks): JobViolation | undefined {
  try {
    const jobs = new Map<string, JobBook>();
    const rates = new RateCheck(books);
    const schedules = new ScheduleCheck(books);
    for (const txn of books.stream) {
      const changed = applyTxn(jobs, txn, books);
      rates.add(txn, changed);
      for (const { where, job, isNew } of changed) if (isNew) schedules.add(where, job);
    }
    checkOutside(jobs, books);
    checkNotices(jobs, books);
    for (const job of jobs.values()) checkSeen(job, books);
    for (const id of [...books.started, ...jobs.keys()]) {
      if (!hasEnded(jobs.get(id)?.row)) throw new Found("liveness", `${id} was started and has not ended`);
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

/** All jobs, and which node has had each last. */
export function jobsIn(stream: readonly StreamTxn[]): readonly { readonly id: string; readonly lastNode: string }[] {
  const nodes = new Map<string, string>();
  for (const { changes } of stream) {
    for (const { key, value } of changes) {
      const [root, , id = ""] = key.split("/");
      if (root === "jobs") nodes.set(id, (value as Row | undefined)?.owner?.node ?? nodes.get(id) ?? "");
    }
  }
  return [...nodes].map(([id, lastNode]) => ({ id, lastNode }));
}

type Part = readonly [root: string, rest: string, value: unknown];

/** What one transaction says of each job, by the end of its key. */
function applyTxn(
  jobs: Map<string, JobBook>, { revision, changes }: StreamTxn, books: JobBooks,
): readonly Changed[] {
  const byJob = new Map<string, Part[]>();
  for (const { key, value } of changes) {
    const [root = "", a = "", b = "", ...rest] = key.split("/");
    if (!["jobs", "job-data", "job-inbox", "job-outbox"].includes(root) || a !== "000" || b === "") continue;
    byJob.set(b, [...byJob.get(b) ?? [], [root, rest.join("/"), value]]);
  }
  const changed = [...byJob].map(([id, parts]): Changed => {
    const job = jobs.get(id) ?? createBook(id);
    jobs.set(id, job);
    const where = `${id} at revision ${revision}`;
    const before = job.row;
    const added = applyToJob(where, job, parts, { books, old: repeatedIn(jobs, job, parts) });
    if (parts.some(([root]) => root === "jobs")) job.owners.push({ revision, node: job.row?.owner?.node });
    return { where, job, before, added, isNew: before === undefined && job.row !== undefined, parts };
  });
  checkFamilies(jobs, changed);
  const running = [...jobs.values()].filter(({ row }) => row?.status === "running" && row.agent === PLAYER).length;
  if (running > RUNNING_MAX) throw new Found("places", `${running} jobs run at revision ${revision}`);
  return changed;
}

/** The job that this one, which begins, does again. */
function repeatedIn(
  jobs: ReadonlyMap<string, JobBook>, { row }: JobBook, parts: readonly Part[],
): JobBook | undefined {
  if (row !== undefined) return undefined;
  const pages = parts.filter(([, rest]) => rest.startsWith("log/")).sort(byKey);
  const of = repeatIn(pages.flatMap(([, , page]) => pageEvents(page)));
  return jobs.get(of ?? "");
}

function applyToJob(
  where: string, job: JobBook, parts: readonly Part[],
  { books, old }: { readonly books: JobBooks; readonly old: JobBook | undefined },
): readonly Event[] {
  const before = job.row;
  const value = (root: string, rest: string): unknown =>
    parts.find(([partRoot, partRest]) => partRoot === root && partRest === rest)?.[2];
  const row = value("jobs", "") as Row | undefined;
  if (row !== undefined) applyRow(where, job, row, old);
  const spec = value("job-data", "spec") as Spec | undefined;
  const specBefore = job.spec;
  if (spec !== undefined) {
    job.spec = spec;
    job.link ??= firstLink(spec.uid, row?.run ?? 1);
  }
  const added: Event[] = [];
  for (const [, rest, page] of parts.filter(([, part]) => part.startsWith("log/")).sort(byKey)) {
    if (added.length > 0 && old === undefined) beginRun(where, job, added, value("job-data", runKeyOf(before)));
    added.push(...applyPage(where, job, rest, page, before));
  }
  checkRun(where, job, { before, specBefore, spec, added });
  const head = value("job-data", "head") as readonly unknown[] | undefined;
  if (head !== undefined) job.head = headOf(head);
  const isHead = job.head?.seq === job.seq && job.head.run === job.row?.run && job.link !== undefined &&
    job.head.link.equals(job.link);
  if (!isHead) throw new Found("chain", `${where}: the head is not where the log ends`);
  if (old !== undefined) applyRepeat(where, { job, old, added }, books);
  const own = old === undefined ? added : [];
  applyInbox(where, job, parts, own, row);
  for (const [root, rest, outgoing] of parts) if (root === "job-outbox") noteOutgoing(job, rest, outgoing);
  for (const event of own) applyEvent(where, job, event, books);
  // What a run had asked that ends with this is nobody's business any more.
  if (!own.some(({ type }) => type === E.continued)) {
    for (const event of own) job.told.add(job.events.indexOf(event));
  }
  checkAccount(where, job, added);
  const result = parts.find(([, rest]) => rest === "result");
  if (result !== undefined) applyResult(where, job, result[2]);
  if (row !== undefined && hasEnded(row)) checkEnding(where, job, before);
  return own;
}

function byKey([, one]: Part, [, other]: Part): number {
  return one < other ? -1 : 1;
}

function firstLink(uid: string, run: number): Buffer {
  return createHash("sha256").update(`aether-job\n${uid}\n${run}`).digest();
}

function headOf([, run, seq, link, , , , , account]: readonly unknown[]): Head {
  return {
    run: run as number, seq: seq as number, link: Buffer.from(link as Uint8Array),
    account: account as Account | undefined,
  };
}

function applyRow(where: string, job: JobBook, row: Row, old: JobBook | undefined): void {
  const before = job.row;
  if (hasEnded(before)) throw new Found("terminal", `${where}: ${before?.status} becomes ${row.status}`);
  const epoch = before?.epoch ?? old?.row?.epoch ?? 0;
  const isStuckAtClaim = before?.status === "pending" && row.waiting?.reason === "stuck";
  const isClaim = isStuckAtClaim || (row.status === "running" && before?.status !== "running");
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
  const run = Number(rest.split("/")[1]);
  const isMove = events.every(({ type }) => type === E.moved) && before?.status !== "running";
  const isOwned = row?.status === "running" || before?.status === "running" || before === undefined ||
    row?.status === "waiting" || isMove;
  for (const { epoch } of events) {
    if (!isOwned) throw new Found("owner", `${where}: events of a job that nobody owns`);
    // One that does another one again begins with its events.
    const isOf = before === undefined ? epoch <= (row?.epoch ?? 0) : epoch === row?.epoch;
    if (!isOf) throw new Found("owner", `${where}: an event of epoch ${epoch} in ${row?.epoch ?? 0}`);
  }
  if (hasEnded(before)) throw new Found("terminal", `${where}: events after the end`);
  job.numbers.push(...events.map((_event, index) => ({ run, seq: first + index })));
  job.events.push(...events);
  return events;
}

function runKeyOf(row: Row | undefined): string {
  return `runs/${String(row?.run ?? 0).padStart(6, "0")}`;
}

/** One run has ended, and the next one's log begins: the row that is kept of the one ends where its log does. */
function beginRun(where: string, job: JobBook, added: readonly Event[], kept: unknown): void {
  if (added.at(-1)?.type !== E.continued) throw new Found("chain", `${where}: two pages at once`);
  const head = (kept as { readonly head: readonly unknown[] } | undefined)?.head;
  const left = head === undefined ? undefined : headOf(head);
  if (left?.seq !== job.seq || job.link === undefined || !left.link.equals(job.link)) {
    throw new Found("runs", `${where}: how its run was left is not where its log ends`);
  }
  job.seq = 0;
  job.link = firstLink(job.spec?.uid ?? "", job.row?.run ?? 0);
}

interface RunChange {
  readonly before: Row | undefined;
  readonly specBefore: Spec | undefined;
  readonly spec: Spec | undefined;
  readonly added: readonly Event[];
}

/** What is started stands as it is, unless a run ends for the next one. */
function checkRun(where: string, job: JobBook, { before, specBefore, spec, added }: RunChange): void {
  const at = added.findIndex(({ type }) => type === E.continued);
  const isSame = before === undefined || job.row?.run === before.run;
  if (at < 0) {
    if (!isSame) throw new Found("runs", `${where}: it is of another run, which its log does not say`);
    const isChanged = specBefore !== undefined && spec !== undefined;
    if (isChanged) throw new Found("terminal", `${where}: what was started changes`);
    return;
  }
  const [ended, begun, ...more] = added.slice(at);
  const refuse = (what: string): never => {
    throw new Found("runs", `${where}: it continues, ${what}`);
  };
  if (begun?.type !== E.created || more.length > 0) refuse("and its new log does not begin as one");
  if (job.row?.run !== (before?.run ?? 0) + 1 || ended?.data["run"] !== job.row.run) refuse("and skips a run");
  if (job.row?.status !== "pending") refuse(`and is ${job.row?.status}`);
  const digests = new Set([ended?.data["inputDigest"], begun?.data["inputDigest"], spec?.inputDigest]);
  if (digests.size > 1) refuse("and the new run has another input than was said");
  if (spec?.uid !== specBefore?.uid) refuse("and is another job");
  // What is stored apart is not known here.
  const isKnown = spec?.inputBlob === undefined && specBefore?.inputBlob === undefined;
  if (isKnown && programsOf(spec) !== programsOf(specBefore) - 1) refuse("and not with what is left of its programs");
}

function programsOf(spec: Spec | undefined): number {
  const { programs = [] } = (spec?.input ?? {}) as { readonly programs?: readonly unknown[] };
  return programs.length;
}

/** How the row of a job begins to say why it holds still. */
const HELD = "it was asked to hold still";

/** JOB9, and that nothing of it is lost or comes twice. */
function applyInbox(
  where: string, job: JobBook, parts: readonly Part[], added: readonly Event[], row: Row | undefined,
): void {
  const taken = added.filter(({ type }) => type === E.signal).map(({ data }) => data["payload"]);
  for (const [root, rest, value] of parts) {
    if (root !== "job-inbox") continue;
    const n = Number(rest);
    const known = job.inbox.get(n);
    if (value !== undefined) {
      if (n !== job.lastEntry + 1) throw new Found("inbox", `${where}: entry ${n} after ${job.lastEntry}`);
      const entry = value as Readonly<Record<string, unknown>>;
      job.lastEntry = n;
      job.inbox.set(n, entry);
      job.isCancelled ||= entry["kind"] === "cancel";
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
    // Of one that nobody can run, a cancel waits for what people say of its calls.
    if (entry["kind"] === "cancel" && waiting?.reason === "stuck" && hasDoubts(job)) continue;
    // One that holds still waits for its move alone: then it is pending again, and reads what there is.
    if (entry["kind"] === "resolve" && waiting?.why?.startsWith(HELD) === true) continue;
    if (wakes(entry, waiting?.on ?? [])) {
      throw new Found("inbox", `${where}: it waits for what entry ${n} of its inbox says: ${String(entry["kind"])}`);
    }
  }
}

function hasDoubts({ calls }: JobBook): boolean {
  return [...calls.values()].some(({ state }) => state === "unknown");
}

function wakes(entry: Readonly<Record<string, unknown>>, on: readonly string[]): boolean {
  const call = String(entry["call"]);
  switch (entry["kind"]) {
    case "cancel":
    case "resolve":
    case "release":
      return true;
    case "signal":
      return on.includes(`signal:${String(entry["signal"])}`);
    case "timer":
      return on.includes(`call:${call}`);
    case "decision":
      return on.includes(`approval:${call}`);
    case "child-completed":
    case "child-failed":
      return on.includes("child");
    case "raise":
      return on.includes("budget");
    default:
      return false;
  }
}

function noteOutgoing(job: JobBook, rest: string, value: unknown): void {
  // What goes is looked at by the check of families, which forgets it then.
  if (value !== undefined) job.outbox.set(rest, value as Outgoing);
}

function applyEvent(where: string, job: JobBook, event: Event, books: JobBooks): void {
  const { type, data } = event;
  const call = callIn(event);
  if (type === E.timerSet) job.due.set(call, data["dueMs"] as number);
  if (type === E.approvalRequested && data["untilMs"] !== undefined) job.due.set(call, data["untilMs"] as number);
  if (type === E.timerFired) checkFired(where, job, call, books);
  if (type === E.created) job.nowMs = 0;
  if (type === E.value) checkNow(where, job, event);
  if (type === E.waiting) checkStuck(where, job, data);
  if (type === E.moved && job.row?.pin !== data["to"]) throw new Found("runs", `${where}: it was moved and is not`);
  if (type === E.signal) {
    const payload = String(data["payload"]);
    if (job.received.includes(payload)) throw new Found("inbox", `${where}: the signal ${payload} comes twice`);
    job.received.push(payload);
  }
  if (type === E.approvalDecided) checkDecided(where, job, event, books);
  if ((type >= E.granted && type <= E.resolved) || type === E.verified) applyCall(where, job, event, books);
}

function checkFired(where: string, job: JobBook, call: string, books: JobBooks): void {
  const dueMs = job.due.get(call);
  if (dueMs === undefined || job.fired.has(call)) throw new Found("timers", `${where}: ${call} fires unset or twice`);
  const earlyMs = dueMs - books.wallMsAt(books.fired.get(`${job.id} ${call}`) ?? 0);
  if (earlyMs > books.timersSkewMs) throw new Found("timers", `${where}: ${call} fires ${earlyMs.toFixed(0)} ms early`);
  job.fired.add(call);
}

function checkNow(where: string, job: JobBook, { data: { value } }: Event): void {
  const nowMs = Number(value);
  if (nowMs < job.nowMs) throw new Found("timers", `${where}: the time that its code sees goes back`);
  job.nowMs = nowMs;
}

/** For a person who has asked for it, or because of what a tool has found out: there is no other reason here. */
function checkStuck(where: string, job: JobBook, { reason, why = "" }: Event["data"]): void {
  const isKnown = /asked to hold still|^E_EFFECT_MISMATCH/.test(String(why));
  if (reason === "stuck" && !isKnown) throw new Found("replay", `${where}: it is stuck: ${String(why)}`);
}

function applyResult(where: string, job: JobBook, bytes: unknown): void {
  if (job.result !== undefined || !(bytes instanceof Uint8Array)) {
    throw new Found("terminal", `${where}: its result changes`);
  }
  job.result = decode(bytes, bytes.byteLength) as JobBook["result"];
}

const ENDS: Readonly<Record<number, string>> = {
  [E.completed]: "completed", [E.failed]: "failed", [E.cancelled]: "cancelled",
};

function checkEnding(where: string, job: JobBook, before: Row | undefined): void {
  if (before?.status !== "running") throw new Found("terminal", `${where}: it ends out of ${before?.status ?? "none"}`);
  const kind = job.result?.kind;
  const last = ENDS[job.events.at(-1)?.type ?? 0];
  if (kind !== job.row?.status || last !== kind) {
    throw new Found("terminal", `${where}: row, result and last event say ${job.row?.status}, ${kind}, ${last}`);
  }
  for (const { call, state } of job.calls.values()) {
    const isOpen = state === "granted" || state === "unknown";
    if (isOpen) throw new Found("terminal", `${where}: it ends while ${call} is ${state}`);
  }
}
