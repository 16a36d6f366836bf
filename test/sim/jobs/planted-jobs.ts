// Owns: faults of jobs that are planted to prove the checker: between a node and its store, where a transaction loses
// one of its conditions, and between a node and the workers of its agents. The software under test is as it is.
import { decode, encode } from "../../../src/base/codec.ts";
import { HOUR_MS } from "../../../src/base/units.ts";
import { sha256 } from "../../../src/base/digest.ts";
import type { WorkersPort, WorkerSpec } from "../../../src/env/workers.ts";
import type { SeedRule } from "../../../src/kvstore/state-seed.ts";
import type { Compare, Txn, TxnResult } from "../../../src/kvstore/core/schema.ts";

export const JOB_FAULTS = [
  "owner-not-compared", "inbox-not-compared", "entries-not-numbered", "seen-not-compared", "epoch-stands-still",
  "grant-not-awaited", "fence-ignored", "effect-id-with-attempt",
  "unknown-retried", "settle-skipped", "replay-forgets", "replay-out-of-order",
  "places-not-compared", "account-not-settled", "cost-not-reserved", "rate-not-taken", "rejected-goes-on",
  "child-told-twice", "child-cancel-forgotten", "child-output-other", "run-not-kept", "move-keeps-pin",
  "look-not-taken", "steps-miscounted", "replay-skips",
  "repeat-not-compared", "repeat-other-effects", "notice-not-written", "notice-not-kept",
  "tick-key-forgotten", "tick-job-forgotten", "tick-late",
] as const;
/** Of clusters that begin from a backup. */
export const RESTORE_FAULTS = ["restored-runs", "restored-forgets", "restored-taken-over", "backup-behind"] as const;
export type JobFault = (typeof JOB_FAULTS)[number] | (typeof RESTORE_FAULTS)[number];

/** What each does, for the table of docs/RELIABILITY.md. */
export const JOB_FAULT_TEXTS: Readonly<Record<JobFault, string>> = {
  "owner-not-compared": "an owner appends without comparing that the job and its log are as it left them",
  "inbox-not-compared": "a job begins to wait without comparing that it has seen its whole inbox",
  "entries-not-numbered": "who puts something into an inbox does not compare its count",
  "seen-not-compared": "a signal that is sent again under its key is a second one",
  "epoch-stands-still": "a claim does not raise the epoch",
  "grant-not-awaited": "a tool is called before its grant is stored",
  "fence-ignored": "a worker does not look whether its node still owns the job",
  "effect-id-with-attempt": "the id that a tool is given contains the attempt",
  "unknown-retried": "a call whose outcome is unknown is made again, also of a `once` tool",
  "settle-skipped": "a plain \"not done\" is believed at once",
  "replay-forgets": "code that runs again is not given its log",
  "replay-out-of-order": "code that runs again is given the values of its log in another order",
  "places-not-compared": "a claim does not compare that the job's place is free",
  "account-not-settled": "what a job has spent of its budget is not kept",
  "cost-not-reserved": "a call is granted without its cost being reserved",
  "rate-not-taken": "a call that keeps a rate takes no token",
  "rejected-goes-on": "code is told that people have approved what they rejected",
  "child-told-twice": "that the end of a child was told is not noted",
  "child-cancel-forgotten": "children of a job that ends are not told to",
  "child-output-other": "a parent is told another output than its child's",
  "run-not-kept": "how a run was left that a job continues after is not kept",
  "move-keeps-pin": "a job that is moved keeps its version",
  "look-not-taken": "a tool that is to look what became of a call is taken to have found all well",
  "steps-miscounted": "the head of a job counts a step too many",
  "replay-skips": "whoever replays a job is not given all of its log",
  "repeat-not-compared": "who does a job again does not compare that nobody else has",
  "repeat-other-effects": "a job that does another one again has effect ids of its own",
  "notice-not-written": "what a webhook is to hear of a job is not written with it",
  "restored-runs": "jobs of a backup go on by themselves",
  "restored-forgets": "jobs of a backup take what their logs do not say for not done",
  "restored-taken-over": "jobs of a backup forget that they are of one once their first owner has let them go",
  "tick-key-forgotten": "the key under which a schedule starts the job of a tick is not kept",
  "tick-job-forgotten": "a schedule forgets which job it has started last",
  "tick-late": "a schedule takes a tick for one that comes an hour later",
  "backup-behind": "a backup is of a moment before it was asked for",
  "notice-not-kept": "what a webhook did not take is not told again",
};

type Message = Readonly<Record<string, unknown>>;

/** What is in the way of each transaction of a node. */
export type Tamper = (txn: Txn, go: (txn: Txn) => Promise<TxnResult>) => Promise<TxnResult>;

