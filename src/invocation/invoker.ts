// Owns: one call from this node, from its first attempt to its one result. Does not own: the rules of retrying
// (core/retry-policy.ts), of choosing (core/pick-endpoint.ts), attempts on other nodes (remote-caller.ts).
import { Cancellation, type CancelSignal } from "../base/cancellation.ts";
import { AetherError, toAetherError, type AetherErrorOptions, type ErrorBody } from "../base/errors.ts";
import type { ErrorCode } from "../base/error-catalog.ts";
import type { NodeId } from "../base/ids.ts";
import { SeededRandom, type Random } from "../base/random.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Endpoint, EndpointLookup } from "../cluster/endpoints/endpoint-lookup.ts";
import type { CallTally } from "../cluster/rollouts/call-tallies.ts";
import { Wake } from "../cluster/wake.ts";
import type { Env } from "../env/env.ts";
import type { Span } from "../env/tracing.ts";
import { formatKey } from "../kvstore/core/key.ts";
import { TIMEOUT_MS_DEFAULT } from "../sdk/call-timeouts.ts";
import { classOf, withClass } from "../slices/core/call-failure.ts";
import {
  CALL_BYTES_MAX, plainRefusalError, toPlain, type PlainData, type PlainResult,
} from "../slices/core/plain-data.ts";
import type { CallMeter, CallOutcome } from "../slices/host/call-meter.ts";
import type { CallReply, OutgoingCall, OutgoingCalls } from "../slices/host/outgoing-calls.ts";
import type { RunningInstances } from "../slices/host/running-instances.ts";
import { classOfFailure, judgeAttempt, type AttemptResult } from "./core/attempt-verdict.ts";
import { CALL_TIMEOUT_MS_MAX, deadlineAfter, isUsableTimeout, remainingMs, type Deadline } from "./core/deadline.ts";
import { EndpointLoads, type AttemptTicket } from "./core/endpoint-loads.ts";
import { pickEndpoint, type Picked } from "./core/pick-endpoint.ts";
import { decideRetry, type AttemptFailure, type RetryDecision, type RetryPolicy } from "./core/retry-policy.ts";
import { formatTraceparent, HopIds, parseTraceparent, type TraceContext } from "./core/trace-context.ts";
import type { InvocationConfig } from "./invocation-config.ts";
import { createInvocationMetrics, type InvocationMetrics } from "./metrics.ts";
import { attemptResultOf, type RemoteCaller } from "./remote-caller.ts";
import { rpcAttributes } from "./span-attributes.ts";

export type InvokerEnv = Pick<Env, "clock" | "random" | "telemetry">;

export interface InvokerPorts {
  readonly lookup: EndpointLookup;
  readonly local: RunningInstances;
  readonly remote: RemoteCaller;
  readonly self: NodeId;
  readonly tally: CallTally;
  /** Counts the calls that end. */
  readonly made: CallMeter;
}

/** A call under way. */
interface Progress {
  readonly call: OutgoingCall;
  /** Plain data, a copy: what the caller does to its own later does not reach the handler. */
  readonly input: unknown;
  readonly signal: CancelSignal | undefined;
  readonly deadline: Deadline;
  /** What the caller is part of. */
  readonly trace: TraceContext | undefined;
  /** Of the call, where traces are recorded. */
  readonly span: Span | undefined;
  readonly tried: Set<string>;
  attempts: number;
  countedRetries: number;
  /** Whether some attempt was sent and not answered: a later, clean refusal does not undo that. */
  isInDoubt: boolean;
  lastError: ErrorBody | undefined;
}

/** In the counts of calls: what reached no endpoint. */
const NO_NAME = "?";

type Begun = { readonly startMs: number } & Pick<Progress, "span">;

/** Longer ones are hashes of something: send those. */
const IDEMPOTENCY_KEY_LENGTH_MAX = 256;

type Admission = PlainData | { readonly kind: "refused"; readonly error: ErrorBody };

type Found =
  | { readonly kind: "endpoint"; readonly picked: Picked }
  | { readonly kind: "none"; readonly error: ErrorBody };

