// Owns: what a running slice needs from the right: calling other slices. `invocation` implements it, `node` wires it.
import type { CancelSignal } from "../../base/cancellation.ts";
import type { ErrorBody } from "../../base/errors.ts";
import type { LostWhen } from "./running-instances.ts";

export interface OutgoingCall {
  readonly slice: string;
  readonly method: string;
  readonly input: unknown;
  /** Of `input`, from who has made it plain data of bounded size already; without, it is copied and checked again. */
  readonly inputBytes?: number | undefined;
  /** What is left of the caller's deadline, in milliseconds; the method's own when the caller has none. */
  readonly timeoutMs?: number | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly lostWhen?: LostWhen | undefined;
  /** W3C trace context of the caller; the callee gets one of its own in the same trace. */
  readonly traceparent?: string | undefined;
  /** The exact artifact (`group:name:version`) the caller was resolved with, if it is a slice. */
  readonly artifact?: string | undefined;
  /** Which other versions of it will do, as a semver range, where the caller declared one. */
  readonly range?: string | undefined;
}

export type CallReply =
  | {
      readonly kind: "ok";
      readonly output: unknown;
      readonly attempts: number;
      /** An earlier call with the same idempotency key has answered this. */
      readonly isReplayed?: true | undefined;
    }
  /** `error.details.class` says which of the classes of core/call-failure.ts it is. */
  | { readonly kind: "error"; readonly error: ErrorBody; readonly attempts: number };

export interface OutgoingCalls {
  call(call: OutgoingCall, signal?: CancelSignal): Promise<CallReply>;
}
