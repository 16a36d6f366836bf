// Owns: ONE job that this node owns, from its claim until it ends, waits or is lost: what its code says is appended,
// and what it waits for is handed to it. Does not own: which jobs (runner.ts), what follows from what (core/life).
//
// One append is under way at a time; whatever the code says meanwhile goes into the next one.
import { unreachable } from "../../base/assert.ts";
import { createDeferred } from "../../base/deferred.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import { MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import { hasRoomForWork } from "../core/room.ts";
import type { Clock, Timer } from "../../env/clock.ts";
import type { Log } from "../../env/telemetry.ts";
import type { Tracing } from "../../env/tracing.ts";
import type { JobId } from "../../base/ids.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";
import type { AppendBatch } from "../core/life/append-batch.ts";
import { decideContinue } from "../core/life/decide-continue.ts";
import { decideAppend, decideFinish, decideRelease, decideWait } from "../core/life/decide.ts";
import type { OpenApprovals } from "../core/run/open-approvals.ts";
import type { Granted, OwnChange, Plan, Rated } from "../core/run/plan.ts";
import { PLAN_EVENTS_MAX } from "../core/run/plan-maker.ts";
import { RunBatch } from "../core/run/run-batch.ts";
import { RunWaits, type CallsInDoubt, type NewOffer, type Unwanted } from "../core/run/run-waits.ts";
import { overdueEnd } from "../core/life/deadline.ts";
import { besideAppend, hasToTell } from "../core/life/children.ts";
import { logFactsOf } from "../core/run/log-facts.ts";
import { isHalfFull } from "../core/log/page.ts";
import type { Verdict } from "../core/log/event.ts";
import { childIdOf, effectIdOf, type CallName, type ClusterUid, type EffectId } from "../core/ids.ts";
import { UNITS, type Account, type Unit } from "../core/budget/account.ts";
import { callLimitOf, ratesOf, type ModelLimits } from "../core/flow/call-rates.ts";
import type { InboxEntry } from "../core/flow/inbox-entry.ts";
import type { JobError, JobResult, Waiting } from "../core/rows.ts";
import { blobOf } from "../core/log/event.ts";
import { missingSecrets, pickSecrets } from "../core/tools/secrets.ts";
import type { AgentOp, FromAgent, RunNumber, SecretValues, ToAgent } from "../core/worker/messages.ts";
import { blobOfOp } from "../core/worker/op-payload.ts";
import type { AgentWorker, AgentWorkers, Decision, JobLog, JobView, LoadedJob } from "../ports.ts";
import { CallTimers } from "./call-timers.ts";
import { CallTurns, type CallTurnsPorts } from "./call-turns.ts";
import { RunChunks } from "./run-chunks.ts";
import { RunChildren, type RunChildrenPorts } from "./run-children.ts";
import { RunPayloads, type NodePayloads } from "./run-payloads.ts";
import { RunTrace, traceOf } from "./run-trace.ts";
import type { Spending } from "./spending.ts";
import { ToolDoubts } from "./tool-doubts.ts";

/** How this node is done with a job. `lost`: it is still this node's by its row, and nobody runs it. */
export type RunEnd = "ended" | "continued" | "waiting" | "released" | "fenced" | "lost";

export interface InboxArrival {
  readonly n: number;
  /** Undefined for one that cannot be read: it stays where it is, and the job goes on without it. */
  readonly entry: InboxEntry | undefined;
  /** Of the store, at which it came. */
  readonly revision: number;
}

export interface JobRunPorts {
  readonly log: JobLog;
  readonly workers: AgentWorkers;
  readonly cluster: ClusterUid;
  readonly rates: CallTurnsPorts["rates"];
  readonly places: CallTurnsPorts["places"];
  /** What this node's configuration says of models. */
  readonly models: ModelLimits;
  readonly spending: Pick<Spending, "noteEvents" | "noteAccount">;
  readonly ownership: {
    readonly fence: { readonly number: number };
    whenValid(signal: AbortSignal): Promise<void>;
  };
  /** The secrets that calls may be given. */
  readonly secrets: SecretValues;
  /** Tells what is in the inbox of a job and what comes, each once, until the answer is called. */
  followInbox(ref: JobRef, onArrival: (arrival: InboxArrival) => void): () => void;
  readonly children: Pick<RunChildrenPorts, "answer">;
  readonly payloads: NodePayloads;
  /** Absent where nobody records traces. */
  readonly tracing?: Tracing;
  /** The job's outbox has something for other jobs. */
  readonly onOutbox: (ref: JobRef) => void;
  /** What its code says of its progress; of a run that goes on. */
  readonly onEmit: (item: unknown) => void;
  /** Of a call that is recorded as done, after a take-over. */
  readonly onVerdict: (verdict: Verdict) => void;
  /** Once; nothing is done for the job any more. */
  readonly onEnd: (run: JobRun, how: RunEnd) => void;
}

