// Owns: ONE run of the code of one job: what it asks for, what it is given and in which order, what of it the node is
// told. Does not own: what a job looks like to its code (job-api.ts), which runs there are (agent-runtime.ts).
//
// Code is given one value per turn of the event loop, in a fresh run as in replay, and what it is given is numbered
// when it gets it. So all that code does on hearing it (promises that settle, races, counters) is done before the
// next one, and the order in which it saw values is the order of its log. Only a time that code asks for while it hears
// of ends from the job that its own does again stands behind all of these.
import { unreachable } from "../../base/assert.ts";
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import { AetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock, Timer } from "../../env/clock.ts";
import type { CallName } from "../core/ids.ts";
import { readEvent } from "../core/log/upcast.ts";
import type { JobError } from "../core/rows.ts";
import {
  NEXT_CALLS_MAX,
  type AgentOp, type FromAgent, type OfferedEntry, type RunNumber, type RunStart,
  type ToAgent, type ToolOutcome,
} from "../core/worker/messages.ts";
import { carriedBy } from "../core/worker/op-payload.ts";
import { ReplayMatch, type Delivery } from "../core/worker/replay-match.ts";
import { doneBeforeTakeOver } from "../core/worker/done-calls.ts";
import type { AgentModule } from "./agent-module.ts";
import {
  approvalFor, childFor, completedWith, endedCall, failedCall, failedWith, filled, isLarge, isWait, offered, resultFor,
  settle, signalFor, timedOut, withoutRoom,
  type Asked, type Ended, type Ready,
} from "./given.ts";
import { LargePayloads, type ToPayloads } from "./large-payloads.ts";
import { checkNow, errorFor, jobErrorOf, payloadOf } from "./payload.ts";
import { StepGates } from "./step-gates.ts";
import { mismatch, TakeOverChecks, type VerifiedCall } from "./take-over-checks.ts";
import { dispatch, type RunningTool } from "./tool-runner.ts";
import { UnstoredResults } from "./unstored-results.ts";
import { wantedOp, type AskedOfNode } from "./wanted-op.ts";

export interface AgentRunPorts {
  readonly clock: Pick<Clock, "wallMs" | "setTimer" | "nextTurn">;
  /** Whether what was granted under this fence may be done at this very moment. */
  readonly mayAct: (fence: number) => boolean;
  readonly post: (message: FromAgent) => void;
  /** The value without the secrets that calls were given. */
  readonly redact: <T>(value: T) => T;
}

interface PendingCall {
  readonly asked: Asked;
  readonly settled: Deferred<unknown>;
  /** The operation by which the node was asked for it. */
  wanted: number | undefined;
}

/** Of no node. */
const NO_FENCE = -1;
/** Code that is not where its log says it was, this long after the last value, waits for something else. */
export const REPLAY_STALL_MS = 5 * SECOND_MS;

export class AgentRun {
  readonly signal: AbortSignal;
  private readonly ports: AgentRunPorts;
  private readonly agent: AgentModule;
  private readonly run: RunNumber;
  private readonly start: RunStart;
  private readonly onOver: () => void;
  private readonly stop = new AbortController();
  private readonly replay: ReplayMatch;
  private readonly checks: TakeOverChecks;
  /** What the log has of them. */
  private readonly verified: readonly VerifiedCall[];
  private readonly pending = new Map<CallName, PendingCall>();
  /** Asked for while it is open whether the code does what its log says it did: nothing new is begun meanwhile. */
  private readonly held = new Set<PendingCall>();
  private readonly ready: Ready[] = [];
  /** Calls whose input is large, until the node has room for it. */
  private readonly withoutRoom: PendingCall[] = [];
  private readonly payloads: LargePayloads;
  private readonly steps: StepGates;
  private readonly unstored = new UnstoredResults();
  private readonly wanted = new Map<number, CallName>();
  private readonly tools = new Map<CallName, RunningTool>();
  /** Number of the last operation. */
  private last = 0;
  private lastNowMs = 0;
  private isTurnDue = false;
  private isMatched = false;
  private isIdleSaid = false;
  /** The job is to go to another node, and the node is told once no step runs. */
  private leaving: "not" | "asked" | "said" = "not";
  private isOver = false;
  private stall: Timer | undefined;
  private end: Ended | undefined;
  private cancelled: Error | undefined;
  /** A cancel that hit no wait and no step: the next call fails with it. */
  private isCancelOwed = false;
  private givenUp: JobError | undefined;
  /** The code has not begun, because its input is fetched. */
  private wantedInput: Deferred<unknown> | undefined;

