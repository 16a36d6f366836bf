// Owns: what the right needs from running slices: hand a call to an instance of this node. slice-store implements it.
import type { CancelSignal } from "../../base/cancellation.ts";
import type { ErrorBody } from "../../base/errors.ts";
import type { MethodPolicy } from "../../sdk/method-policy.ts";

/** Key text of an instance: `{artifact}/{instance index}`, for example `demo:orders:1.0.0/0`. */
export type InstanceKey = string;

/**
 * When a call does not wait any more for the handler that another call with its idempotency key has begun: for who has
 * a use for an early answer, a majority's suspicion of that handler's node is enough. Otherwise it has to be certain
 * that its process has ended.
 */
export type LostWhen = "suspected";

export interface IncomingCall {
  readonly instance: InstanceKey;
  readonly method: string;
  /** Plain data that is nobody else's, within the limit of calls: `toPlain` has made it. */
  readonly input: unknown;
  readonly timeoutMs: number;
  readonly idempotencyKey?: string | undefined;
  readonly lostWhen?: LostWhen | undefined;
  readonly traceparent?: string | undefined;
}

export type IncomingReply =
  /** `isReplayed`: an earlier call with the same idempotency key has answered this, and nothing ran now. */
  | { readonly kind: "ok"; readonly output: unknown; readonly isReplayed?: true }
  /** The handler never started: safe to try elsewhere, always. */
  | { readonly kind: "not-started"; readonly error: ErrorBody }
  /** The handler started; for a write its effect is what `error.outcome` says. */
  | { readonly kind: "failed"; readonly error: ErrorBody };

export interface RunningInstances {
  /** Never rejects. When `signal` aborts, the handler's own signal aborts too. */
  invoke(call: IncomingCall, signal?: CancelSignal): Promise<IncomingReply>;
  /** Calls queued or running in that instance; 0 when it is unknown. */
  inFlight(instance: InstanceKey): number;
}

/** What is known of a method that an instance of this node answers now. */
export interface HostedMethod {
  readonly slice: string;
  readonly effect: "read" | "idempotent" | "write";
  readonly policy?: MethodPolicy | undefined;
}

/** The instances themselves, for what keeps records of their calls. */
export interface HostedInstances extends RunningInstances {
  /**
   * `onEnd` gets how the handler ended in the end: later than the reply when its caller has left before, or its
   * deadline has passed. Never called for a call that was not handed to its worker.
   */
  invoke(call: IncomingCall, signal?: CancelSignal, onEnd?: (end: IncomingReply) => void): Promise<IncomingReply>;
  /** Undefined when this node does not answer it now. */
  methodOf(instance: InstanceKey, method: string): HostedMethod | undefined;
}