export class Invoker implements OutgoingCalls {
  private readonly env: InvokerEnv;
  private readonly ports: InvokerPorts;
  private readonly config: InvocationConfig;
  private readonly metrics: InvocationMetrics;
  private readonly random: Random;
  private readonly hops: HopIds;
  private readonly loads = new EndpointLoads();
  /** Calls that wait for an endpoint. */
  private readonly waiting = new Set<Wake>();
  private underWay = 0;
  /** Of the inputs of calls under way. */
  private bytesUnderWay = 0;

  constructor(env: InvokerEnv, ports: InvokerPorts, config: InvocationConfig) {
    this.env = env;
    this.ports = ports;
    this.config = config;
    this.metrics = createInvocationMetrics(env.telemetry);
    // Drawing each choice from the operating system would cost a call more than the choice.
    this.random = new SeededRandom(env.random.fork("invoker").below(2 ** 32));
    this.hops = new HopIds(env.random.fork("trace"));
    ports.lookup.onChange(() => this.takeChange());
  }

  /** Never rejects: every failure is a reply. */
  async call(call: OutgoingCall, signal?: CancelSignal): Promise<CallReply> {
    const startMs = this.env.clock.nowMs();
    const span = this.beginSpan(call);
    const begun = { startMs, span };
    const timeoutMs = call.timeoutMs ?? this.methodTimeoutMs(call);
    const input = this.admit(call, timeoutMs, signal);
    if (input.kind === "refused") return this.report(call, { kind: "error", error: input.error, attempts: 0 }, begun);
    this.countUnderWay(1, input.bytes);
    const deadline = deadlineAfter(startMs, timeoutMs);
    try {
      const progress = createProgress(call, { input: input.value, signal, deadline, span });
      return this.report(call, await this.run(progress), begun);
    } catch (thrown) {
      // What we did not foresee may have happened after sending.
      const error = withClass(toAetherError(thrown).toBody(), "no-answer");
      return this.report(call, { kind: "error", error, attempts: 1 }, begun);
    } finally {
      this.countUnderWay(-1, -input.bytes);
    }
  }

  private async run(progress: Progress): Promise<CallReply> {
    for (;;) {
      const found = this.lookUp(progress) ?? (await this.waitForEndpoint(progress));
      if (found.kind === "none") return fail(progress, found.error);
      const { endpoint } = found.picked;
      // A write that is sent without any time left would be in doubt for nothing.
      if (this.remainingMs(progress) <= 0) return fail(progress, progress.lastError ?? deadlinePassed(progress.call));
      const result = await this.attempt(progress, endpoint);
      if (result.kind === "ok") return { attempts: progress.attempts, ...result };
      progress.isInDoubt ||= result.kind === "no-answer" && endpoint.effect !== "read";
      progress.lastError = attemptError(result, endpoint);
      noteFailedAttempt(progress, endpoint, result);
      const decision = this.decide(progress, found.picked, result);
      if (decision.kind === "give-up") return fail(progress, progress.lastError);
      this.metrics.retries.add(1);
      if (decision.counts) progress.countedRetries += 1;
      if (decision.delayMs > 0 && !(await this.pause(decision.delayMs, progress.signal))) {
        return fail(progress, progress.lastError);
      }
    }
  }

  private async attempt(progress: Progress, endpoint: Endpoint): Promise<AttemptResult> {
    const startMs = this.env.clock.nowMs();
    const timeoutMs = remainingMs(progress.deadline, startMs);
    progress.attempts += 1;
    progress.tried.add(endpoint.id);
    const ticket = this.loads.begin(endpoint, startMs);
    const result = await this.send(progress, endpoint, timeoutMs);
    this.learn(ticket, result, { timeoutMs, hasCallerLeft: progress.signal?.aborted === true });
    return result;
  }

  /** Which endpoint the next call gets depends on how this one went. */
  private learn(
    ticket: AttemptTicket,
    result: AttemptResult,
    caller: { readonly timeoutMs: number; readonly hasCallerLeft: boolean },
  ): void {
    const { endpoint, startMs } = ticket;
    const nowMs = this.env.clock.nowMs();
    const usualMs = this.loads.usualMsOf(endpoint);
    const verdict = judgeAttempt(result, { waitedMs: nowMs - startMs, usualMs, ...caller });
    this.count(endpoint, result, { ms: nowMs - startMs, hasCallerLeft: caller.hasCallerLeft });
    const change = this.loads.end(ticket, verdict, nowMs);
    if (change === undefined) return;
    this.metrics.breakersOpen.set(this.loads.brokenCount);
    const { node, instance } = endpoint;
    const { log } = this.env.telemetry;
    if (change === "closed") log.info({ event: "call.breaker-closed", peer: node, instance });
    else log.warn({ event: "call.breaker-opened", peer: node, instance, reason: reasonOf(result) });
  }