type HoldEntry = Extract<InboxEntry, { readonly kind: "hold" }>;

/** What code may do after a cancel before it is ended. */
const CANCEL_MS_MAX = 30 * SECOND_MS;
/** What a stopping node waits for calls that are under way. */
const STOP_MS_MAX = 30 * SECOND_MS;
/** What a node that is drained waits for calls and steps that are under way. */
const LEAVE_MS_MAX = 10 * MINUTE_MS;
/** Of what a person is told about a job that is stuck. */
const WHY_LENGTH_MAX = 1_000;
/** A timer of the runtime takes no more than some 24 days. */
const TIMER_MS_MAX = 86_400 * SECOND_MS;

/** Made once: an error of its own for every run costs its stack. */
const OVER = new AetherError("E_FENCED", "nothing is done for the job here any more");

export class JobRun {
  readonly ref: JobRef;
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: JobRunPorts;
  private readonly loaded: LoadedJob;
  private readonly batch: RunBatch;
  private readonly waits: RunWaits;
  private readonly doubts: ToolDoubts;
  private readonly children: RunChildren;
  private readonly chunks: RunChunks;
  private readonly payloads: RunPayloads;
  private readonly loggedTimers: ReadonlyMap<CallName, number>;
  private readonly approvals: OpenApprovals;
  private readonly turns: CallTurns;
  private readonly trace: RunTrace;
  private readonly stop = new AbortController();
  private readonly done = createDeferred<void>();
  private readonly callTimers: CallTimers;
  /** The account as the metrics of the node have it. */
  private shown: Account | undefined;
  private view: JobView;
  private worker: AgentWorker | undefined;
  private run: RunNumber = 0;
  private unfollow = (): void => undefined;
  private dueTimer: Timer | undefined;
  private cancelTimer: Timer | undefined;
  private idleAfter = -1;
  private isCommitting = false;
  private isPumping = false;
  private isDraining = false;
  /** The node has waited long enough. */
  private isDrainOver = false;
  /** Until none of its steps runs: they could be done again elsewhere only from their beginning. */
  private areStepsAwaited = false;
  /** Nothing runs the code any more: what it has said is still noted, and then the job is another run's. */
  private gone: { readonly event: string; readonly reason: string } | undefined;
  /** How the job ends since it was asked to: where its code cannot be run, it ends without it. */
  private cancelEnd: JobResult | undefined;
  private readonly isCancelLogged: boolean;
  /** The entry by which it was asked to hold still, and what a person is told of that. */
  private hold: { readonly inbox: number; readonly entry: HoldEntry; readonly why: string } | undefined;
  /** Revision of the inbox at which the store refused to let the job wait: something is on its way here. */
  private refusedAt = -1;
  private opsMax: number | undefined;
  /** Entries of the inbox that cannot be read. */
  private unreadable = 0;
  /** What its code does is not what its log says. */
  private diverged: JobError | undefined;

