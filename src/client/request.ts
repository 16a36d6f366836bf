// Owns: one request of a client: what it asks, what may be done when its connection is lost.
import { AetherError } from "../base/errors.ts";
import type { ClientMessage } from "../api/protocol.ts";
import type { NodeSession } from "./node-session.ts";

/** As in contracts: what is lost on the way may be sent again, except for a `write`. */
export type RequestEffect = "read" | "idempotent" | "write";

export interface RequestSpec {
  /** For messages, such as `put data/a`. */
  readonly what: string;
  readonly effect: RequestEffect;
  /** Whether another node can do what this one refused for reasons of its own. */
  readonly onRefusal: "ask elsewhere" | "give up";
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  message(id: number, timeoutMs: number): ClientMessage;
  /** Called with the answer before anything that follows it is looked at. */
  onAnswer?(session: NodeSession, id: number, result: unknown): void;
}

export class Request {
  readonly id: number;
  readonly spec: RequestSpec;
  readonly deadlineMs: number;
  /** The connection that carries it now. */
  session: NodeSession | undefined;
  /** The latest reason why no node has taken it. */
  refusal: AetherError | undefined;
  /** Stops listening to the caller's signal, which may live much longer than this request. */
  release: (() => void) | undefined;
  private wasSent = false;
  private readonly settle: { resolve(result: unknown): void; reject(reason: unknown): void };

  constructor(
    id: number,
    spec: RequestSpec,
    deadlineMs: number,
    settle: { resolve(result: unknown): void; reject(reason: unknown): void },
  ) {
    this.id = id;
    this.spec = spec;
    this.deadlineMs = deadlineMs;
    this.settle = settle;
  }

  /** @throws AetherError E_INVALID, E_TOO_LARGE when it cannot be encoded; nothing was sent then. */
  send(session: NodeSession, nowMs: number): void {
    session.send(this.spec.message(this.id, Math.max(1, Math.ceil(this.deadlineMs - nowMs))));
    this.session = session;
    this.wasSent = true;
  }

  resolve(result: unknown): void {
    this.settle.resolve(result);
  }

  reject(reason: unknown): void {
    this.settle.reject(reason);
  }

  /** Takes it back from a connection, if it may be sent again. */
  takeBack(reason: AetherError, why: "lost" | "refused"): boolean {
    this.session = undefined;
    this.refusal = reason;
    // What a node refused it has not done: it was as good as never sent.
    if (why === "refused") this.wasSent = false;
    return why === "refused" || this.spec.effect !== "write";
  }

  /** The error of a request that gets no answer any more. */
  failure(found: string): AetherError {
    const { what, effect } = this.spec;
    if (!this.wasSent && this.refusal !== undefined) return this.refusal;
    return new AetherError("E_TIMEOUT", `${what}: ${found}; ${this.advice()}`, {
      outcome: effect === "read" ? "none" : this.wasSent ? "unknown" : "not-applied",
    });
  }

  private advice(): string {
    if (this.spec.effect === "read") return "it changed nothing and can be asked again";
    return this.wasSent ? "it may or may not have been applied: read before you repeat it" : "it was never sent";
  }
}
