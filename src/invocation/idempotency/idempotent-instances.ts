// Owns: calls with an idempotency key on the node that runs them: at most one handler for a key, and one answer.
// Does not own: the instances, the records (call-claims.ts), what a record means (core/call-record.ts).
import { unreachable } from "../../base/assert.ts";
import { Cancellation, type CancelSignal } from "../../base/cancellation.ts";
import { createDeferred } from "../../base/deferred.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { Digest, NodeId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { NodeLife } from "../../cluster/core/rows.ts";
import { Wake } from "../../cluster/wake.ts";
import type { Clock } from "../../env/clock.ts";
import type { Counter, Telemetry } from "../../env/telemetry.ts";
import { formatKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type {
  HostedInstances, IncomingCall, IncomingReply, InstanceKey, RunningInstances,
} from "../../slices/host/running-instances.ts";
import { digestOfInput, nextStep, resultOf, type CallResult, type CallSituation } from "../core/call-record.ts";
import { createReplayCounter } from "../metrics.ts";
import { CallClaims, type CallClaimsPorts, type Claim, type FoundRecord } from "./call-claims.ts";

export interface IdempotentInstancesPorts extends CallClaimsPorts {
  readonly local: HostedInstances;
  readonly kv: CallClaimsPorts["kv"] & Pick<Kv, "watch">;
  readonly lives: Lives;
}

/** What is known of the processes that claim keys. */
export interface Lives {
  /** Whether that process has ended for certain, by what was written after `revision`. */
  hasEnded(life: NodeLife, revision: number): boolean;
  /** How long a majority has suspected the node; undefined while it does not. */
  suspectedForMs(node: NodeId): number | undefined;
  /** Called when it may answer differently. The listener must not throw. */
  onChange(listener: () => void): void;
}

/** As long as other nodes wait before they take the jobs of one. */
const SUSPECTED_MS = 2 * SECOND_MS;
/** Nobody tells when a suspicion has become so old. */
const LOOK_EVERY_MS = SECOND_MS / 4;

interface KeyedCall {
  readonly call: IncomingCall;
  readonly signal: CancelSignal | undefined;
  readonly untilMs: number;
  readonly key: KeyText;
  readonly input: Digest;
  readonly effect: CallSituation["effect"];
}

export class IdempotentInstances implements RunningInstances {
  private readonly clock: Clock;
  private readonly ports: IdempotentInstancesPorts;
  private readonly claims: CallClaims;
  private readonly replays: Counter;
  /** Calls that wait for somebody else's handler. */
  private readonly waiting = new Set<Wake>();

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: IdempotentInstancesPorts,
    self: NodeLife,
  ) {
    this.clock = env.clock;
    this.ports = ports;
    this.claims = new CallClaims(env, ports, self);
    this.replays = createReplayCounter(env.telemetry);
    ports.lives.onChange(() => {
      for (const wake of this.waiting) wake.notify();
    });
  }

  invoke(call: IncomingCall, signal?: CancelSignal): Promise<IncomingReply> {
    const keyed = this.keyedCall(call, signal);
    return keyed === undefined ? this.ports.local.invoke(call, signal) : this.invokeOnce(keyed);
  }

  inFlight(instance: InstanceKey): number {
    return this.ports.local.inFlight(instance);
  }

  /** Resolves once every handler that runs for a key has ended, and the store has what it answered. */
  whenIdle(): Promise<void> {
    return this.claims.whenIdle();
  }

  async close(): Promise<void> {
    await this.claims.close();
  }

  /** Undefined for calls without a key, for reads, which have no effect, and for what is refused here anyway. */
  private keyedCall(call: IncomingCall, signal: CancelSignal | undefined): KeyedCall | undefined {
    const { instance, method, idempotencyKey: key } = call;
    if (key === undefined) return undefined;
    const found = this.ports.local.methodOf(instance, method);
    if (found === undefined || found.effect === "read") return undefined;
    return {
      call,
      signal,
      untilMs: this.clock.nowMs() + call.timeoutMs,
      key: formatKey({ kind: "call", slice: found.slice, method, key }),
      input: digestOfInput(call.input),
      effect: found.effect,
    };
  }

  private async invokeOnce(keyed: KeyedCall): Promise<IncomingReply> {
    try {
      return await this.follow(keyed);
    } catch (thrown) {
      // The record cannot be read, or this node stops: the key may be somebody else's, whose handler may run.
      return { kind: "failed", error: unknownEnd(keyed, toAetherError(thrown).message).toBody() };
    }
  }

  private async follow(keyed: KeyedCall): Promise<IncomingReply> {
    let found = await this.claims.find(keyed.key);
    for (;;) {
      const step = nextStep(found.record, this.situationOf(keyed, found));
      switch (step.kind) {
        case "claim": {
          const { key, input, signal } = keyed;
          if (this.leftMs(keyed) <= 0 || signal?.aborted === true) return tooLate(keyed);
          const outcome = await this.claims.claim({ key, input, found, timeoutMs: this.leftMs(keyed) });
          if (outcome.kind === "refused") return { kind: "not-started", error: outcome.error };
          if (outcome.kind === "claimed") return await this.run(keyed, outcome.claim);
          found = outcome.found;
          break;
        }
        case "wait":
          if (!(await this.untilChanged(keyed, found))) {
            const reason = "another call with its idempotency key runs, and has not ended before the deadline";
            return { kind: "failed", error: unknownEnd(keyed, reason).toBody() };
          }
          found = await this.claims.find(keyed.key);
          break;
        case "replay":
          this.replays.add(1);
          return replayOf(keyed, step.result);
        case "conflict":
          return { kind: "not-started", error: otherInput(keyed).toBody() };
        case "lost":
          return { kind: "failed", error: lost(keyed).toBody() };
        default:
          return unreachable(step);
      }
    }
  }

  private situationOf({ call, input, effect }: KeyedCall, { modRevision }: FoundRecord): CallSituation {
    const { lives } = this.ports;
    const isSuspected = (node: NodeId): boolean =>
      call.lostWhen === "suspected" && (lives.suspectedForMs(node) ?? 0) >= SUSPECTED_MS;
    return { input, effect, isLost: (life) => lives.hasEnded(life, modRevision) || isSuspected(life.node) };
  }

  /** The caller has its reply once the store has it too, or at its deadline: then a second call gets the same one. */
  private async run(keyed: KeyedCall, claim: Claim): Promise<IncomingReply> {
    const { call, signal, effect } = keyed;
    const ended = createDeferred<IncomingReply>();
    const reply = await this.ports.local.invoke(
      { ...call, timeoutMs: this.leftMs(keyed) }, signal, (end) => ended.resolve(end),
    );
    if (isAbandoned(reply)) {
      // The handler goes on without its caller: whoever asks again gets what it answers.
      void ended.promise.then((end) => this.claims.settle(claim, resultOf(end, effect)));
      return reply;
    }
    const settled = this.claims.settle(claim, resultOf(reply, effect));
    if ((await this.inTime(keyed, settled)) !== false) return reply;
    const reason = "this node was taken for dead, and another one has taken the call over";
    return { kind: "failed", error: unknownEnd(keyed, reason).toBody() };
  }

  /** Undefined when the caller's time was over first. */
  private async inTime<T>(keyed: KeyedCall, promise: Promise<T>): Promise<T | undefined> {
    const late = createDeferred<undefined>();
    const timer = this.clock.setTimer(this.leftMs(keyed), () => late.resolve(undefined));
    try {
      return await Promise.race([promise, late.promise]);
    } finally {
      timer.cancel();
    }
  }

  /** Resolves when there is a reason to look again. False when the caller's time was over first, or it has left. */
  private async untilChanged(keyed: KeyedCall, found: FoundRecord): Promise<boolean> {
    const { key, signal = new Cancellation() } = keyed;
    const wake = new Wake(this.clock);
    const watch = this.ports.kv.watch(key, {
      onChanges: ({ changes }) => {
        // Keys that begin with this one are watched too.
        if (changes.some((change) => (change.kind === "put" ? change.entry.key : change.key) === key)) wake.notify();
      },
      onEnd: () => wake.notify(),
    }, { fromRevision: found.revision + 1 });
    this.waiting.add(wake);
    try {
      const leftMs = this.leftMs(keyed);
      await wake.wait(signal, keyed.call.lostWhen === "suspected" ? Math.min(leftMs, LOOK_EVERY_MS) : leftMs);
      return this.leftMs(keyed) > 0;
    } catch (error) {
      if (!signal.aborted) throw error;
      return false;
    } finally {
      this.waiting.delete(wake);
      watch.cancel();
    }
  }

  private leftMs({ untilMs }: KeyedCall): number {
    return Math.max(0, untilMs - this.clock.nowMs());
  }
}

