// Owns: one call from this node, from its first attempt to its one result. Does not own: the rules of retrying
// (core/retry-policy.ts), of choosing (core/pick-endpoint.ts), attempts on other nodes (remote-caller.ts).
import { AetherError, toAetherError, type ErrorBody } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { Endpoint, EndpointLookup } from "../cluster/endpoint-lookup.ts";
import { Wake } from "../cluster/wake.ts";
import type { Env } from "../env/env.ts";
import { CALL_BYTES_MAX, plainRefusalError, toPlain } from "../slices/core/plain-data.ts";
import type { CallReply, OutgoingCall, OutgoingCalls } from "../slices/outgoing-calls.ts";
import type { RunningInstances } from "../slices/running-instances.ts";
import { isText } from "./core/call-codec.ts";
import { CALL_TIMEOUT_MS_MAX, deadlineAfter, isUsableTimeout, remainingMs, type Deadline } from "./core/deadline.ts";
import { EndpointLoads, endpointId } from "./core/endpoint-loads.ts";
import { pickEndpoint, type Picked } from "./core/pick-endpoint.ts";
import { decideRetry, type AttemptFailure, type RetryDecision } from "./core/retry-policy.ts";
import type { InvocationConfig } from "./invocation-config.ts";
import { createInvocationMetrics, type InvocationMetrics } from "./metrics.ts";
import { attemptResultOf, type AttemptResult, type RemoteCaller } from "./remote-caller.ts";

export type InvokerEnv = Pick<Env, "clock" | "random" | "telemetry">;

export interface InvokerPorts {
  readonly lookup: EndpointLookup;
  readonly local: RunningInstances;
  readonly remote: RemoteCaller;
  readonly self: NodeId;
}

/** A call under way. */
interface Progress {
  readonly call: OutgoingCall;
  readonly signal: AbortSignal | undefined;
  readonly deadline: Deadline;
  readonly tried: Set<string>;
  attempts: number;
  countedRetries: number;
  /** Whether some attempt was sent and not answered: a later, clean refusal does not undo that. */
  isInDoubt: boolean;
  lastError: ErrorBody | undefined;
}

type Found =
  | { readonly kind: "endpoint"; readonly picked: Picked }
  | { readonly kind: "none"; readonly error: ErrorBody };

export class Invoker implements OutgoingCalls {
  private readonly env: InvokerEnv;
  private readonly ports: InvokerPorts;
  private readonly config: InvocationConfig;
  private readonly metrics: InvocationMetrics;
  private readonly random: Random;
  private readonly loads = new EndpointLoads();
  /** Calls that wait for an endpoint. */
  private readonly waiting = new Set<Wake>();
  private underWay = 0;

  constructor(env: InvokerEnv, ports: InvokerPorts, config: InvocationConfig) {
    this.env = env;
    this.ports = ports;
    this.config = config;
    this.metrics = createInvocationMetrics(env.telemetry);
    this.random = env.random.fork("invoker");
    ports.lookup.onChange(() => {
      for (const wake of this.waiting) wake.notify();
    });
  }

  /** Never rejects: every failure is a reply. */
  async call(call: OutgoingCall, signal?: AbortSignal): Promise<CallReply> {
    const startMs = this.env.clock.nowMs();
    const refusal = this.admit(call, signal);
    if (refusal !== undefined) return this.report({ kind: "error", error: refusal, attempts: 0 }, startMs);
    this.metrics.inFlight.set(++this.underWay);
    try {
      return this.report(await this.run(createProgress(call, signal, startMs)), startMs);
    } catch (thrown) {
      // What we did not foresee may have happened after sending.
      return this.report({ kind: "error", error: toAetherError(thrown).toBody(), attempts: 1 }, startMs);
    } finally {
      this.metrics.inFlight.set(--this.underWay);
    }
  }

