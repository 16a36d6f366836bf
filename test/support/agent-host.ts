// Owns: a node as one run of an agent sees it, played by a test: it keeps the log, commits when it is told to, grants,
// offers. The code under test is the whole inside of an agent's worker.
import type { JobId } from "../../src/base/ids.ts";
import { effectIdOf, type CallName, type ClusterUid, type EffectId, type JobUid } from "../../src/jobs/core/ids.ts";
import { encodeEvent, type JobEvent, type Resolution } from "../../src/jobs/core/log/event.ts";
import type { JobError } from "../../src/jobs/core/rows.ts";
import type {
  AgentOp, AgentWait, FromAgent, OfferedEntry, ReconcileAnswer, ToAgent,
} from "../../src/jobs/core/worker/messages.ts";
import { AgentRuntime } from "../../src/jobs/worker/agent-runtime.ts";
import type { Agent } from "../../src/sdk/agent.ts";
import { asNodeHears } from "./as-node-hears.ts";
import { ManualClock } from "./manual-clock.ts";

const CLUSTER = "c".repeat(32) as ClusterUid;
const JOB_UID = "a".repeat(32) as JobUid;
const RUN = 1;
const FENCE = 1;
/** What each child is called. */
const CHILD = "child-1" as JobId;

export interface AgentHostOptions {
  readonly agent: Agent;
  readonly input?: unknown;
  /** What happened before; empty for a job that has just been claimed for the first time. */
  readonly log?: readonly JobEvent[];
  readonly clock?: ManualClock;
  /** Of the owner. Default: 1, the first one. */
  readonly epoch?: number;
  /** Which run of the job it is. Default: 1. */
  readonly jobRun?: number;
  /** What each call that lists secrets is given. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Only sees whether the code does what the log says. */
  readonly isReplayOnly?: true;
}

type WantChild = Extract<AgentOp, { readonly kind: "want-child" }>;
type WantTool = Extract<AgentOp, { readonly kind: "want-tool" }>;

interface LedgerRow {
  readonly state: "granted" | "unknown" | "succeeded" | "failed";
  readonly attempt: number;
  /** The operation that asks for it in this run. */
  readonly n?: number;
  readonly call: CallName;
}

export class AgentHost {
  readonly clock: ManualClock;
  readonly log: JobEvent[];
  readonly heard: FromAgent[] = [];
  /** What the code waits for. */
  readonly waits = new Map<CallName, AgentWait>();
  /** Children that the code has asked for. */
  readonly children = new Map<CallName, WantChild>();
  /** Calls that nobody knows about and that the code waits for. */
  readonly unknown = new Set<CallName>();
  readonly emitted: unknown[] = [];
  readonly answers: ReconcileAnswer[] = [];
  diverged: JobError | undefined;
  /** What a fence says that is asked now. */
  mayAct = true;
  private saidCommitted = 0;
  private readonly runtime: AgentRuntime;
  private readonly secrets: AgentHostOptions["secrets"];
  private readonly ledger = new Map<EffectId, LedgerRow>();
  private readonly offers = new Map<number, { readonly call?: CallName; readonly entry: OfferedEntry }>();
  private ops: { readonly n: number; readonly op: AgentOp }[] = [];
  private lastOp = 0;
  private lastOffer = 0;

  constructor(options: AgentHostOptions) {
    const { agent, input, log = [], clock = new ManualClock(), secrets, isReplayOnly, epoch = 1, jobRun = 1 } = options;
    this.clock = clock;
    this.secrets = secrets;
    this.log = [...log];
    for (const event of log) this.note(event);
    for (const [effectId, row] of this.ledger) {
      // Of an owner that is gone.
      if (row.state === "granted") this.ledger.set(effectId, { ...row, state: "unknown" });
    }
    this.runtime = new AgentRuntime({
      clock,
      mayAct: () => this.mayAct,
      post: (message) => this.hear(asNodeHears(message)),
    });
    this.runtime.load({ agents: [agent] });
    const bytes = log.map((event) => encodeEvent(event, { atMs: 0, epoch: 1 }));
    const start = {
      agent: agent.name, job: "job-1" as JobId, uid: JOB_UID, input, epoch, fence: FENCE, jobRun, log: bytes,
      ...(isReplayOnly === true && { isReplayOnly }),
    };
    this.send({ kind: "start", run: RUN, start });
  }

  /** The operation that ended the run. */
  get end(): AgentOp | undefined {
    const last = this.heard.findLast((message) => message.kind === "op");
    const op = last?.kind === "op" ? last.op : undefined;
    return op !== undefined && isEnd(op) ? op : undefined;
  }

  get isEnded(): boolean {
    return this.end !== undefined || this.diverged !== undefined;
  }

  /** Operations that are not committed. */
  get uncommitted(): number {
    return this.ops.length;
  }

  get isIdle(): boolean {
    const last = this.heard.at(-1);
    return last?.kind === "idle" && last.after === this.lastOp;
  }