  /** @throws AetherError E_VERSION, E_DATA_CORRUPT for a log that cannot be read */
  constructor(
    ports: AgentRunPorts,
    { agent, run, start, onOver }: {
      readonly agent: AgentModule; readonly run: RunNumber; readonly start: RunStart; readonly onOver: () => void;
    },
  ) {
    this.ports = ports;
    this.agent = agent;
    this.run = run;
    this.start = start;
    this.onOver = onOver;
    this.signal = this.stop.signal;
    this.steps = new StepGates({
      mayAct: ports.mayAct,
      signal: this.signal,
      onHeldUp: () => ports.post({ kind: "not-begun", run }),
      onAnswer: (ready) => this.addOwn(ready),
      wallMs: () => ports.clock.wallMs(),
    }, start.fence ?? NO_FENCE);
    const events = start.log.map((bytes) => readEvent(bytes).event);
    this.replay = new ReplayMatch(events);
    this.checks = new TakeOverChecks(ports.clock, {
      agent, signal: this.stop.signal, done: start.epoch > 1 ? doneBeforeTakeOver(events) : [],
      ask: (secrets) => ports.post({ kind: "verifying", run, secrets }),
    });
    this.verified = events.filter((event) => event.type === "tool.verified");
    this.payloads = new LargePayloads({
      run,
      post: (message) => ports.post(message),
      onChange: () => this.wake(),
      onLost: (error) => this.stickWith(error),
    });
    const hasNothing = this.replay.isOver && this.replay.missing() === undefined;
    this.isMatched = hasNothing && start.isReplayOnly !== true;
  }

  /** Whether what calls right now is a step: none of its calls would be there in replay. */
  get isInsideStep(): boolean {
    return this.steps.isInsideStep;
  }

  /** Whether the code gets what a log has. */
  get isReplaying(): boolean {
    return !this.replay.isOver;
  }

  /** Begins the code; `job` is what it gets beside its input. */
  begin(job: unknown): void {
    void this.runCode(job);
    this.wake();
  }

  receive(message: Exclude<ToAgent, { readonly kind: "start" | "reconcile" } | ToPayloads>): void {
    if (this.isOver) return;
    switch (message.kind) {
      case "committed":
        return this.commit(message);
      case "granted":
        return this.dispatch(message);
      case "refused":
        return this.takeRefusal(message.n, message.error);
      case "step-allowed":
        return this.allowStep(message.n);
      case "leave":
        this.leaving = "asked";
        this.steps.close();
        return this.wake();
      case "verify":
        return void this.checks.run(message.secrets ?? {}).then((verified) => this.takeVerdicts(verified));
      case "offer":
        return this.takeOffer(message.offer, message.call, message.entry);
      case "drop":
        return this.drop(new AetherError("E_FENCED", "the job goes on elsewhere, or has ended"));
      default:
        return unreachable(message);
    }
  }

  /** Of payloads, also when the code has ended: the node may still be fetching what it made. */
  receivePayload(message: ToPayloads): void {
    this.payloads.receive(message);
  }

  /** What the log has, or is to have, as the input of a call that goes on. */
  inputOf(call: CallName): unknown {
    const asked = this.pending.get(call)?.asked;
    return asked?.kind === "tool" ? asked.input : undefined;
  }

  /** What the code gets for a call. Never settles once the run is over. */
  ask(asked: Asked): Promise<unknown> {
    const settled = createDeferred<unknown>();
    // ignored: code that does not wait for its own call does not hear of it, and the worker lives on.
    settled.promise.catch(() => undefined);
    if (this.isDeaf) return settled.promise;
    const cancelled = this.refusalByCancel(asked);
    if (cancelled !== undefined) {
      settled.reject(cancelled);
      return settled.promise;
    }
    const found = this.replay.call(asked);
    if (found.kind === "diverged") {
      this.diverge(found.error);
      return settled.promise;
    }
    const pending: PendingCall = { asked, settled, wanted: undefined };
    this.pending.set(asked.call, pending);
    if (this.isMatched) this.beginCall(pending);
    else this.held.add(pending);
    this.wake();
    return settled.promise;
  }

