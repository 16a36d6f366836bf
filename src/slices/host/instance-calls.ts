// Owns: the calls of ONE instance: how many run, which wait, their deadlines, and that each gets exactly one reply.
// R1  A call that was never handed to the worker is `not-started`, whatever else happens.
// R2  A call keeps its place among the running until its handler has ended, also when its caller has left: the bound
//     holds for what really runs.
// Does not own: the worker (worker-host.ts).
import { assert } from "../../base/assert.ts";
import type { CancelSignal } from "../../base/cancellation.ts";
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import type { ErrorCode } from "../../base/error-catalog.ts";
import { AetherError } from "../../base/errors.ts";
import type { Clock } from "../../env/clock.ts";
import type { HostMessage } from "../core/worker-protocol.ts";
import { Deadlines, type DeadlineEntry } from "../deadlines.ts";
import type { MethodSpec } from "./instance-host.ts";
import type { IncomingCall, IncomingReply } from "./running-instances.ts";

export interface InstanceCallsPorts {
  post(message: HostMessage): void;
  /** A handler has ended, so long after its call came; with its worker at the latest. */
  onHandled?(method: string, outcome: "ok" | "failed", ms: number): void;
}

export interface InstanceCallsConfig {
  /** The instance, for messages to people. */
  readonly name: string;
  readonly concurrency: number;
  readonly callsQueuedMax: number;
}

interface PendingCall {
  readonly id: number;
  readonly call: IncomingCall;
  readonly effect: MethodSpec["effect"];
  readonly deadline: DeadlineEntry<number>;
  /** Hears how the handler ended, whoever still waits for it. */
  readonly onEnd: ((end: IncomingReply) => void) | undefined;
  /** Undefined once the caller has its reply. */
  resolve: ((reply: IncomingReply) => void) | undefined;
  /** Takes back what listens on the caller's signal, if there is one. */
  release: (() => void) | undefined;
}

type Admission =
  | { readonly kind: "open"; readonly methods: ReadonlyMap<string, MethodSpec> }
  | { readonly kind: "closed"; readonly reason: string };

export class InstanceCalls {
  private readonly clock: Clock;
  private readonly ports: InstanceCallsPorts;
  private readonly config: InstanceCallsConfig;
  private readonly deadlines: Deadlines<number>;
  // Maps keep the order of insertion: the first of `queued` is the oldest, and any can leave at once.
  private readonly queued = new Map<number, PendingCall>();
  private readonly running = new Map<number, PendingCall>();
  private admission: Admission = { kind: "closed", reason: "it has not been activated" };
  private idle: Deferred<void> | undefined;
  private nextId = 1;

  constructor(env: { readonly clock: Clock }, ports: InstanceCallsPorts, config: InstanceCallsConfig) {
    this.clock = env.clock;
    this.ports = ports;
    this.config = config;
    this.deadlines = new Deadlines(env.clock, (id) => this.giveUp(id, "the caller's deadline passed"));
  }

  /** Queued or running. */
  get size(): number {
    return this.queued.size + this.running.size;
  }

  /** Calls that run, and calls that wait for a place. */
  get load(): { readonly inFlight: number; readonly queued: number } {
    return { inFlight: this.running.size, queued: this.queued.size };
  }

  /** Whether no call can start because handlers whose callers have left hold every place. */
  get isClogged(): boolean {
    if (this.running.size < this.config.concurrency) return false;
    for (const { resolve } of this.running.values()) if (resolve !== undefined) return false;
    return true;
  }

  open(methods: readonly MethodSpec[]): void {
    this.admission = { kind: "open", methods: new Map(methods.map((spec) => [spec.method, spec])) };
  }

  /** Refuses calls from now on, also those that wait. Those that run go on. */
  close(reason: string): void {
    this.admission = { kind: "closed", reason };
    for (const pending of this.queued.values()) this.answer(pending, this.refuse("E_UNAVAILABLE", reason));
    this.queued.clear();
    this.checkIdle();
  }

  /** What it answers now; undefined when calls of this method are refused. */
  methodOf(method: string): MethodSpec | undefined {
    return this.admission.kind === "open" ? this.admission.methods.get(method) : undefined;
  }

  /** `onEnd` as in running-instances.ts. */
  invoke(call: IncomingCall, signal?: CancelSignal, onEnd?: (end: IncomingReply) => void): Promise<IncomingReply> {
    const refusal = this.admit(call, signal);
    if (refusal !== undefined) return Promise.resolve(refusal);
    assert(this.admission.kind === "open", "an admitted call has an open instance");
    const effect = this.admission.methods.get(call.method)?.effect ?? "write";
    return new Promise((resolve) => {
      const pending = this.createPending({ call, effect, onEnd, resolve });
      if (signal !== undefined) this.listen(pending, signal);
      if (this.running.size < this.config.concurrency) this.run(pending);
      else this.queued.set(pending.id, pending);
    });
  }

