// Owns: the messages between a node and one of its workers. Those of one turn of either event loop travel together.
// Does not own: when they are sent (turn-outbox.ts), how they are packed (worker-rows.ts), what they cause, what a node
// accepts of a worker (worker-content.ts).
import { ERRORS, type ErrorCode } from "../../base/error-catalog.ts";
import type { ErrorBody } from "../../base/errors.ts";
import type { MethodSpec, ResolvedUse } from "../host/instance-host.ts";
import type { CallReply, OutgoingCall } from "../host/outgoing-calls.ts";
import type { IncomingReply } from "../host/running-instances.ts";
import type { ServiceCall } from "../services/slice-services.ts";
import type { MemoryReport } from "./memory-rule.ts";

/** What a worker starts with; it imports the bundle at once and answers `loaded` or `step-failed`. */
export interface WorkerBoot {
  /** Text of the instance key, for messages to people. */
  readonly instance: string;
  readonly slice: string;
  /** URL of the bundle file. */
  readonly bundle: string;
  readonly config: unknown;
  readonly uses: Readonly<Record<string, ResolvedUse>>;
  readonly limits: WorkerShare;
  /** Of a worker of agents: memory that it shares with its node, which says until when it may act on the world. */
  readonly fence?: SharedArrayBuffer;
}

/** What a worker keeps to by itself, so that what goes beyond never reaches its node. */
export interface WorkerShare {
  /** Of its log and its output together. */
  readonly logLinesPerSecondMax: number;
  /** Of calls to other slices, and of requests to the services of its node, each. */
  readonly outgoingCallsMax: number;
}

export interface HandlerCall {
  readonly kind: "call";
  readonly id: number;
  readonly method: string;
  readonly input: unknown;
  readonly timeoutMs: number;
  readonly idempotencyKey?: string | undefined;
  readonly traceparent?: string | undefined;
}

/** Node → worker. */
export type HostMessage =
  | { readonly kind: "activate" }
  | { readonly kind: "deactivate" }
  | HandlerCall
  | { readonly kind: "cancel"; readonly id: number; readonly reason: string }
  /** Asks for a sign of life, with a report on memory; `collect`: once all garbage is collected. */
  | { readonly kind: "ping"; readonly collect: boolean }
  /** The reply to an `outgoing` call. */
  | { readonly kind: "answer"; readonly id: number; readonly reply: CallReply }
  /** The reply to a `service` request. */
  | { readonly kind: "service-answer"; readonly id: number; readonly reply: ServiceReply }
  /** The lease that was taken under this token may have ended. */
  | { readonly kind: "lease-lost"; readonly token: number; readonly error: ErrorBody }
  /** After a `pause`: more may come. */
  | { readonly kind: "go-on" }
  /** For the agents of the worker: what is said to them is theirs. */
  | { readonly kind: "agent"; readonly payload: unknown };

export type ServiceReply =
  | { readonly kind: "ok"; readonly value: unknown }
  | { readonly kind: "error"; readonly error: ErrorBody };

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Worker → node. */
export type WorkerMessage =
  | { readonly kind: "loaded"; readonly methods: readonly MethodSpec[] }
  | { readonly kind: "activated" }
  | { readonly kind: "deactivated" }
  /** The answer to a `ping`. */
  | { readonly kind: "alive"; readonly memory: MemoryReport }
  /** The step under way (loading, activating, deactivating) failed. */
  | { readonly kind: "step-failed"; readonly error: ErrorBody }
  /** The handler has ended, or never started. Exactly one per call, also after a cancel. */
  | { readonly kind: "reply"; readonly id: number; readonly reply: IncomingReply }
  | { readonly kind: "outgoing"; readonly id: number; readonly call: OutgoingCall }
  | { readonly kind: "outgoing-cancel"; readonly id: number }
  | { readonly kind: "service"; readonly id: number; readonly call: ServiceCall }
  | { readonly kind: "service-cancel"; readonly id: number }
  /** Much has come before it; nothing does after it before a `go-on`. */
  | { readonly kind: "pause" }
  /** A process that the slice has started, or its end. Travels alone: it is heard even of a worker at fault. */
  | { readonly kind: "child-process"; readonly pid: number; readonly state: "started" | "ended" }
  /** From the agents of the worker, for who runs them. */
  | { readonly kind: "agent"; readonly payload: unknown }
  | {
    readonly kind: "log";
    readonly level: LogLevel;
    readonly text: string;
    readonly fields?: Readonly<Record<string, unknown>>;
    /** Id of the trace of the call whose handler says it. */
    readonly trace?: string;
  };

/** Whether `value`, from anywhere, is an error as it travels. */
export function isErrorBody(value: unknown): value is ErrorBody {
  if (!isRecord(value) || !isErrorCode(value["code"]) || typeof value["message"] !== "string") return false;
  const outcome = value["outcome"];
  const details = value["details"];
  return (outcome === undefined || outcome === "not-applied" || outcome === "unknown") &&
    (details === undefined || isRecord(details));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(ERRORS, value);
}