  /** The operations of the run, in their order. */
  get told(): readonly AgentOp[] {
    return this.heard.flatMap((message) => (message.kind === "op" ? [message.op] : []));
  }

  send(message: ToAgent): void {
    this.runtime.receive(structuredClone(message));
  }

  /** Commits the first so many operations, and grants what they ask for. */
  commit(count = this.ops.length): void {
    const committed = this.ops.splice(0, count);
    const last = committed.at(-1);
    if (last === undefined) return;
    const granted = committed.flatMap(({ n, op }) => this.append(n, op));
    this.saidCommitted = last.n;
    this.send({ kind: "committed", run: RUN, upTo: last.n, fence: FENCE });
    for (const message of granted) this.send(message);
  }

  /** Says that these are stored, though one before them is not. */
  commitAhead(ahead: readonly number[]): void {
    this.send({ kind: "committed", run: RUN, upTo: this.saidCommitted, ahead, fence: FENCE });
  }

  /** What is committed is said once more, as after the fence was down. */
  beginAgain(): void {
    this.send({ kind: "committed", run: RUN, upTo: this.saidCommitted, fence: FENCE });
  }

  /** Commits whatever comes until nothing comes any more. */
  async goOn(): Promise<void> {
    await this.clock.settle();
    while (this.ops.length > 0) {
      this.commit();
      await this.clock.settle();
    }
  }

  offer(entry: OfferedEntry, call?: CallName): void {
    const offer = ++this.lastOffer;
    const to = call === undefined ? {} : { call };
    this.offers.set(offer, { ...to, entry });
    this.send({ kind: "offer", run: RUN, offer, ...to, entry });
  }

  resolve(call: CallName, resolution: Resolution): void {
    this.offer({ kind: "tool-resolved", resolution }, call);
  }

  refuse(n: number, error: JobError): void {
    this.send({ kind: "refused", run: RUN, n, error });
  }

  /** Grants once more what was not dispatched. */
  grantAgain(call: CallName): void {
    const effectId = effectIdOf(CLUSTER, JOB_UID, call);
    const row = this.ledger.get(effectId);
    if (row?.n === undefined) throw new RangeError(`nobody asks for ${call}`);
    this.send({ kind: "granted", run: RUN, n: row.n, effectId, attempt: row.attempt, fence: 2 });
  }

  reconcile(call: CallName, tool: string, input: unknown): void {
    const effectId = effectIdOf(CLUSTER, JOB_UID, call);
    const given = this.secrets === undefined ? {} : { secrets: this.secrets };
    this.send({ kind: "reconcile", run: RUN, call, tool, effectId, input, ...given });
  }

  drop(): void {
    this.send({ kind: "drop", run: RUN });
  }

  private hear(message: FromAgent): void {
    this.heard.push(message);
    if (message.kind === "emit") this.emitted.push(message.data);
    if (message.kind === "diverged") this.diverged = message.error;
    if (message.kind === "verifying") {
      const secrets = this.secrets === undefined ? {} : { secrets: this.secrets };
      this.send({ kind: "verify", run: RUN, ...secrets });
    }
    if (message.kind === "reconciled") this.answers.push(message.answer);
    if (message.kind !== "op") return;
    const { n, op } = message;
    if (n !== this.lastOp + 1) throw new RangeError(`operation ${n} came after ${this.lastOp}`);
    this.lastOp = n;
    this.ops.push({ n, op });
    if (op.kind === "want-wait") this.waits.set(op.call, op.wait);
    if (op.kind === "want-child") this.children.set(op.call, op);
    if (op.kind === "took") this.forget(op.offer);
    const isKnown = (op.kind === "outcome" && op.outcome.kind !== "unknown") || op.kind === "step-failed";
    if (isKnown) this.unknown.delete(op.call);
  }

  private forget(offer: number): void {
    const taken = this.offers.get(offer);
    if (taken?.call === undefined) return;
    this.waits.delete(taken.call);
    this.unknown.delete(taken.call);
  }

  private append(n: number, op: AgentOp): readonly ToAgent[] {
    switch (op.kind) {
      case "step-completed":
        return this.push({ type: "step.completed", call: op.call, value: op.value });
      case "step-failed":
        return this.push({ type: "step.failed", call: op.call, error: op.error });
      case "value":
        return this.push({ type: "value.recorded", call: op.call, value: op.value });
      case "want-wait": {
        const { call, wait } = op;
        const dueMs = wait.kind === "timer" ? wait.dueMs : wait.untilMs;
        const isAsked = this.log.some((event) => event.type === "approval.requested" && event.call === call);
        if (wait.kind === "approval" && !isAsked) {
          const { kind: _kind, ...asked } = wait;
          this.push({ type: "approval.requested", call, ...asked });
        }
        const isSet = this.log.some((event) => event.type === "timer.set" && event.call === call);
        return dueMs === undefined || isSet ? [] : this.push({ type: "timer.set", call, dueMs });
      }
      case "want-child":
        return this.wantChild(op);
      case "want-tool":
        return this.want(n, op);
      case "verified":
        return this.push({ type: "tool.verified", call: op.call, verdict: op.verdict, onMismatch: op.onMismatch });
      case "outcome":
        return this.pushOutcome(op);
      case "took":
        return this.pushTaken(op.offer);
      default:
        // The end is a row, and no event that a run sees.
        return [];
    }
  }