  constructor(env: { readonly clock: Clock; readonly log: Log }, ports: JobRunPorts, loaded: LoadedJob) {
    const { view, tools } = loaded;
    this.clock = env.clock;
    this.log = env.log.child({
      job: view.ref.job, agent: view.row.agent, tenant: view.row.tenant, ...traceOf(view.spec.traceparent),
    });
    this.ports = ports;
    this.loaded = loaded;
    this.view = view;
    this.ref = view.ref;
    this.trace = new RunTrace(ports.tracing, view);
    const facts = logFactsOf(loaded.log);
    const idOfChild = (call: CallName): JobId => childIdOf(ports.cluster, view.spec, call);
    const late = overdueEnd(view.spec);
    this.waits = new RunWaits(facts.isCancelled);
    this.isCancelLogged = facts.isCancelled;
    if (facts.isCancelled) this.cancelEnd = facts.isOverdue ? late : { kind: "cancelled" };
    this.loggedTimers = facts.timers;
    this.approvals = facts.approvals;
    this.callTimers = new CallTimers(this.clock, (effectId) => this.loseCall(effectId));
    this.turns = new CallTurns(ports, { ref: view.ref, epoch: view.row.epoch }, this.stop.signal);
    this.payloads = new RunPayloads({
      run: () => this.run,
      say: (message) => this.say(message),
      onStored: () => this.pump(),
      onFault: (reason) => this.fail("jobs.worker-at-fault", reason),
      signal: this.stop.signal,
      ...ports.payloads,
    });
    this.batch = new RunBatch({
      epoch: view.row.epoch,
      tools,
      ...facts,
      overdueEnd: late,
      ...(view.row.restored !== undefined && { restored: view.row.restored }),
      effectIdOf: (call) => effectIdOf(ports.cluster, view.spec.effectUid, call),
      childIdOf: idOfChild,
      missingSecrets: (names) => missingSecrets(names, ports.secrets),
      ratesOf: (want) => ratesOf(want, { slice: this.worker?.slice ?? "", models: ports.models }),
      callLimitOf: (want) => callLimitOf(want, { slice: this.worker?.slice ?? "", models: ports.models }),
      isStored: (blob) => this.payloads.isStored(blob),
    });
    this.children = new RunChildren(env.clock, {
      answer: (question, signal) => ports.children.answer(question, signal),
      childIdOf: idOfChild,
      view: () => this.view,
      onAnswer: () => this.pump(),
      signal: this.stop.signal,
    }, { batch: this.batch, waits: this.waits });
    this.chunks = new RunChunks(this.log, { log: ports.log, signal: this.stop.signal }, loaded.chunkedTo);
    this.doubts = new ToolDoubts(env, {
      ask: ({ row, want }) => this.say({
        kind: "reconcile", run: this.run, call: row.call, tool: row.tool, effectId: row.effectId, input: want.input,
        ...(want.blob !== undefined && { isApart: true }),
        ...this.secretsFor(want.secrets ?? []),
      }),
      resolve: (row, resolution) => this.offer(this.waits.offerResolved({
        kind: "resolved", call: row.call, effectId: row.effectId, resolution, by: { kind: "reconcile" },
      })),
    });
  }

  /** Resolves when this node is done with the job. */
  get whenDone(): Promise<void> {
    return this.done.promise;
  }

  begin(): void {
    this.showAccount(this.view.head.account);
    this.unfollow = this.ports.followInbox(this.ref, (arrival) => this.arrive(arrival));
    // Its code has as long again as it had where it ran before.
    if (this.isCancelLogged) this.limitCancel();
    void this.startWorker();
  }

  /** Nothing is done for the job from this moment on. */
  drop(how: RunEnd): void {
    if (this.stop.signal.aborted) return;
    this.stop.abort(OVER);
    this.showAccount(undefined);
    this.unfollow();
    this.dueTimer?.cancel();
    this.cancelTimer?.cancel();
    this.callTimers.close();
    this.doubts.close();
    this.payloads.close();
    this.turns.close();
    this.worker?.send({ kind: "drop", run: this.run });
    this.worker?.release();
    this.trace.end(how);
    this.ports.onEnd(this, how);
    this.done.resolve();
  }

  /**
   * Grants nothing more, waits for calls under way, and leaves the job to the other nodes. A node that lives on waits
   * for steps too.
   */
  async drain(why: "node-stops" | "node-drained"): Promise<void> {
    this.areStepsAwaited = why === "node-drained" && (!this.isDraining || this.areStepsAwaited);
    this.isDraining = true;
    const limit = this.clock.setTimer(why === "node-stops" ? STOP_MS_MAX : LEAVE_MS_MAX, () => {
      this.isDrainOver = true;
      this.pump();
    });
    if (this.areStepsAwaited) this.say({ kind: "leave", run: this.run });
    this.pump();
    await this.done.promise;
    limit.cancel();
  }