const NEVER_MS = 8n * 10n ** 17n;

export function tamperWith(fault: JobFault | undefined): Tamper {
  switch (fault) {
    case "owner-not-compared":
      return (txn, go) => go(isOwners(txn) && !isStart(txn) ? without(txn, isOfOwner) : txn);
    case "inbox-not-compared":
      return (txn, go) => go(isOwners(txn) ? without(txn, ({ key }) => key.endsWith("/inbox")) : txn);
    case "entries-not-numbered":
      return (txn, go) => go(isTelling(txn) ? without(txn, ({ key }) => key.endsWith("/inbox")) : txn);
    case "seen-not-compared":
      return (txn, go) => go(isTelling(txn) ? without(txn, ({ key }) => key.includes("/seen/")) : txn);
    case "epoch-stands-still":
      return (txn, go) => go(isOwners(txn) ? withOldEpoch(txn) : txn);
    case "grant-not-awaited":
      return (txn, go) => (isGrant(txn) ? answerEarly(txn, go) : go(txn));
    case "places-not-compared":
      return (txn, go) => go(without(txn, ({ key }) => key.startsWith("job-permits/")));
    case "account-not-settled":
      return (txn, go) => go(withHead(txn, (head) => head.map((part, at) => (at === ACCOUNT ? unspent(part) : part))));
    case "steps-miscounted":
      return (txn, go) => go(withHead(txn, (head) => head.map((part, at) => (at === STEPS ? Number(part) + 1 : part))));
    case "rate-not-taken":
      return (txn, go) => go(txn.compare.some(({ key }) => key === "leader")
        ? txn
        : withPut(txn, "job-rates/", (rate) => ({ ...rate, tokens: rate["burst"] })));
    case "child-told-twice":
      return (txn, go) => go(isTelling(txn) ? withoutOutbox(txn) : txn);
    case "child-cancel-forgotten":
      return (txn, go) => go(withPut(txn, "job-outbox/", (told) => ({ ...told, cancel: [] })));
    case "child-output-other":
      return (txn, go) => go(withPut(txn, "job-inbox/", (entry) =>
        (entry["kind"] === "child-completed" ? { ...entry, output: encode("other") } : entry)));
    case "run-not-kept":
      return (txn, go) => go({ ...txn, then: txn.then.filter(({ key }) => !key.includes("/runs/")) });
    case "notice-not-written":
      return (txn, go) => go({ ...txn, then: txn.then.filter(({ kind, key }) => kind !== "put" || !isNotice(key)) });
    case "notice-not-kept":
      return (txn, go) => go({
        ...txn, then: txn.then.map((op) => (isOwners(txn) || !isNotice(op.key) ? op : { kind: "delete", key: op.key })),
      });
    case "repeat-not-compared":
      return (txn, go) => go(isRepeat(txn) ? without(txn, isOfRepeated) : txn);
    case "repeat-other-effects":
      return (txn, go) => go(isRepeat(txn)
        ? withValue(txn, (key) => key.endsWith("/spec"), (spec) => ({ ...(spec as Message), effectUid: OTHER_UID }))
        : txn);
    case "tick-key-forgotten":
      return (txn, go) => go(txn.then.some(isStartOfTick)
        ? { ...txn, then: txn.then.filter(({ key }) => !key.startsWith("job-starts/")) }
        : txn);
    case "tick-job-forgotten":
      return (txn, go) => go(withPut(txn, "agent-schedules/", ({ job: _job, ...row }) => row));
    case "tick-late":
      return (txn, go) => go(withPut(txn, "agent-schedules/", (row) => (row["state"] === "done"
        ? { ...row, tickMs: Number(row["tickMs"]) + HOUR_MS }
        : row)));
    case "move-keeps-pin":
      return (txn, go) => go(withPinOfMove(txn));
    case "restored-taken-over":
      return (txn, go) => go(withPut(txn, "jobs/", ({ restored, ...row }) =>
        (restored === undefined || row["status"] === "running" ? row : { ...row, restored })));
    default:
      return (txn, go) => go(txn);
  }
}

/** What becomes of rows when a cluster begins from a backup. */
export function rulesWith(fault: JobFault | undefined, rules: readonly SeedRule[]): readonly SeedRule[] {
  switch (fault) {
    case "restored-runs":
      return [];
    case "restored-forgets":
      return rules.map(({ prefix, fateOf }) => ({
        prefix,
        fateOf: (row, read) => {
          const fate = fateOf(row, read);
          if (fate.kind !== "put" || prefix !== "jobs/") return fate;
          const { restored: _restored, ...value } = fate.value as Message;
          return { kind: "put", value };
        },
      }));
    default:
      return rules;
  }
}