  /** Ends this run of the job for a new one. Never resolves; rejects when the run cannot end here. */
  continueAs(next: Omit<Extract<AgentOp, { readonly kind: "continued" }>, "kind">, bytes: number): Promise<never> {
    const settled = createDeferred<never>();
    // ignored: code that does not wait for its own call does not hear of it, and the worker lives on.
    settled.promise.catch(() => undefined);
    if (this.isDeaf) return settled.promise;
    if (this.cancelled !== undefined) {
      this.isCancelOwed = false;
      settled.reject(this.cancelled);
    } else if (this.pending.size > 0) {
      const calls = [...this.pending.keys()].map((call) => `"${call}"`).join(", ");
      settled.reject(new AetherError("E_INVALID", `the run cannot end with ${calls} under way: await them before ` +
        "continueAs"));
    } else {
      this.end = { op: { kind: "continued", ...next }, bytes };
      if (this.isMatched) this.finishWhenSettled();
      this.wake();
    }
    return settled.promise;
  }

  /** The time, as code sees it. @throws AetherError E_NONDETERMINISM */
  now(call: CallName): number {
    const found = this.isDeaf ? SAME : this.replay.value(call);
    if (found.kind === "diverged") {
      this.diverge(found.error);
      throw found.error;
    }
    const isRecorded = found.kind === "recorded";
    const nowMs = isRecorded ? Number(found.value) : Math.max(this.lastNowMs, Math.floor(this.ports.clock.wallMs()));
    this.lastNowMs = Math.max(this.lastNowMs, nowMs);
    if (!isRecorded && !this.isDeaf) this.tell({ kind: "value", call, value: nowMs });
    return nowMs;
  }

  emit(data: unknown): void {
    if (this.isOver || this.isReplaying) return;
    const payload = payloadOf(data);
    if (payload.kind === "refused") throw new AetherError(payload.code, `did not emit: the data are ${payload.text}`);
    this.ports.post({ kind: "emit", run: this.run, data: payload.value });
  }

  private tellToken(call: CallName, text: string): void {
    if (!this.isOver) this.ports.post({ kind: "emit", run: this.run, data: { kind: "llm-token", call, text } });
  }

  /** What asks now is heard by nobody any more. */
  private get isDeaf(): boolean {
    return this.isOver || this.end !== undefined;
  }

  private async runCode(job: unknown): Promise<void> {
    const end = await this.codeEnd(job);
    // What code does after continueAs is of no run any more.
    if (this.isOver || this.end !== undefined) return;
    this.end = this.givenUp === undefined ? end : { op: { kind: "failed", error: this.givenUp } };
    for (const pending of this.pending.values()) if (pending.asked.kind !== "tool") this.close(pending);
    this.leaveSteps();
    if (this.isMatched) this.finishWhenSettled();
    this.wake();
  }

  private async codeEnd(job: unknown): Promise<Ended> {
    const input = checkNow(this.agent.input, await this.input());
    if (input.kind === "invalid") {
      return failedWith("E_INVALID", `the input of the agent ${this.agent.name} is invalid: ${input.text}`);
    }
    try {
      return completedWith(this.agent, await this.agent.run(job, input.data));
    } catch (thrown) {
      const op = thrown === this.cancelled ? CANCELLED : { kind: "failed", error: jobErrorOf(thrown) } as const;
      return { op };
    }
  }

  private async input(): Promise<unknown> {
    const { input, inputBlob } = this.start;
    if (inputBlob === undefined) return input;
    this.wantedInput = createDeferred();
    this.wake();
    return await this.wantedInput.promise;
  }

  private refusalByCancel(asked: Asked): Error | undefined {
    if (this.cancelled === undefined) return undefined;
    if (!isWait(asked) && !this.isCancelOwed) return undefined;
    this.isCancelOwed = false;
    return this.cancelled;
  }