  /** The worker's reply: the handler has ended. */
  receiveReply(id: number, reply: IncomingReply): void {
    const pending = this.running.get(id);
    if (pending === undefined) return;
    this.running.delete(id);
    this.end(pending, reply);
    this.runNext();
    this.checkIdle();
  }

  /** Resolves once nothing runs any more. Only after `close`, or it may never happen. */
  whenIdle(): Promise<void> {
    const idle = (this.idle ??= createDeferred<void>());
    this.checkIdle();
    return idle.promise;
  }

  /** Callers get their reply, handlers their signal; the calls run until their handlers end (R2). */
  cancelRunning(reason: string): void {
    for (const pending of this.running.values()) this.abandon(pending, reason);
  }

  /** The worker is gone: what it was running may or may not have had its effect. */
  failAll(reason: string): void {
    this.close(reason);
    const lost = [...this.running.values()];
    this.running.clear();
    for (const pending of lost) this.end(pending, this.unknownOutcome(pending, reason));
    this.checkIdle();
  }

  private admit(call: IncomingCall, signal: CancelSignal | undefined): IncomingReply | undefined {
    if (this.admission.kind === "closed") return this.refuse("E_UNAVAILABLE", this.admission.reason);
    if (!this.admission.methods.has(call.method)) {
      const methods = [...this.admission.methods.keys()].join(", ");
      return this.refuse("E_NOT_FOUND", `it has no method ${call.method}; it has ${methods}`);
    }
    if (signal?.aborted === true) return this.refuse("E_TIMEOUT", "the caller gave up");
    if (call.timeoutMs <= 0) return this.refuse("E_TIMEOUT", "the caller's deadline has passed");
    if (this.running.size >= this.config.concurrency && this.queued.size >= this.config.callsQueuedMax) {
      return this.refuse("E_OVERLOADED", `${this.queued.size} calls wait for it already`);
    }
    return undefined;
  }

  private createPending(wanted: Pick<PendingCall, "call" | "effect" | "onEnd" | "resolve">): PendingCall {
    const { call, effect, onEnd, resolve } = wanted;
    const id = this.nextId++;
    const deadline = this.deadlines.add(id, this.clock.nowMs() + call.timeoutMs);
    return { id, call, effect, onEnd, resolve, deadline, release: undefined };
  }

  private listen(pending: PendingCall, signal: CancelSignal): void {
    const abort = (): void => this.giveUp(pending.id, "the caller gave up");
    signal.addEventListener("abort", abort, { once: true });
    pending.release = () => signal.removeEventListener("abort", abort);
  }

  private run(pending: PendingCall): void {
    const { method, input, idempotencyKey, traceparent } = pending.call;
    this.running.set(pending.id, pending);
    this.ports.post({
      kind: "call",
      id: pending.id,
      method,
      input,
      timeoutMs: Math.max(0, pending.deadline.atMs - this.clock.nowMs()),
      idempotencyKey,
      traceparent,
    });
  }

  private runNext(): void {
    for (const pending of this.queued.values()) {
      if (this.running.size >= this.config.concurrency) return;
      this.queued.delete(pending.id);
      this.run(pending);
    }
  }

  private giveUp(id: number, reason: string): void {
    const waiting = this.queued.get(id);
    if (waiting !== undefined) {
      this.queued.delete(id);
      return this.answer(waiting, this.refuse("E_TIMEOUT", `${reason} while it waited in the queue`));
    }
    const pending = this.running.get(id);
    if (pending !== undefined) this.abandon(pending, reason);
  }

  private abandon(pending: PendingCall, reason: string): void {
    if (pending.resolve === undefined) return;
    this.ports.post({ kind: "cancel", id: pending.id, reason });
    this.answer(pending, this.unknownOutcome(pending, reason));
  }

  private end(pending: PendingCall, reply: IncomingReply): void {
    const { call, deadline, onEnd } = pending;
    const cameMs = deadline.atMs - call.timeoutMs;
    this.ports.onHandled?.(call.method, reply.kind === "ok" ? "ok" : "failed", this.clock.nowMs() - cameMs);
    this.answer(pending, reply);
    onEnd?.(reply);
  }

  private answer(pending: PendingCall, reply: IncomingReply): void {
    const { resolve } = pending;
    pending.resolve = undefined;
    this.deadlines.clear(pending.deadline);
    pending.release?.();
    resolve?.(reply);
  }

  private checkIdle(): void {
    if (this.size > 0 || this.idle === undefined) return;
    this.idle.resolve();
    this.idle = undefined;
  }

  private refuse(code: ErrorCode, reason: string): IncomingReply {
    const message = `instance ${this.config.name} did not start the call: ${reason}`;
    return { kind: "not-started", error: new AetherError(code, message, { outcome: "not-applied" }).toBody() };
  }

  private unknownOutcome(pending: PendingCall, reason: string): IncomingReply {
    const message = `${pending.call.method} was running in ${this.config.name} when this happened: ${reason}`;
    const outcome = pending.effect === "read" ? "none" : "unknown";
    return { kind: "failed", error: new AetherError("E_TIMEOUT", message, { outcome }).toBody() };
  }
}