  private async run(progress: Progress): Promise<CallReply> {
    for (;;) {
      const found = this.lookUp(progress) ?? (await this.waitForEndpoint(progress));
      if (found.kind === "none") return fail(progress, found.error);
      const { endpoint } = found.picked;
      const refusal = refuseKey(progress.call, endpoint);
      if (refusal !== undefined) return fail(progress, refusal);
      // A write that is sent without any time left would be in doubt for nothing.
      if (this.remainingMs(progress) <= 0) return fail(progress, progress.lastError ?? deadlinePassed(progress.call));
      const result = await this.attempt(progress, endpoint);
      if (result.kind === "ok") return { kind: "ok", output: result.output, attempts: progress.attempts };
      progress.isInDoubt ||= result.kind === "no-answer" && endpoint.effect !== "read";
      progress.lastError = honestError(result.error, endpoint, progress.isInDoubt);
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
    progress.attempts += 1;
    progress.tried.add(endpointId(endpoint));
    this.loads.begin(endpoint);
    const result = await this.send(progress, endpoint, remainingMs(progress.deadline, startMs));
    const endMs = this.env.clock.nowMs();
    this.loads.end(endpoint, endMs, result.kind === "ok" ? endMs - startMs : undefined);
    return result;
  }

  private async send(progress: Progress, endpoint: Endpoint, timeoutMs: number): Promise<AttemptResult> {
    const { call, signal } = progress;
    const { method, input, idempotencyKey, traceparent } = call;
    // As the standard wants it, a malformed trace context counts as absent.
    const trace = isText(traceparent) ? { traceparent } : {};
    const request = {
      instance: endpoint.instance,
      method,
      input,
      timeoutMs,
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      ...trace,
    };
    if (endpoint.node === this.ports.self) return attemptResultOf(await this.ports.local.invoke(request, signal));
    const plain = toPlain(input, CALL_BYTES_MAX);
    if (plain.kind !== "plain") {
      return { kind: "not-started", error: plainRefusalError(`did not call ${call.slice}.${method}`, plain).toBody() };
    }
    return await this.ports.remote.call(endpoint.node, { ...request, input: plain.value }, signal);
  }

  private decide(progress: Progress, picked: Picked, failure: AttemptFailure): RetryDecision {
    // A caller that has left does not want another attempt.
    if (progress.signal?.aborted === true) return { kind: "give-up" };
    return decideRetry(
      failure,
      {
        effect: picked.endpoint.effect,
        attempts: progress.attempts,
        countedRetries: progress.countedRetries,
        hasOther: picked.hasOther,
        remainingMs: this.remainingMs(progress),
        jitter: this.random.next(),
      },
      { retriesMax: this.config.retriesMax, backoffMs: this.config.retryBackoffMs },
    );
  }

  /** An endpoint, or why there will be none; undefined when it is worth waiting. */
  private lookUp(progress: Progress): Found | undefined {
    const { call, tried } = progress;
    const endpoints = this.ports.lookup.find(call.slice, call.method);
    const picked = pickEndpoint({
      endpoints,
      tried,
      artifact: call.artifact,
      self: this.ports.self,
      loadOf: (endpoint) => this.loads.loadOf(endpoint, this.env.clock.nowMs()),
      random: this.random,
    });
    if (picked !== undefined) return { kind: "endpoint", picked };
    const unknown = endpoints.length === 0 ? this.describeUnknown(call) : undefined;
    return unknown === undefined ? undefined : { kind: "none", error: unknown };
  }

  private describeUnknown(call: OutgoingCall): ErrorBody | undefined {
    if (!this.ports.lookup.isKnown(call.slice)) {
      const message = `no blueprint has a slice "${call.slice}"; apply one, or check the name`;
      return new AetherError("E_NOT_FOUND", message).toBody();
    }
    const methods = this.ports.lookup.methodsOf(call.slice);
    if (methods.length === 0 || methods.includes(call.method)) return undefined;
    const message = `slice "${call.slice}" has no method "${call.method}"; it has ${methods.join(", ")}`;
    return new AetherError("E_NOT_FOUND", message, { details: { methods } }).toBody();
  }

  private async waitForEndpoint(progress: Progress): Promise<Found> {
    const { clock } = this.env;
    const untilMs = Math.min(progress.deadline.atMs, clock.nowMs() + this.config.endpointWaitMsMax);
    const { signal = new AbortController().signal } = progress;
    const wake = new Wake(clock);
    this.waiting.add(wake);
    try {
      while (clock.nowMs() < untilMs) {
        await wake.wait(signal, untilMs - clock.nowMs());
        const found = this.lookUp(progress);
        if (found !== undefined) return found;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.waiting.delete(wake);
    }
    return { kind: "none", error: progress.lastError ?? this.noInstance(progress) };
  }

  private noInstance({ call }: Progress): ErrorBody {
    const version = call.artifact === undefined ? "" : ` compatible with ${call.artifact}`;
    const message =
      `slice "${call.slice}" has no live instance${version}; try again, or look at its blueprint's status`;
    return new AetherError("E_UNAVAILABLE", message).toBody();
  }

  private remainingMs({ deadline }: Progress): number {
    return remainingMs(deadline, this.env.clock.nowMs());
  }

  /** False when the caller left meanwhile. */
  private async pause(delayMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    try {
      await this.env.clock.sleep(delayMs, signal);
      return true;
    } catch (error) {
      if (signal?.aborted === true) return false;
      throw error;
    }
  }

  private admit(call: OutgoingCall, signal: AbortSignal | undefined): ErrorBody | undefined {
    const name = `${call.slice}.${call.method}`;
    if (!isUsableTimeout(call.timeoutMs)) {
      const message =
        `did not call ${name}: its deadline of ${call.timeoutMs} ms is not usable; use up to ${CALL_TIMEOUT_MS_MAX}`;
      return new AetherError("E_INVALID", message).toBody();
    }
    if (call.timeoutMs <= 0 || signal?.aborted === true) return deadlinePassed(call);
    if (call.idempotencyKey !== undefined && !isText(call.idempotencyKey)) {
      const message = `did not call ${name}: its idempotency key is empty or too long; use up to 1,024 characters`;
      return new AetherError("E_INVALID", message).toBody();
    }
    if (this.underWay >= this.config.callsInFlightMax) {
      const message = `did not call ${name}: ${this.underWay} calls are under way from this node; try again later`;
      return new AetherError("E_OVERLOADED", message).toBody();
    }
    return undefined;
  }

  private report(reply: CallReply, startMs: number): CallReply {
    this.metrics.calls.add(1, { result: reply.kind === "ok" ? "ok" : reply.error.code });
    this.metrics.durationSeconds.observe((this.env.clock.nowMs() - startMs) / 1_000);
    return reply;
  }
}

function createProgress(call: OutgoingCall, signal: AbortSignal | undefined, nowMs: number): Progress {
  return {
    call,
    signal,
    deadline: deadlineAfter(nowMs, call.timeoutMs),
    tried: new Set(),
    attempts: 0,
    countedRetries: 0,
    isInDoubt: false,
    lastError: undefined,
  };
}

function deadlinePassed({ slice, method }: OutgoingCall): ErrorBody {
  const message = `did not call ${slice}.${method}: the caller's deadline has passed, or it gave up`;
  return new AetherError("E_TIMEOUT", message, { outcome: "not-applied" }).toBody();
}

function fail(progress: Progress, error: ErrorBody): CallReply {
  return { kind: "error", error, attempts: progress.attempts };
}

/**
 * A key promises that a repeated write has one effect. This release keeps no record of keys, so it refuses the
 * promise; for reads and idempotent methods the contract itself makes it, and the key is only handed through.
 */
function refuseKey(call: OutgoingCall, endpoint: Endpoint): ErrorBody | undefined {
  if (call.idempotencyKey === undefined || endpoint.effect !== "write") return undefined;
  const message =
    `did not call ${call.slice}.${call.method}: idempotency keys of methods with effect "write" are not supported; ` +
    'leave out the key, or make the method safe to repeat and declare it "idempotent"';
  return new AetherError("E_INVALID", message).toBody();
}

/** Nothing is in doubt about a call that changes nothing; everything else stays in doubt once it was. */
function honestError(error: ErrorBody, endpoint: Endpoint, isInDoubt: boolean): ErrorBody {
  if (isInDoubt) return { ...error, outcome: "unknown" };
  if (endpoint.effect !== "read" || error.outcome === undefined) return error;
  const { code, message, details } = error;
  return { code, message, ...(details === undefined ? {} : { details }) };
}