  // Turns.

  private wake(): void {
    if (this.isOver || this.isTurnDue) return;
    this.isTurnDue = true;
    this.ports.clock.nextTurn(() => {
      this.isTurnDue = false;
      this.turn();
    });
  }

  private turn(): void {
    if (this.isOver) return;
    this.wantHeldBack();
    if (!this.giveNext()) return this.isWaitingToGive ? undefined : this.rest();
    this.stall?.cancel();
    this.stall = undefined;
    this.wake();
  }

  private giveNext(): boolean {
    if (this.wantedInput !== undefined) return this.giveInput(this.wantedInput);
    const { ahead } = this.replay;
    if (ahead !== undefined) return this.giveRecorded(ahead);
    if (!this.isMatched) return false;
    for (;;) {
      const ready = this.ready.find((one) => !this.isHeldBack(one));
      if (ready === undefined) return false;
      if (this.isWanted(ready)) return this.giveReady(ready);
      this.leaveOut(ready);
      this.payloads.forget(ready);
    }
  }

  /** There is more for the code, which the node has to make room for or to hand over first. */
  private get isWaitingToGive(): boolean {
    return this.payloads.isWaiting || (this.isMatched && this.ready.length > 0);
  }

  /**
   * What a step answered waits until the node has stored enough of what it was told, or its memory would fill. What
   * became of a call that went out does not wait, and nothing does that another node would have to do again.
   */
  private isHeldBack(ready: Ready): boolean {
    return this.unstored.isFull && this.leaving === "not" && ready.op.kind === "step-completed" && this.isWanted(ready);
  }

  private leaveOut(ready: Ready): void {
    this.ready.splice(this.ready.indexOf(ready), 1);
  }

  private giveInput(wanted: Deferred<unknown>): boolean {
    const { inputBlob } = this.start;
    const input = inputBlob && this.payloads.take(inputBlob);
    if (input === undefined) return false;
    this.wantedInput = undefined;
    wanted.resolve(input.value);
    return true;
  }

  private giveRecorded(ahead: Delivery): boolean {
    const whole = this.whole(ahead);
    if (whole === undefined) return false;
    this.replay.next();
    this.give(whole);
    return true;
  }

  private giveReady(ready: Ready): boolean {
    const { delivery } = ready;
    const whole = delivery.kind === "again" ? delivery : this.whole(delivery);
    if (whole === undefined) return false;
    const { bytes = 0 } = ready;
    const room = isLarge(bytes) ? this.payloads.roomFor(ready, bytes) : undefined;
    if (room?.kind === "waits") return false;
    this.leaveOut(ready);
    if (room?.kind === "refused") {
      this.payloads.forget(ready);
      const failed = withoutRoom(ready, room.error);
      this.tell(failed.op);
      if (failed.delivery.kind !== "again") this.give(failed.delivery);
      return true;
    }
    this.tell(ready.op, { bytes, ...(room !== undefined && { owner: ready }) });
    if (whole.kind === "again") this.wantAgain(whole.call);
    else this.give(whole);
    return true;
  }

  /** With what is stored apart in its place; undefined while that is fetched. */
  private whole(delivery: Delivery): Delivery | undefined {
    const blob = "blob" in delivery ? delivery.blob : undefined;
    if (blob === undefined) return delivery;
    const taken = this.payloads.take(blob);
    return taken === undefined ? undefined : filled(delivery, taken.value);
  }

  private isWanted({ delivery }: Ready): boolean {
    if (delivery.kind === "cancel") return this.cancelled === undefined && this.end === undefined;
    return this.pending.has(delivery.call);
  }

  /** The code does nothing more by itself, and there is nothing that it could be given now. */
  private rest(): void {
    if (this.leaving === "asked" && !this.steps.isBusy) {
      this.leaving = "said";
      this.ports.post({ kind: "left", run: this.run });
    }
    if (!this.isMatched) return this.match();
    this.finishWhenSettled();
    const isBusy = this.steps.isBusy || this.tools.size > 0;
    if (this.isOver || isBusy || this.pending.size === 0 || this.isIdleSaid) return;
    this.isIdleSaid = true;
    this.ports.post({ kind: "idle", run: this.run, after: this.last });
  }