  private async startWorker(): Promise<void> {
    const { view, log } = this.loaded;
    const { agent, epoch, pin, run: jobRun } = view.row;
    try {
      const worker = await this.ports.workers.open(pin, { signal: this.stop.signal });
      if (this.stop.signal.aborted) return worker.release();
      this.worker = worker;
      worker.onLost((reason) => this.giveUpCode("jobs.worker-lost", reason));
      // What code derives from the uid is the same where the job is done again.
      const { effectUid: uid, input, inputBlob } = view.spec;
      const apart = inputBlob === undefined ? {} : { inputBlob };
      const limited = this.limitedUnits;
      const fence = this.ports.ownership.fence.number;
      const start = {
        agent, job: view.ref.job, uid, input, ...apart, epoch, fence, jobRun, log, ...(limited && { limited }),
      };
      this.run = worker.start(start, (message) => this.hear(message));
      if (this.areStepsAwaited) this.say({ kind: "leave", run: this.run });
      this.pump();
    } catch (error) {
      if (!this.stop.signal.aborted) this.giveUpCode("jobs.worker-not-started", toAetherError(error).message);
    }
  }

  private hear(message: FromAgent): void {
    if (this.stop.signal.aborted) return;
    switch (message.kind) {
      case "op":
        return this.takeOp(message);
      case "idle":
        this.idleAfter = message.after;
        return this.pump();
      case "not-dispatched":
        return void this.grantAgain(message.effectId);
      case "not-begun":
        return void this.beginAgain();
      case "left":
        this.areStepsAwaited = false;
        return this.pump();
      case "reconciled":
        this.trace.reconciled(message.effectId, message.answer.kind);
        return this.doubts.answer(message.effectId, message.answer);
      case "verifying":
        return this.say({ kind: "verify", run: this.run, ...this.secretsFor(message.secrets) });
      case "diverged":
        this.log.error({ event: "jobs.diverged", reason: message.error.message });
        this.diverged = message.error;
        return this.pump();
      case "emit":
        return this.ports.onEmit(message.data);
      case "replayed":
        // Only of a run that was started to be replayed, and this one goes on.
        return;
      case "want-room":
      case "free-room":
      case "want-part":
      case "part":
        return this.payloads.hear(message);
      default:
        return unreachable(message);
    }
  }

  private takeOp({ n, op }: Extract<FromAgent, { readonly kind: "op" }>): void {
    if (!this.batch.take(n, op)) return this.fail("jobs.worker-at-fault", `operation ${n} came out of its order`);
    const blob = blobOfOp(op);
    if (blob !== undefined) this.payloads.begin(blob);
    if (op.kind === "took") this.waits.took(op.offer);
    if (op.kind === "want-wait") this.waits.open(op.call, op.wait, this.loggedTimers.get(op.call));
    if (op.kind === "want-child") this.children.want(n, op, this.loggedTimers.get(op.call));
    if (op.kind === "verified") this.noteVerdict(op);
    if (op.kind === "step-completed" || op.kind === "step-failed") this.trace.step(op);
    if (op.kind === "outcome") {
      this.trace.outcome(op);
      this.callTimers.stop(op.effectId);
      if (op.outcome.kind !== "unknown") this.waits.callEnded(op.call);
    }
    this.pump();
  }

  private noteVerdict({ call, verdict, onMismatch }: Extract<AgentOp, { readonly kind: "verified" }>): void {
    this.ports.onVerdict(verdict);
    if (verdict.kind === "agrees") return;
    this.log.warn({ event: "jobs.effect-not-verified", call, found: verdict.kind, why: verdict.why, onMismatch });
  }

  private arrive({ n, entry, revision }: InboxArrival): void {
    if (this.stop.signal.aborted) return;
    const { inbox } = this.view;
    this.setInbox({ last: Math.max(inbox.last, n), revision: Math.max(inbox.revision, revision) });
    if (entry === undefined) this.unreadable += 1;
    else if (entry.kind === "raise") this.batch.change({ ...entry, kind: "raised", inbox: n });
    else if (entry.kind === "release") this.batch.change({ kind: "let-go", inbox: n, principal: entry.principal });
    else if (entry.kind === "hold") this.takeHold(n, entry);
    else this.waits.arrive(n, entry);
    if (entry?.kind === "cancel") {
      this.cancelEnd ??= entry.reason === "deadline" ? overdueEnd(this.view.spec) : { kind: "cancelled" };
      this.forgetHold();
    }
    this.pump();
  }

