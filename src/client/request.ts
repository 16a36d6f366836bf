// Owns: one request of a client from admission to its end: what it asks, its attempts, what is known of its outcome.
import { AetherError } from "../base/errors.ts";
import type { Timer } from "../env/clock.ts";
import type { ClientMessage } from "../api/protocol.ts";
import {
  attemptMs, finalError, isAnswerable, type AttemptContext, type Persistence, type RequestEffect,
} from "./core/retry.ts";
import type { NodeSession } from "./node-session.ts";

export interface RequestSpec {
  /** For messages, such as `put data/a`. */
  readonly what: string;
  readonly effect: RequestEffect;
  readonly persistence: Persistence;
  /** Nobody outside the client waits for it. */
  readonly isOwn?: boolean;
  /** A question whose answer does not prove that the node serves. */
  readonly isProbe?: boolean;
  /** The protocol's version that has it; default: any. */
  readonly versionMin?: number;
  /** What it holds in memory until it ends, as far as that is much. */
  readonly bytes?: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** `ticket` is given to requests of effect `once`. */
  message(id: number, timeoutMs: number, ticket: Ticket | undefined): ClientMessage;
  /** Called with the answer before anything that follows it is looked at. */
  onAnswer?(session: NodeSession, id: number, result: unknown): void;
}

/** Who hears of the end of a request, once. */
export interface Settle {
  resolve(result: unknown): void;
  reject(reason: unknown): void;
}

/** A place in the window of a session: whatever is sent under it is applied at most once. */
export interface Ticket {
  readonly session: number;
  readonly id: number;
}

export class Request {
  readonly id: number;
  readonly spec: RequestSpec;
  readonly deadlineMs: number;
  /** The connection that carries it now. */
  session: NodeSession | undefined;
  /** The latest reason why no node has taken it. */
  refusal: AetherError | undefined;
  ticket: Ticket | undefined;
  /** Ends the wait before the next attempt. */
  pause: Timer | undefined;
  /** Stops listening to the caller's signal, which may live much longer than this request. */
  release: (() => void) | undefined;
  /** An attempt has left and was not answered: it may yet take effect. */
  private mayHaveRun = false;
  private attempts = 0;
  private refusalCount = 0;
  private sentMs = 0;
  private slowestRefusalMs = 0;
  private readonly settle: Settle;

  constructor(id: number, spec: RequestSpec, deadlineMs: number, settle: Settle) {
    this.id = id;
    this.spec = spec;
    this.deadlineMs = deadlineMs;
    this.settle = settle;
  }

  /** @throws AetherError E_INVALID, E_TOO_LARGE when it cannot be encoded; nothing was sent then. */
  send(session: NodeSession, nowMs: number): void {
    const leftMs = Math.min(this.deadlineMs - nowMs, attemptMs(this.spec, this.attempts));
    session.send(this.spec.message(this.id, Math.max(1, Math.ceil(leftMs)), this.ticket));
    this.session = session;
    this.sentMs = nowMs;
    this.attempts++;
  }

  /** The refusal that the caller is better told now, because another attempt would end in doubt. */
  lastWord(nowMs: number): AetherError | undefined {
    if (this.spec.effect === "read" || this.refusalCount === 0 || this.isInDoubt) return undefined;
    return isAnswerable(this.deadlineMs - nowMs, this.slowestRefusalMs) ? undefined : this.refusal;
  }

  resolve(result: unknown): void {
    this.settle.resolve(result);
  }

  reject(reason: unknown): void {
    this.settle.reject(reason);
  }

  /** Whether any attempt may have taken effect. */
  get isInDoubt(): boolean {
    return this.spec.effect !== "read" && (this.mayHaveRun || this.session !== undefined);
  }

  /** Whether an earlier attempt than the one under way may have taken effect. */
  get wasLost(): boolean {
    return this.mayHaveRun;
  }

  /** None of them had an effect: whatever comes is a first attempt, under another ticket. */
  forgetAttempts(): void {
    this.mayHaveRun = false;
    this.ticket = undefined;
  }

  /** How often a node has answered it with an error. */
  get refusals(): number {
    return this.refusalCount;
  }

  context(isAlone: boolean): AttemptContext {
    const { effect, persistence } = this.spec;
    return { effect, persistence, refusals: this.refusalCount, isAlone };
  }

  /** The attempt under way ended without an answer. */
  loseAttempt(reason: AetherError): void {
    this.mayHaveRun = true;
    this.session = undefined;
    this.refusal = reason;
  }

  /** The node answered with an error. What it refused it has not done: that attempt is as good as never sent. */
  endAttempt(error: AetherError, nowMs: number): void {
    this.slowestRefusalMs = Math.max(this.slowestRefusalMs, nowMs - this.sentMs);
    if (error.outcome === "unknown" || error.code === "E_TIMEOUT") this.mayHaveRun = true;
    this.refusalCount++;
    this.session = undefined;
    this.refusal = error;
  }

  /** What the caller hears of an error that ends it; call after `endAttempt`. */
  answer(error: AetherError): AetherError {
    return finalError(this.spec.what, error, this.isInDoubt);
  }

  /** The error of a request that gets no answer any more. */
  failure(found: string): AetherError {
    const { what, effect } = this.spec;
    const { isInDoubt } = this;
    // Nobody has taken it: why not says more than that time is over.
    if (!isInDoubt && this.session === undefined && this.refusal !== undefined) return this.refusal;
    const reason = this.refusal === undefined ? "" : ` (${this.refusal.message})`;
    return new AetherError("E_TIMEOUT", `${what}: ${found}${reason}; ${this.advice()}`, {
      outcome: effect === "read" ? "none" : isInDoubt ? "unknown" : "not-applied",
    });
  }

  private advice(): string {
    if (this.spec.effect === "read") return "it changed nothing and can be asked again";
    return this.isInDoubt ? "it may or may not have been applied: read before you repeat it" : "it was never sent";
  }
}