  /** What did not reach a handler, or whose caller left, says nothing of a version. */
  private count(
    { slice, specDigest }: Endpoint,
    { kind }: AttemptResult,
    { ms, hasCallerLeft }: { readonly ms: number; readonly hasCallerLeft: boolean },
  ): void {
    const isFailure = kind === "failed" || (kind === "no-answer" && !hasCallerLeft);
    if (kind === "ok") this.ports.tally.note({ slice, specDigest, outcome: "ok", ms });
    else if (isFailure) this.ports.tally.note({ slice, specDigest, outcome: "failed", ms });
  }

  private takeChange(): void {
    for (const wake of this.waiting) wake.notify();
    if (this.loads.brokenCount === 0) return;
    const { lookup } = this.ports;
    this.loads.forgetBroken(({ id, slice, method }) =>
      lookup.find(slice, method).all.endpoints.some((endpoint) => endpoint.id === id));
    this.metrics.breakersOpen.set(this.loads.brokenCount);
  }

  private send(progress: Progress, endpoint: Endpoint, timeoutMs: number): Promise<AttemptResult> {
    const { call, input, signal } = progress;
    const { method, idempotencyKey, lostWhen } = call;
    const request = {
      instance: endpoint.instance,
      method,
      input,
      timeoutMs,
      // Where nobody records, each attempt is a hop of its own.
      traceparent: progress.span?.traceparent ?? formatTraceparent(this.hops.next(progress.trace)),
      idempotencyKey,
      lostWhen,
    };
    return endpoint.node === this.ports.self
      ? this.ports.local.invoke(request, signal).then(attemptResultOf)
      : this.ports.remote.call(endpoint.node, request, signal);
  }

  private decide(progress: Progress, picked: Picked, failure: AttemptFailure): RetryDecision {
    // A caller that has left does not want another attempt.
    if (progress.signal?.aborted === true) return { kind: "give-up" };
    return decideRetry(
      failure,
      {
        effect: picked.endpoint.effect,
        hasKey: progress.call.idempotencyKey !== undefined,
        attempts: progress.attempts,
        countedRetries: progress.countedRetries,
        hasOther: picked.hasOther,
        remainingMs: this.remainingMs(progress),
        jitter: this.random.next(),
      },
      this.retryPolicyOf(picked.endpoint),
    );
  }

  /** The contract may ask for fewer retries than this node allows. */
  private retryPolicyOf({ policy }: Endpoint): RetryPolicy {
    const { max = this.config.retriesMax, backoffMs = this.config.retryBackoffMs } = policy?.retry ?? {};
    return { retriesMax: Math.min(max, this.config.retriesMax), backoffMs };
  }

  /** An endpoint, or why there will be none; undefined when it is worth waiting. */
  private lookUp({ call, tried }: Progress): Found | undefined {
    const { lookup, self } = this.ports;
    const nowMs = this.env.clock.nowMs();
    const endpoints = lookup.find(call.slice, call.method);
    const picked = pickEndpoint({
      endpoints,
      tried,
      artifact: call.artifact,
      range: call.range,
      self,
      isServing: (node) => lookup.isServing(node),
      standingOf: (endpoint) => this.loads.standingOf(endpoint, nowMs),
      loadOf: (endpoint) => this.loads.loadOf(endpoint, nowMs),
      random: this.random,
    });
    if (picked !== undefined) return { kind: "endpoint", picked };
    if (endpoints.all.endpoints.length > 0 || lookup.isKnown(call.slice)) return undefined;
    const message = `no blueprint has a slice "${call.slice}"; apply one, or check the name`;
    return { kind: "none", error: notSent("E_NOT_FOUND", message) };
  }