  /** Goes on from where the log ends, if the code is there. */
  private match(): void {
    const missing = this.replay.missing();
    if (missing !== undefined) {
      if (this.end !== undefined) return this.diverge(this.replay.missed(missing, "has ended"));
      this.stall ??= this.ports.clock.setTimer(REPLAY_STALL_MS, () => this.giveUpMatching());
      return;
    }
    this.stall?.cancel();
    if (this.start.isReplayOnly === true) return this.endReplay();
    // It was to fail, and waited until somebody knew what became of another call.
    const failed = mismatch(this.verified, "strict");
    if (failed !== undefined) return this.failWith(jobErrorOf(failed));
    if (this.checks.isDue) return this.checks.ask();
    this.isMatched = true;
    for (const pending of [...this.held]) this.beginCall(pending);
    this.held.clear();
    this.wake();
  }

  /** What calls that are recorded as done are found to be, before anything new is begun. */
  private takeVerdicts(verified: readonly VerifiedCall[]): void {
    if (this.isOver) return;
    for (const { call, verdict, onMismatch } of verified) this.tell({ kind: "verified", call, verdict, onMismatch });
    const strict = mismatch(verified, "strict");
    if (strict !== undefined) return this.failWith(jobErrorOf(strict));
    const human = mismatch(verified, "human");
    if (human !== undefined) return this.diverge(human);
    this.wake();
  }

  /** The job fails, whatever its code does, once it is known what became of calls that are under way. */
  private failWith(error: JobError): void {
    this.givenUp = error;
    this.end = { op: { kind: "failed", error } };
    this.isMatched = true;
    for (const pending of [...this.pending.values()]) {
      if (pending.asked.kind === "tool" && this.replay.isOpen(pending.asked.call)) this.beginCall(pending);
      else this.close(pending);
    }
    this.held.clear();
    this.wake();
  }

  /** All of the log was given, and more is not done. Where the log has the job's end the code should end by itself. */
  private endReplay(): void {
    const isAtRest = this.end !== undefined || (this.pending.size > 0 && !this.replay.hasEnded);
    if (isAtRest) this.tellReplayed();
    else this.stall = this.ports.clock.setTimer(REPLAY_STALL_MS, () => this.tellReplayed());
  }

  private tellReplayed(): void {
    if (this.isOver) return;
    const end = this.end && this.payloads.named(this.end);
    const next = [...this.pending.keys()].slice(0, NEXT_CALLS_MAX);
    this.ports.post({ kind: "replayed", run: this.run, ...(end !== undefined && { end }), next });
    this.drop(new AetherError("E_FENCED", "the log is over, and this run does nothing more"));
  }

  private giveUpMatching(): void {
    const missing = this.replay.missing();
    if (this.isOver || missing === undefined) return;
    const waiting = [...this.pending.keys()].map((call) => `"${call}"`).join(", ");
    const found = waiting === "" ? "waits for something outside of job.…" : `waits for ${waiting}`;
    this.diverge(this.replay.missed(missing, found));
  }

  private finishWhenSettled(): void {
    // What became of a call that went out belongs into the log before its end.
    const { end } = this;
    if (end === undefined || this.pending.size > 0) return;
    const { op, bytes = 0 } = end;
    const room = isLarge(bytes) ? this.payloads.roomFor(end, bytes) : undefined;
    if (room?.kind === "waits") return;
    if (room?.kind === "refused") this.tell({ kind: "failed", error: room.error });
    else this.tell(op, { bytes, ...(room !== undefined && { owner: end }) });
    this.leave();
  }

  private diverge(error: AetherError): void {
    this.stickWith(jobErrorOf(error));
  }

  /** The code cannot go on as its log says: that is for a person to see. */
  private stickWith(error: JobError): void {
    if (this.isOver) return;
    this.ports.post({ kind: "diverged", run: this.run, error });
    this.drop(new AetherError("E_NONDETERMINISM", error.message));
  }

  private drop(reason: AetherError): void {
    for (const tool of this.tools.values()) tool.abandon(reason);
    this.stop.abort(reason);
    this.leave();
  }

  private leave(): void {
    this.isOver = true;
    this.stall?.cancel();
    this.pending.clear();
    this.onOver();
  }