  private setInbox(inbox: JobView["inbox"]): void {
    this.view = { ...this.view, inbox };
  }

  /** Once per turn of the worker, however much it said: all of it goes into one append. */
  private pump(): void {
    if (this.isPumping) return;
    this.isPumping = true;
    queueMicrotask(() => {
      this.isPumping = false;
      if (!this.stop.signal.aborted) this.work();
    });
  }

  private work(): void {
    // What is offered to nobody is lost: a cancel may be there before the worker is.
    if (this.worker !== undefined) this.makeOffers();
    if (this.isCommitting) return;
    if (this.isDrainOver) return void this.release();
    const plan = this.plan();
    if (plan === undefined) return this.considerLeaving();
    const hasRows = plan.events.length + plan.tools.length + plan.folded.length > 0 || plan.end !== undefined ||
      plan.next !== undefined;
    if (!hasRows) return this.settle(plan);
    void this.commit(this.decide(plan), () => this.settle(plan));
  }

  /** New calls wait for room in the store, and do not hold up what is known of others. */
  private plan(): Plan | undefined {
    const { seq, account } = this.view.head;
    const limits = { account, ...(this.opsMax && { opsMax: this.opsMax }) };
    const plan = this.batch.plan(seq, { grants: this.isLeaving ? "none" : "any", ...limits });
    const isShort = plan !== undefined && plan.granted.length > 0 && !hasRoomForWork(this.ports.payloads.usage());
    return isShort ? this.batch.plan(seq, { grants: "none", ...limits }) ?? plan : plan;
  }

  private decide(plan: Plan): Decision {
    const { events, tools, folded, end, account } = plan;
    const atMs = this.clock.wallMs();
    const beside = besideAppend(this.view, plan, atMs);
    if ("kind" in beside) return beside;
    const { ref, row: { agent } } = this.view;
    const asked = this.approvals.changes(events, { ref, agent, atMs }, end !== undefined);
    const batch: AppendBatch = {
      events, tools, folded, atMs, ...beside, also: [...beside.also, ...asked],
      ...(account !== undefined && { account }),
    };
    if (plan.next !== undefined) return decideContinue(this.view, batch, plan.next, this.batch.childrenNow);
    if (end === undefined) return decideAppend(this.view, batch);
    const taken = new Set(folded);
    return decideFinish(this.view, batch, {
      result: end, unread: this.waits.unreadEntries.filter((n) => !taken.has(n)),
    });
  }

  private async commit(decision: Decision, onApplied: () => void): Promise<void> {
    if (decision.kind === "refused") return this.takeRefusal(decision);
    this.isCommitting = true;
    try {
      const verdict = await this.ports.log.commit(decision, { signal: this.stop.signal });
      this.isCommitting = false;
      if (this.stop.signal.aborted) return;
      switch (verdict.kind) {
        case "applied": {
          const { inbox } = this.view;
          this.warnOfLength(verdict.view);
          this.chunks.advance(verdict.view);
          this.view = verdict.view;
          // What came while it was under way is known here already.
          if (inbox.revision > verdict.view.inbox.revision) this.setInbox(inbox);
          this.opsMax = undefined;
          return onApplied();
        }
        case "fenced":
          return this.drop("fenced");
        case "inbox-not-empty":
          this.refusedAt = decision.next.inbox.revision;
          return this.pump();
        case "contended":
          this.children.reconsider();
          this.payloads.reconsider(decision.events.flatMap((event) => blobOf(event) ?? []));
          return this.pump();
        case "corrupt":
          return this.fail("jobs.corrupt", "the end of its log is not what this node wrote");
        default:
          return unreachable(verdict);
      }
    } catch (error) {
      if (!this.stop.signal.aborted) this.fail("jobs.not-committed", toAetherError(error).message);
    }
  }

  private warnOfLength({ head }: JobView): void {
    if (!isHalfFull(head) || isHalfFull(this.view.head)) return;
    const { seq: events, bytes, run } = head;
    const reason = "half of what a log may have is used: let its code go on with job.continueAs";
    this.log.warn({ event: "jobs.log-half-full", events, bytes, run, reason });
  }