function isNotice(key: string): boolean {
  return key.startsWith("job-notices/");
}

const OTHER_UID = "0123456789abcdef0123456789abcdef";

function isRepeat({ then }: Txn): boolean {
  return then.some(({ key }) => isRepeatKey(key));
}

function isRepeatKey(key: string): boolean {
  return key.endsWith("/repeat");
}

/** Of the job that is done again, and of what says so. */
function isOfRepeated({ key, value }: Compare): boolean {
  return isRepeatKey(key) || (key.startsWith("jobs/") && value !== 0);
}

/** Places in the head of a job. */
const STEPS = 7;
const ACCOUNT = 8;

function withHead(txn: Txn, change: (head: readonly unknown[]) => readonly unknown[]): Txn {
  return withValue(txn, (key) => key.endsWith("/head"), (head) => change(head as readonly unknown[]));
}

function withPut(txn: Txn, prefix: string, change: (value: Message) => Message): Txn {
  return withValue(txn, (key) => key.startsWith(prefix), (value) => change(value as Message));
}

function withValue(txn: Txn, isMeant: (key: string) => boolean, change: (value: unknown) => unknown): Txn {
  const then = txn.then.map((op) => (op.kind === "put" && isMeant(op.key) ? { ...op, value: change(op.value) } : op));
  return { ...txn, then };
}

function unspent(account: unknown): unknown {
  return account === undefined ? undefined : { ...account, spent: {} };
}

function withoutOutbox(txn: Txn): Txn {
  const then = txn.then.filter(({ kind, key }) => kind !== "delete" || !key.startsWith("job-outbox/"));
  return { ...without(txn, ({ key }) => key.startsWith("job-outbox/")), then };
}

/** Its only event says from which to which version. */
function withPinOfMove(txn: Txn): Txn {
  const page = txn.then.find(({ key }) => key.includes("/log/"));
  const [, , [event] = []] = (page?.kind === "put" ? page.value : []) as
    readonly [number, Uint8Array, readonly Uint8Array[]];
  const from = event === undefined ? undefined : fromIn(event);
  return from === undefined ? txn : withPut(txn, "jobs/", (row) => ({ ...row, pin: from }));
}

function fromIn(event: Uint8Array): unknown {
  const [, , , , data] = decode(event, event.byteLength) as readonly [number, number, number, number, Message];
  return data["toArtifact"] === undefined ? undefined : data["from"];
}

function isOwners({ then }: Txn): boolean {
  return then.some(({ kind, key }) => kind === "put" && key.endsWith("/head"));
}

function isTelling(txn: Txn): boolean {
  return !isOwners(txn) && txn.then.some(({ kind, key }) => kind === "put" && key.startsWith("job-inbox/"));
}

function isStart({ then }: Txn): boolean {
  return then.some(({ key }) => key.endsWith("/spec"));
}

function isOfOwner({ key }: Compare): boolean {
  return key.startsWith("jobs/") || key.endsWith("/head");
}

/** The row of a job that a schedule starts. */
export function isStartOfTick(op: Txn["then"][number]): boolean {
  if (op.kind !== "put" || !op.key.startsWith("jobs/")) return false;
  const { status, run, attributes } = op.value as {
    readonly status: string; readonly run: number; readonly attributes: Readonly<Record<string, string>>;
  };
  return status === "pending" && run === 1 && "tick" in attributes;
}

/** Of the first run, or of a later one. */
export function isLedgerKey(key: string): boolean {
  return key.includes("/tools/") || key.includes("/run-tools/");
}

function isGrant({ then }: Txn): boolean {
  return then.some((op) => op.kind === "put" && isLedgerKey(op.key) &&
    (op.value as { readonly state: string }).state === "granted");
}

function without(txn: Txn, isDropped: (compare: Compare) => boolean): Txn {
  return { ...txn, compare: txn.compare.filter((compare) => !isDropped(compare)) };
}

function withOldEpoch(txn: Txn): Txn {
  const then = txn.then.map((op) => {
    if (op.kind !== "put" || !op.key.startsWith("jobs/")) return op;
    const row = op.value as { readonly status: string; readonly epoch: number };
    return row.status === "running" && row.epoch > 1 ? { ...op, value: { ...row, epoch: row.epoch - 1 } } : op;
  });
  return { ...txn, then };
}

/** As if it were stored: the owner goes on at once. */
async function answerEarly(txn: Txn, go: (txn: Txn) => Promise<TxnResult>): Promise<TxnResult> {
  const stored = go(txn);
  // ignored: nobody waits for it.
  stored.catch(() => undefined);
  await Promise.resolve();
  return { succeeded: true, revision: 0, results: txn.then.map(() => ({ kind: "put" })) };
}