  /** `owner` has room for the payload of the operation, which is stored apart. */
  private tell(
    whole: AgentOp, { bytes = 0, owner }: { readonly bytes?: number; readonly owner?: object } = {},
  ): number {
    this.last += 1;
    this.isIdleSaid = false;
    const op = owner === undefined ? whole : this.heldApart(whole, owner);
    this.steps.told(this.last, bytes);
    // What is stored apart has room of its own.
    if (owner === undefined && (op.kind === "step-completed" || op.kind === "outcome")) {
      this.unstored.add(this.last, bytes);
    }
    this.ports.post({ kind: "op", run: this.run, n: this.last, op });
    return this.last;
  }

  private heldApart(op: AgentOp, owner: object): AgentOp {
    const carried = carriedBy(op);
    return carried?.apart(this.payloads.hold(owner, carried.value, this.last)) ?? op;
  }

  // What code is given.

  private give(delivery: Delivery): void {
    if (delivery.kind === "cancel") return this.cancel();
    const pending = this.pending.get(delivery.call);
    // Of a call that nobody waits for since a cancel, or since the code has ended.
    if (pending === undefined) return;
    this.close(pending);
    const { asked, settled } = pending;
    switch (delivery.kind) {
      case "value":
        return settled.resolve(delivery.value);
      case "error":
        return settled.reject(this.rejectionOf(delivery.error));
      case "result":
        return settle(settled, resultFor(asked, delivery));
      case "signal":
        return settle(settled, signalFor(asked, delivery.payload));
      case "child":
        return settle(settled, childFor(asked, delivery.output));
      case "timer":
        return settle(settled, timedOut(asked));
      case "decided":
        return settled.resolve(approvalFor(delivery));
      case "given-up":
        this.givenUp = { name: "AetherError", message: `given up on "${delivery.call}": ${delivery.reason}` };
        return settled.reject(errorFor(this.givenUp));
      default:
        return unreachable(delivery);
    }
  }

  /** A call that the cancel has ended is refused by the cancel itself, live as in replay. */
  private rejectionOf(error: JobError): Error {
    if (this.cancelled === undefined || error.name !== this.cancelled.name) return errorFor(error);
    this.isCancelOwed = false;
    return this.cancelled;
  }

  private close(pending: PendingCall): void {
    this.pending.delete(pending.asked.call);
    this.held.delete(pending);
    if (pending.wanted !== undefined) this.wanted.delete(pending.wanted);
  }

  private cancel(): void {
    const cancelled = errorFor({ name: "JobCancelled", message: "the job was cancelled" });
    this.cancelled = cancelled;
    this.isCancelOwed = true;
    this.stop.abort(cancelled);
    for (const tool of this.tools.values()) tool.interrupt(cancelled);
    for (const pending of [...this.pending.values()]) {
      // What became of a call that may have gone out is to be known.
      if (pending.asked.kind === "tool") continue;
      this.isCancelOwed = false;
      this.close(pending);
      pending.settled.reject(cancelled);
    }
    this.leaveSteps();
  }

  /** Those that nobody waits for do not begin any more. */
  private leaveSteps(): void {
    this.steps.keepOnly((call) => this.pending.has(call));
  }

  // What code asks for.

  private beginCall(pending: PendingCall): void {
    const { asked } = pending;
    if (asked.kind !== "step") {
      return this.want(pending, this.wantedBy(asked), "inputBytes" in asked ? asked.inputBytes : 0);
    }
    if (this.areStepsLimited) return this.want(pending, { kind: "want-step", call: asked.call });
    this.steps.add(asked, this.last);
  }

  private wantedBy(asked: AskedOfNode): AgentOp {
    return wantedOp(asked, {
      // A wait that the log knows ends when it was to end then.
      dueMs: (durationMs) => this.replay.dueMs(asked.call) ?? Math.floor(this.ports.clock.wallMs()) + durationMs,
      isLimited: this.start.limited !== undefined,
    });
  }

  private get areStepsLimited(): boolean {
    return this.start.limited?.includes("steps") ?? false;
  }