  /**
   * What is too much for one append goes in smaller ones; what is too much by itself ends the job, whose log has no
   * room for it. Of a job that ends already it is left out.
   */
  private takeRefusal({ code, reason }: Extract<Decision, { readonly kind: "refused" }>): void {
    if (code !== "E_TOO_LARGE") return this.fail("jobs.refused", reason);
    const error: JobError = { name: "AetherError", code, message: reason };
    const opsMax = this.opsMax ?? PLAN_EVENTS_MAX;
    if (opsMax > 1) this.opsMax = Math.floor(opsMax / 2);
    else if (!this.batch.isEnding) this.endWith({ kind: "failed", error });
    else if (!this.batch.forgetWork()) return this.fail("jobs.refused", reason);
    this.pump();
  }

  /** The plan is in the store: what waited for it may go on. */
  private settle(plan: Plan): void {
    this.batch.settle(plan);
    this.turns.settle(plan);
    this.ports.spending.noteEvents(this.view.row.agent, plan.events);
    this.showAccount(plan.account);
    this.approvals.note(plan.events);
    if (hasToTell(this.view, plan)) this.ports.onOutbox(this.ref);
    this.children.started(plan);
    if (plan.end !== undefined) return this.drop("ended");
    if (plan.next !== undefined) return this.drop("continued");
    const fence = this.ports.ownership.fence.number;
    // What begins now would not be noted any more.
    const { upTo, ahead } = plan;
    const beyond = ahead.length === 0 ? {} : { ahead };
    if (!this.isLeaving) this.say({ kind: "committed", run: this.run, upTo, ...beyond, fence });
    for (const granted of plan.granted) this.tellGranted(granted);
    for (const n of plan.stepsAllowed) this.say({ kind: "step-allowed", run: this.run, n });
    for (const rated of plan.rated) void this.awaitTurn(rated);
    for (const { n, error } of plan.refused) this.say({ kind: "refused", run: this.run, n, error });
    for (const { row } of plan.tools) this.doubts.forget(row.effectId);
    for (const doubt of plan.doubts) this.doubts.add(doubt);
    for (const event of plan.events) this.look(event);
    this.pump();
  }

  /** Nothing is granted before: a wait here leaves nothing that could look like a call. */
  private async awaitTurn(rated: Rated): Promise<void> {
    await this.turns.wait(rated);
    // What a node grants that is being stopped it could not wait for.
    if (this.stop.signal.aborted || this.isDraining) return;
    this.batch.change({ kind: "admitted", effectId: rated.effectId });
    this.pump();
  }

  private showAccount(account: Account | undefined): void {
    this.ports.spending.noteAccount(this.view.row.agent, this.shown, account);
    this.shown = account;
  }

  private look(event: Plan["events"][number]): void {
    if (event.type === "job.cancel-requested") this.limitCancel();
    if (event.type === "tool.resolved" && event.resolution.kind === "given-up") {
      const message = `a person gave up the call ${event.call}: ${event.resolution.reason}`;
      this.endWith({ kind: "failed", error: { name: "AetherError", code: "E_CONFLICT", message } });
    }
  }

  private limitCancel(): void {
    this.cancelTimer = this.clock.setTimer(CANCEL_MS_MAX, () => this.endWith({ kind: "cancelled" }));
  }

  private endWith(result: JobResult): void {
    // The first end counts, and what it waits for begins the next look by itself.
    if (this.batch.isEnding) return;
    this.batch.end(result);
    this.pump();
  }

  private loseCall(effectId: EffectId): void {
    if (this.batch.toolOf(effectId)?.state !== "granted") return;
    this.trace.lost(effectId);
    this.batch.change({ kind: "lost", effectId, reason: "its time was over" });
    this.pump();
  }

  /** The fence was down; the grant holds for as long as this node owns the job. */
  private async grantAgain(effectId: EffectId): Promise<void> {
    const before = this.batch.grantOf(effectId);
    if (before === undefined || !await this.ownsAgain()) return;
    const granted = this.batch.grantOf(effectId);
    // It was given up meanwhile, or granted anew, which the worker was told.
    if (granted?.row !== before.row) return;
    this.tellGranted(granted);
  }