/** Whether nobody knows yet how the handler ends, or its worker ended under it. */
function isAbandoned(reply: IncomingReply): boolean {
  return reply.kind === "failed" && reply.error.code === "E_TIMEOUT";
}

function replayOf(keyed: KeyedCall, result: CallResult): IncomingReply {
  switch (result.kind) {
    case "output":
      return { kind: "ok", output: result.output, isReplayed: true };
    case "large-output":
      return { kind: "failed", error: tooLarge(keyed, result.bytes).toBody() };
    case "error": {
      const { error } = result;
      // How it ended is final, also when that is not known.
      const details = { ...error.details, ...FINAL };
      return { kind: "failed", error: { ...error, details } };
    }
    default:
      return unreachable(result);
  }
}

/** Asking again with the same key gives the same answer. */
const FINAL = { isFinal: true } as const;

function tooLate({ call }: KeyedCall): IncomingReply {
  const message = `did not start ${call.method}: the caller's deadline has passed, or it gave up`;
  return { kind: "not-started", error: new AetherError("E_TIMEOUT", message, { outcome: "not-applied" }).toBody() };
}

function unknownEnd({ call }: KeyedCall, reason: string): AetherError {
  const message = `no answer to ${call.method}: ${reason}; ask again with the same key`;
  return new AetherError("E_TIMEOUT", message, { outcome: "unknown" });
}

function lost({ call }: KeyedCall): AetherError {
  const message = `${call.method} was begun with this idempotency key by a process that has ended since, or that ` +
    "nobody can reach: it may have run. Look whether it has, and use another key to run it again";
  return new AetherError("E_TIMEOUT", message, { outcome: "unknown", details: FINAL });
}

function otherInput({ call }: KeyedCall): AetherError {
  const message = `${call.method} was called with this idempotency key and another input before; use a new key for ` +
    "each call that is another one";
  return new AetherError("E_CONFLICT", message, { outcome: "not-applied" });
}

function tooLarge({ call }: KeyedCall, actual: number): AetherError {
  const message = `${call.method} has run with this idempotency key, once, but its answer of ${actual} bytes was too ` +
    "large to be kept; read what it has done in another way";
  return new AetherError("E_TOO_LARGE", message, { outcome: "none", details: { actual, ...FINAL } });
}