  private allowStep(n: number): void {
    const call = this.wanted.get(n);
    const asked = call === undefined ? undefined : this.pending.get(call)?.asked;
    if (asked?.kind !== "step") return;
    this.isIdleSaid = false;
    this.steps.add(asked, n);
  }

  private want(pending: PendingCall, op: AgentOp, bytes = 0): void {
    const room = isLarge(bytes) ? this.payloads.roomFor(pending, bytes) : undefined;
    if (room?.kind === "waits") return void this.withoutRoom.push(pending);
    if (room?.kind === "refused") {
      this.payloads.forget(pending);
      return this.add(failedCall(pending.asked.call, room.error));
    }
    if (pending.wanted !== undefined) this.wanted.delete(pending.wanted);
    pending.wanted = this.tell(op, { bytes, ...(room !== undefined && { owner: pending }) });
    this.wanted.set(pending.wanted, pending.asked.call);
  }

  /** Their inputs may have room by now. */
  private wantHeldBack(): void {
    const calls = this.withoutRoom.splice(0);
    for (const pending of calls) {
      if (this.pending.get(pending.asked.call) === pending) this.beginCall(pending);
      else this.payloads.forget(pending);
    }
  }

  /** It is known that it has not happened. */
  private wantAgain(call: CallName): void {
    const pending = this.pending.get(call);
    if (pending?.asked.kind !== "tool") return;
    // A job that is to fail makes nothing again.
    if (this.givenUp === undefined) this.beginCall(pending);
    else this.close(pending);
  }

  // What the node says.

  private commit({ upTo, ahead = [], fence }: Extract<ToAgent, { readonly kind: "committed" }>): void {
    const wasFull = this.unstored.isFull;
    this.unstored.store(upTo, ahead);
    this.payloads.commit(upTo);
    this.steps.commit(upTo, fence);
    if (wasFull) this.wake();
  }

  private dispatch({ n, effectId, fence, secrets = {} }: Extract<ToAgent, { readonly kind: "granted" }>): void {
    const call = this.wanted.get(n);
    const asked = call === undefined ? undefined : this.pending.get(call)?.asked;
    if (asked?.kind !== "tool") return;
    const mayAct = (): boolean => !this.isOver && this.ports.mayAct(fence);
    const onOutcome = (outcome: ToolOutcome): void => this.takeOutcome(asked.call, { effectId, outcome });
    const onToken = (text: string): void => this.tellToken(asked.call, text);
    const { tool, data: input } = asked;
    const running = dispatch({ tool, input, effectId, mayAct, onOutcome, secrets, onToken }, this.ports.clock);
    if (running !== undefined) {
      this.tools.set(asked.call, running);
      this.isIdleSaid = false;
    } else this.ports.post({ kind: "not-dispatched", run: this.run, call: asked.call, effectId });
  }

  private takeOutcome(
    call: CallName, { effectId, outcome }: Omit<Extract<AgentOp, { readonly kind: "outcome" }>, "kind" | "call">,
  ): void {
    if (this.isOver) return;
    this.tools.delete(call);
    const op = { kind: "outcome", call, effectId, outcome } as const;
    const ready = endedCall(op);
    if (ready !== undefined) return this.addOwn(ready);
    // The call is not over: the tool may still answer, or somebody else may know.
    this.tell(op);
    this.wake();
  }

  private takeRefusal(n: number, error: JobError): void {
    const call = this.wanted.get(n);
    // Recorded as what the call came to: code goes on from it, in replay too.
    if (call !== undefined) this.add(failedCall(call, error));
  }

  private takeOffer(offer: number, call: CallName | undefined, entry: OfferedEntry): void {
    const asked = call === undefined ? undefined : this.pending.get(call)?.asked;
    const delivery = offered(asked, entry);
    if (delivery !== undefined) this.add({ op: { kind: "took", offer }, delivery });
  }

  /** What came to be in this worker: the code gets it as the log has it. */
  private addOwn(ready: Ready): void {
    this.add(this.ports.redact(ready));
  }

  private add(ready: Ready): void {
    if (this.isOver) return;
    this.ready.push(ready);
    this.wake();
  }
}

const SAME = { kind: "same" } as const;
const CANCELLED = { kind: "cancelled" } as const;