  private tellGranted({ n, row, secrets }: Granted): void {
    const { effectId, attempt, timeoutMs } = row;
    const fence = this.ports.ownership.fence.number;
    this.trace.granted(row);
    this.say({ kind: "granted", run: this.run, n, effectId, attempt, fence, ...this.secretsFor(secrets) });
    this.callTimers.start(effectId, timeoutMs);
  }

  /** The fence was down when a step was about to begin. */
  private async beginAgain(): Promise<void> {
    if (!await this.ownsAgain() || this.isLeaving) return;
    const fence = this.ports.ownership.fence.number;
    this.say({ kind: "committed", run: this.run, upTo: this.batch.settled, fence });
  }

  /** Waits until this node may act on the world again; false when the job is not its own any more. */
  private async ownsAgain(): Promise<boolean> {
    try {
      await this.ports.ownership.whenValid(this.stop.signal);
      return !this.stop.signal.aborted;
    } catch {
      // ignored: nobody owns the job here any more.
      return false;
    }
  }

  private secretsFor(names: readonly string[]): { readonly secrets?: SecretValues } {
    return names.length === 0 ? {} : { secrets: pickSecrets(names, this.ports.secrets) };
  }

  private makeOffers(): void {
    // A cancel may be there before the worker is: what is said to nobody is lost.
    if (this.worker === undefined) return;
    const nowMs = this.clock.wallMs();
    for (const offer of this.waits.offer(nowMs, this.calls)) this.offer(offer);
    this.dueTimer?.cancel();
    const dueMs = this.waits.nextLookMs(nowMs);
    if (dueMs === undefined) return;
    this.dueTimer = this.clock.setTimer(Math.min(Math.max(0, dueMs - nowMs), TIMER_MS_MAX), () => this.pump());
  }

  private offer({ offer, call, entry, ...offered }: NewOffer): void {
    this.batch.offered(offer, offered);
    this.say({ kind: "offer", run: this.run, offer, ...(call !== undefined && { call }), entry });
  }

  /** Whatever its code would do next, another run of it does. */
  private get isLeaving(): boolean {
    return this.isDraining || this.hold !== undefined || this.gone !== undefined;
  }

  /** Asked when nothing is left to append: is the code at rest, and for how long? */
  private considerLeaving(): void {
    if (this.gone !== undefined) return this.leaveGone(this.gone);
    if (this.isLeaving && (this.batch.underWay > 0 || this.batch.isStoring)) return;
    if (this.isDraining) return this.areStepsUnderWay ? undefined : void this.release();
    if (this.hold !== undefined) return this.holdStill(this.hold);
    if (!this.isInboxSeen || this.view.inbox.revision === this.refusedAt) return;
    if (this.diverged !== undefined) return this.settleCalls() ? this.pump() : this.stick(this.diverged);
    const isIdle = this.idleAfter === this.batch.last || this.batch.isEnding;
    if (!this.batch.isSettled || !isIdle || this.worker === undefined) return;
    const unwanted = this.waits.takeUnwanted(this.calls);
    for (const one of unwanted) this.batch.change(this.changeOf(one));
    if (unwanted.length > 0) return this.pump();
    const leave = this.waits.leave(this.clock.wallMs(), this.calls);
    if (leave === undefined) return;
    this.leave(leave.waiting, { timersSet: leave.timers });
  }

  private get areStepsUnderWay(): boolean {
    return this.areStepsAwaited && this.worker !== undefined && this.diverged === undefined && !this.batch.isEnding;
  }

  /** A child that nobody waits for any more gives back what it has not spent. */
  private changeOf({ n: inbox, entry }: Unwanted): OwnChange {
    const isEnd = entry.kind === "child-completed" || entry.kind === "child-failed";
    if (!isEnd || this.batch.childOf(entry.call)?.reserved === undefined) return { kind: "unwanted", inbox };
    const { call, spent } = entry;
    return { kind: "settled", inbox, call, ...(spent !== undefined && { spent }) };
  }

  /** What the store counts has come here: until then the job could wait for what is there (JOB9). */
  private get isInboxSeen(): boolean {
    const { inbox, head } = this.view;
    return this.waits.unreadEntries.length + this.unreadable >= inbox.last - head.folded;
  }