  private async waitForEndpoint(progress: Progress): Promise<Found> {
    const { clock } = this.env;
    const untilMs = Math.min(progress.deadline.atMs, clock.nowMs() + this.config.endpointWaitMsMax);
    const { signal = new Cancellation() } = progress;
    const wake = new Wake(clock);
    this.waiting.add(wake);
    try {
      while (clock.nowMs() < untilMs) {
        // Each time: the version that has the method may be replaced by one without it meanwhile.
        const unknown = await this.describeUnknownMethod(progress.call);
        if (unknown !== undefined) return { kind: "none", error: unknown };
        await wake.wait(signal, untilMs - clock.nowMs());
        const found = this.lookUp(progress);
        if (found !== undefined) return found;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.waiting.delete(wake);
    }
    return { kind: "none", error: progress.lastError ?? noInstance(progress.call) };
  }

  /** A method may be of a version only whose instances are still to come: so it is asked what versions have. */
  private async describeUnknownMethod({ slice, method }: OutgoingCall): Promise<ErrorBody | undefined> {
    const { lookup } = this.ports;
    if (lookup.find(slice, method).all.endpoints.length > 0) return undefined;
    const methods = await lookup.declaredMethods(slice);
    if (methods === undefined || methods.includes(method)) return undefined;
    const message = `slice "${slice}" has no method "${method}"; it has ${methods.join(", ")}`;
    return notSent("E_NOT_FOUND", message, { details: { methods } });
  }

  private remainingMs({ deadline }: Progress): number {
    return remainingMs(deadline, this.env.clock.nowMs());
  }

  /** False when the caller left meanwhile. */
  private async pause(delayMs: number, signal: CancelSignal = new Cancellation()): Promise<boolean> {
    try {
      await new Wake(this.env.clock).wait(signal, delayMs);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
  }

  /** What the newest version of the method says; a caller that knows its contract says it itself. */
  private methodTimeoutMs({ slice, method }: OutgoingCall): number {
    const [newest] = this.ports.lookup.find(slice, method).versions.values();
    return newest?.endpoints[0]?.timeoutMs ?? TIMEOUT_MS_DEFAULT;
  }

  private admit(call: OutgoingCall, timeoutMs: number, signal: CancelSignal | undefined): Admission {
    const name = `${call.slice}.${call.method}`;
    if (!isUsableTimeout(timeoutMs)) {
      const message =
        `did not call ${name}: its deadline of ${timeoutMs} ms is not usable; use up to ${CALL_TIMEOUT_MS_MAX}`;
      return refused(notSent("E_INVALID", message));
    }
    if (timeoutMs <= 0 || signal?.aborted === true) return refused(deadlinePassed(call));
    const refusedKey = refuseKey(call);
    if (refusedKey !== undefined) return refused(refusedKey);
    if (this.underWay >= this.config.callsInFlightMax) return overloaded(name, `${this.underWay} calls`);
    const input = plainInput(call);
    if (input.kind !== "plain") {
      return refused(withClass(plainRefusalError(`did not call ${name}`, input).toBody(), "not-sent"));
    }
    // One is taken however large it is: its own limit is another one.
    const isFull = this.underWay > 0 && this.bytesUnderWay + input.bytes > this.config.callBytesMax;
    return isFull ? overloaded(name, `calls with ${this.bytesUnderWay} bytes of input`) : input;
  }

  private countUnderWay(calls: number, bytes: number): void {
    this.metrics.inFlight.set(this.underWay += calls);
    this.bytesUnderWay += bytes;
  }

  private beginSpan({ slice, method, traceparent }: OutgoingCall): Span | undefined {
    const { tracing } = this.env.telemetry;
    if (!tracing.isOn) return undefined;
    const name = `call ${slice}.${method}`;
    return tracing.begin({ name, kind: "client", parent: traceparent, attributes: rpcAttributes(slice, method) });
  }

  private report({ slice, method }: OutgoingCall, reply: CallReply, { startMs, span }: Begun): CallReply {
    const ms = this.env.clock.nowMs() - startMs;
    this.metrics.calls.add(1, { result: reply.kind === "ok" ? "ok" : reply.error.code });
    this.metrics.durationSeconds.observe(ms / SECOND_MS);
    // Without an endpoint nothing says that the name is one: names of strangers must not take the room of others.
    const hasMethod = reply.attempts > 0;
    const hasSlice = hasMethod || this.ports.lookup.isKnown(slice);
    this.ports.made.note(hasSlice ? slice : NO_NAME, hasMethod ? method : NO_NAME, outcomeOf(reply), ms);
    if (span !== undefined) endSpan(span, reply);
    return reply;
  }
}

function outcomeOf(reply: CallReply): CallOutcome {
  if (reply.kind === "ok") return "ok";
  return reply.error.code === "E_OVERLOADED" ? "refused" : "failed";
}

function createProgress(
  call: OutgoingCall, bounds: Pick<Progress, "input" | "signal" | "deadline" | "span">,
): Progress {
  return {
    call,
    ...bounds,
    trace: parseTraceparent(call.traceparent),
    tried: new Set(),
    attempts: 0,
    countedRetries: 0,
    isInDoubt: false,
    lastError: undefined,
  };
}

function plainInput({ input, inputBytes }: OutgoingCall): PlainResult {
  return inputBytes === undefined ? toPlain(input, CALL_BYTES_MAX) : { kind: "plain", value: input, bytes: inputBytes };
}

function refused(error: ErrorBody): Admission {
  return { kind: "refused", error };
}

function overloaded(name: string, what: string): Admission {
  const message = `did not call ${name}: ${what} are under way from this node; try again later`;
  return refused(withClass(new AetherError("E_OVERLOADED", message).toBody(), "overloaded"));
}

function deadlinePassed({ slice, method }: OutgoingCall): ErrorBody {
  const message = `did not call ${slice}.${method}: the caller's deadline has passed, or it gave up`;
  return notSent("E_TIMEOUT", message, { outcome: "not-applied" });
}

function noInstance({ slice, artifact, range }: OutgoingCall): ErrorBody {
  const version =
    artifact === undefined || range === undefined ? "" : ` that is ${artifact} or in the range "${range}"`;
  const message = `slice "${slice}" has no live instance${version}; try again, or look at its blueprint's status`;
  return notSent("E_UNAVAILABLE", message);
}

/** No instance got the call. */
function notSent(code: ErrorCode, message: string, options: AetherErrorOptions = {}): ErrorBody {
  return withClass(new AetherError(code, message, options).toBody(), "not-sent");
}

/** Once a call was in doubt it stays so, whatever refused it later, unless a handler answered in the end. */
function fail({ attempts, isInDoubt }: Progress, found: ErrorBody): CallReply {
  if (!isInDoubt) return { kind: "error", error: found, attempts };
  const error: ErrorBody = { ...found, outcome: "unknown" };
  return { kind: "error", error: classOf(error) === "handler" ? error : withClass(error, "no-answer"), attempts };
}

/** Undefined for a key that can be one of the store. */
function refuseKey({ slice, method, idempotencyKey: key }: OutgoingCall): ErrorBody | undefined {
  if (key === undefined) return undefined;
  const what = `did not call ${slice}.${method}: its idempotency key`;
  if (key.length > IDEMPOTENCY_KEY_LENGTH_MAX) {
    return notSent("E_INVALID", `${what} has ${key.length} characters; use up to ${IDEMPOTENCY_KEY_LENGTH_MAX}`);
  }
  try {
    formatKey({ kind: "call", slice, method, key });
    return undefined;
  } catch (error) {
    if (!(error instanceof AetherError)) throw error;
    return notSent("E_INVALID", `${what} cannot be used: ${error.message}`);
  }
}

/** What the caller is told of this attempt. Nothing is in doubt about one that changes nothing. */
function attemptError(failure: AttemptFailure, endpoint: Endpoint): ErrorBody {
  const error = withClass(failure.error, classOfFailure(failure));
  if (endpoint.effect !== "read" || error.outcome === undefined) return error;
  const { code, message, details } = error;
  return { code, message, ...(details === undefined ? {} : { details }) };
}

function noteFailedAttempt({ span }: Progress, { node, instance }: Endpoint, { kind, error }: AttemptFailure): void {
  span?.note("attempt failed", {
    "aether.peer": node, "aether.instance": instance, "aether.outcome": kind, "error.type": error.code,
  });
}

function endSpan(span: Span, reply: CallReply): void {
  const attempts = { "aether.attempts": reply.attempts };
  if (reply.kind === "ok") {
    return span.end({ attributes: { ...attempts, "aether.replayed": reply.isReplayed === true } });
  }
  const { code, outcome } = reply.error;
  span.end({ error: code, attributes: { ...attempts, ...(outcome !== undefined && { "aether.outcome": outcome }) } });
}

function reasonOf(result: AttemptResult): string {
  return result.kind === "ok" ? "" : result.error.message;
}