/** What is in the way of what nodes and the workers of their agents say to each other. */
export function tamperWithWorkers(fault: JobFault | undefined, workers: WorkersPort): WorkersPort {
  const change = fault === undefined ? undefined : CHANGES[fault];
  if (change === undefined) return workers;
  return {
    memoryBytes: () => workers.memoryBytes(),
    threadsNowMs: () => workers.threadsNowMs(),
    signalChild: (pid, signal) => workers.signalChild(pid, signal),
    spawn: (spec, handlers) => {
      if (spec.role !== "agents") return workers.spawn(spec, handlers);
      const { toAgent = same, fromAgent = same, start = (one: WorkerSpec) => one } = change;
      const handle = workers.spawn(start(spec), {
        ...handlers,
        onMessage: (turn) => handlers.onMessage(eachAgentMessage(turn, fromAgent)),
      });
      return { post: (turn) => handle.post(eachAgentMessage(turn, toAgent)), terminate: () => handle.terminate() };
    },
  };
}

interface Change {
  readonly toAgent?: (message: Message) => Message;
  readonly fromAgent?: (message: Message) => Message;
  readonly start?: (spec: WorkerSpec) => WorkerSpec;
}

const same = (message: Message): Message => message;

const CHANGES: Readonly<Partial<Record<JobFault, Change>>> = {
  "fence-ignored": {
    start: (spec) => ({ ...spec, data: { ...(spec.data as object), fence: openFence() } }),
    toAgent: (message) => (message["kind"] === "start"
      ? { ...message, start: { ...(message["start"] as Message), fence: 0 } }
      : "fence" in message ? { ...message, fence: 0 } : message),
  },
  "effect-id-with-attempt": {
    toAgent: (message) => (message["kind"] === "granted" && Number(message["attempt"]) > 1
      ? { ...message, effectId: sha256(`${String(message["effectId"])} ${String(message["attempt"])}`) }
      : message),
  },
  "unknown-retried": {
    fromAgent: (message) => withOp(message, (op) => (op["kind"] === "want-tool" && op["effect"] === "once"
      ? { ...op, effect: "idempotent", canReconcile: false }
      : op)),
  },
  "settle-skipped": {
    fromAgent: (message) => {
      const answer = message["answer"] as Message | undefined;
      return message["kind"] === "reconciled" && answer?.["kind"] === "not-done"
        ? { ...message, answer: { ...answer, isFinal: true } }
        : message;
    },
  },
  "cost-not-reserved": {
    fromAgent: (message) => withOp(message, ({ cost: _cost, ...op }) => op),
  },
  "look-not-taken": {
    fromAgent: (message) => withOp(message, (op) =>
      (op["kind"] === "verified" ? { ...op, verdict: { kind: "agrees" } } : op)),
  },
  "rejected-goes-on": {
    toAgent: (message) => {
      const entry = message["entry"] as Message | undefined;
      return entry?.["kind"] === "decided" ? { ...message, entry: { ...entry, approved: true } } : message;
    },
  },
  "replay-skips": {
    toAgent: (message) => withLog(message, (log, start) =>
      (start["isReplayOnly"] === true ? [...log.slice(0, 3), ...log.slice(4)] : log)),
  },
  "replay-forgets": { toAgent: (message) => withLog(message, () => []) },
  "replay-out-of-order": {
    toAgent: (message) => withLog(message, (log) => [...log.slice(0, 2), ...[...log.slice(2)].reverse()]),
  },
};

function withOp(message: Message, change: (op: Message) => Message): Message {
  return message["kind"] === "op" ? { ...message, op: change(message["op"] as Message) } : message;
}

function withLog(
  message: Message, change: (log: readonly unknown[], start: Message) => readonly unknown[],
): Message {
  if (message["kind"] !== "start") return message;
  const start = message["start"] as Message;
  return { ...message, start: { ...start, log: change(start["log"] as readonly unknown[], start) } };
}

/** Open for ever, under the number 0. */
function openFence(): SharedArrayBuffer {
  const shared = new SharedArrayBuffer(2 * BigInt64Array.BYTES_PER_ELEMENT);
  new BigInt64Array(shared)[0] = NEVER_MS;
  return shared;
}

/** A turn of messages, those for and of agents changed. */
function eachAgentMessage(turn: unknown, change: (message: Message) => Message): unknown {
  return (turn as readonly unknown[]).map((one) => {
    const isAgents = typeof one === "object" && one !== null && !Array.isArray(one) && "payload" in one &&
      "kind" in one && one.kind === "agent";
    return isAgents ? { ...one, payload: change(one.payload as Message) } : one;
  });
}