  private want(n: number, want: WantTool): readonly ToAgent[] {
    const { call, tool, effect, input, inputDigest, timeoutMs } = want;
    const effectId = effectIdOf(CLUSTER, JOB_UID, call);
    const row = this.ledger.get(effectId);
    if (row?.state === "unknown" && effect === "once") {
      this.ledger.set(effectId, { ...row, n });
      this.unknown.add(call);
      return [];
    }
    const attempt = (row?.attempt ?? 0) + 1;
    this.push({ type: "tool.granted", call, tool, effect, effectId, attempt, input, inputDigest, timeoutMs });
    this.ledger.set(effectId, { state: "granted", attempt, n, call });
    const secrets = want.secrets === undefined || this.secrets === undefined ? {} : { secrets: this.secrets };
    return [{ kind: "granted", run: RUN, n, effectId, attempt, fence: 1, ...secrets }];
  }

  private wantChild({ call, agent, inputDigest, isDetached, untilMs }: WantChild): [] {
    if (this.log.some((event) => event.type === "child.started" && event.call === call)) return [];
    this.push({ type: "child.started", call, job: CHILD, agent, inputDigest, isDetached });
    return untilMs === undefined ? [] : this.push({ type: "timer.set", call, dueMs: untilMs });
  }

  private pushOutcome({ call, effectId, outcome }: Extract<AgentOp, { readonly kind: "outcome" }>): [] {
    switch (outcome.kind) {
      case "succeeded": {
        const { kind: _kind, ...rest } = outcome;
        const row = this.ledger.get(effectId);
        if (row?.state !== "unknown") return this.push({ type: "tool.succeeded", call, effectId, ...rest });
        const { result, problem } = outcome;
        return this.push({
          type: "tool.resolved", call, effectId, by: { kind: "late" }, resolution: { kind: "done", result },
          ...(problem !== undefined && { problem }),
        });
      }
      case "failed":
        return this.push({
          type: "tool.failed", call, effectId, error: outcome.error,
          ...(outcome.cost !== undefined && { cost: outcome.cost }),
        });
      case "unknown":
        this.unknown.add(call);
        return this.push({ type: "tool.unknown", call, effectId, reason: outcome.reason });
    }
  }

  private pushTaken(offer: number): [] {
    const { call, entry } = this.offers.get(offer) ?? {};
    if (entry?.kind === "cancel") return this.push({ type: "job.cancel-requested", principal: "p" });
    if (call === undefined || entry === undefined) throw new RangeError(`there is no offer ${offer} of a call`);
    switch (entry.kind) {
      case "timer-fired":
        return this.push({ type: "timer.fired", call });
      case "signal":
        return this.push({ type: "signal.received", call, signal: "s", payload: entry.payload });
      case "child-completed":
        return this.push({ type: "child.completed", call, output: entry.output });
      case "child-failed":
        return this.push({ type: "child.failed", call, error: entry.error });
      case "child-detached":
        return this.push({ type: "child.detached", call, job: entry.job });
      case "decided": {
        const { approved, principal, data } = entry;
        return this.push({ type: "approval.decided", call, approved, principal, data });
      }
      case "tool-resolved": {
        const effectId = effectIdOf(CLUSTER, JOB_UID, call);
        const by = { kind: "person", principal: "p" } as const;
        return this.push({ type: "tool.resolved", call, effectId, by, resolution: entry.resolution });
      }
    }
  }

  private push(event: JobEvent): [] {
    this.log.push(event);
    this.note(event);
    return [];
  }

  private note(event: JobEvent): void {
    switch (event.type) {
      case "tool.granted":
        return this.noteState(event.effectId, "granted", event.call, event.attempt);
      case "tool.succeeded":
        return this.noteState(event.effectId, "succeeded", event.call);
      case "tool.failed":
        return this.noteState(event.effectId, "failed", event.call);
      case "tool.unknown":
        return this.noteState(event.effectId, "unknown", event.call);
      case "tool.resolved":
        return this.noteState(event.effectId, event.resolution.kind === "done" ? "succeeded" : "failed", event.call);
      default:
        return;
    }
  }

  private noteState(effectId: EffectId, state: LedgerRow["state"], call: CallName, attempt?: number): void {
    const before = this.ledger.get(effectId);
    this.ledger.set(effectId, { ...before, call, state, attempt: attempt ?? before?.attempt ?? 1 });
  }
}

function isEnd({ kind }: AgentOp): boolean {
  return kind === "completed" || kind === "failed" || kind === "cancelled" ||
    kind === "continued";
}