  /** One that was for an earlier owner has nothing to say to this one, and a job that is to end goes on to its end. */
  private takeHold(inbox: number, entry: HoldEntry): void {
    const { epoch, to, principal } = entry;
    if (epoch !== this.view.row.epoch || this.cancelEnd !== undefined) return this.waits.arrive(inbox, entry);
    const why = `it was asked to hold still by ${principal} and to be moved to ${to}: aether job move moves it ` +
      "there, or lets it go on with what it has";
    this.hold = { inbox, entry, why };
  }

  private forgetHold(): void {
    if (this.hold !== undefined) this.waits.arrive(this.hold.inbox, this.hold.entry);
    this.hold = undefined;
  }

  private holdStill({ inbox, why }: NonNullable<JobRun["hold"]>): void {
    // Something more is on its way here.
    if (this.view.inbox.revision === this.refusedAt) return;
    this.leave({ reason: "stuck", on: [], why }, { folded: [inbox] });
  }

  private leave(waiting: Waiting, rows: Pick<AppendBatch, "timersSet" | "folded">): void {
    const batch = { events: [], atMs: this.clock.wallMs(), ...rows };
    void this.commit(decideWait(this.view, batch, waiting), () => this.drop("waiting"));
  }

  /** Its code and its log do not agree: a person has to look at it. */
  private stick({ code, message }: JobError): void {
    const end = this.endWithoutCode;
    if (end !== undefined) return this.endWith(end);
    const asked = this.cancelEnd === undefined ? "" : "asked to end, it waits for what became of its calls; ";
    const why = `${code === undefined ? "" : `${code}: `}${asked}${message}`.slice(0, WHY_LENGTH_MAX);
    this.leave({ reason: "stuck", on: [], why }, {});
  }

  /** Nobody runs its code here: another node may, unless it is to end and nothing but its calls is in the way. */
  private leaveGone({ event, reason }: NonNullable<JobRun["gone"]>): void {
    if (this.cancelEnd === undefined) return this.fail(event, reason);
    this.batch.forgetRest();
    if (this.settleCalls()) return this.pump();
    const end = this.endWithoutCode;
    if (end === undefined) return this.fail(event, reason);
    this.gone = undefined;
    this.endWith(end);
  }

  /** Without its code: calls that nobody hears of any more are in doubt, and people's word on them counts. */
  private settleCalls(): boolean {
    const hasLost = this.batch.abandonCalls("nothing runs the code any more that made the call");
    const said = this.waits.takeResolutions();
    for (const one of said) this.batch.change({ kind: "resolved", ...one });
    return hasLost || said.length > 0;
  }

  private async release(): Promise<void> {
    if (this.isCommitting || this.stop.signal.aborted) return;
    const decision = decideRelease(this.view, { events: [], atMs: this.clock.wallMs() });
    await this.commit(decision, () => this.drop("released"));
  }

  /** Of a job that was asked to end, and has no call that its end would have to wait for. */
  private get endWithoutCode(): JobResult | undefined {
    return this.view.head.openEffects === 0 ? this.cancelEnd : undefined;
  }

  /** Nothing runs the code any more, here and now. */
  private giveUpCode(event: string, reason: string): void {
    if (this.stop.signal.aborted) return;
    this.worker = undefined;
    const end = this.endWithoutCode;
    if (end !== undefined) return this.endWith(end);
    this.gone = { event, reason };
    this.pump();
  }

  private fail(event: string, reason: string): void {
    this.log.warn({ event, reason });
    this.drop("lost");
  }

  private say(message: Exclude<ToAgent, { readonly kind: "start" }>): void {
    if (!this.stop.signal.aborted) this.worker?.send(message);
  }

  private get limitedUnits(): readonly Unit[] | undefined {
    const limit = this.view.head.account?.limit;
    return limit && UNITS.filter((unit) => limit[unit] !== undefined);
  }

  private get calls(): CallsInDoubt {
    return {
      callOf: (effect) => this.batch.inDoubt(effect),
      forPeople: this.doubts.forPeople,
      shortages: this.batch.shortages,
      busy: this.batch.underWay + this.batch.waitingForRate + this.doubts.asking,
    };
  }
}
