// Owns: the messages between a node and one of its workers. All messages of one turn of either event loop travel as
// one array in one postMessage. Does not own: when they are sent (turn-outbox.ts), what they cause.
import { ERRORS, type ErrorCode } from "../../base/error-catalog.ts";
import type { ErrorBody } from "../../base/errors.ts";
import type { MethodSpec, ResolvedUse } from "../instance-host.ts";
import type { CallReply, OutgoingCall } from "../outgoing-calls.ts";
import type { IncomingReply } from "../running-instances.ts";

/** What a worker starts with; it imports the bundle at once and answers `loaded` or `step-failed`. */
export interface WorkerBoot {
  /** Text of the instance key, for messages to people. */
  readonly instance: string;
  readonly slice: string;
  /** URL of the bundle file. */
  readonly bundle: string;
  readonly config: unknown;
  readonly uses: Readonly<Record<string, ResolvedUse>>;
}

export interface HandlerCall {
  readonly kind: "call";
  readonly id: number;
  readonly method: string;
  readonly input: unknown;
  readonly timeoutMs: number;
  readonly idempotencyKey?: string;
  readonly traceparent?: string;
}

/** Node → worker. */
export type HostMessage =
  | { readonly kind: "activate" }
  | { readonly kind: "deactivate" }
  | HandlerCall
  | { readonly kind: "cancel"; readonly id: number; readonly reason: string }
  /** Asks for a sign of life. */
  | { readonly kind: "ping" }
  /** The reply to an `outgoing` call. */
  | { readonly kind: "answer"; readonly id: number; readonly reply: CallReply };

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Worker → node. */
export type WorkerMessage =
  | { readonly kind: "loaded"; readonly methods: readonly MethodSpec[] }
  | { readonly kind: "activated" }
  | { readonly kind: "deactivated" }
  /** The answer to a `ping`. */
  | { readonly kind: "alive" }
  /** The step under way (loading, activating, deactivating) failed. */
  | { readonly kind: "step-failed"; readonly error: ErrorBody }
  /** The handler has ended, or never started. Exactly one per call, also after a cancel. */
  | { readonly kind: "reply"; readonly id: number; readonly reply: IncomingReply }
  | { readonly kind: "outgoing"; readonly id: number; readonly call: OutgoingCall }
  | { readonly kind: "outgoing-cancel"; readonly id: number }
  | {
    readonly kind: "log";
    readonly level: LogLevel;
    readonly text: string;
    readonly fields?: Readonly<Record<string, unknown>>;
  };

export interface ParsedMessages {
  readonly messages: readonly WorkerMessage[];
  /** Messages that are none of ours. */
  readonly refused: number;
}

/** Parses what came out of a worker: a slice can post on the same port, and must not harm its node by it. */
export function parseWorkerMessages(received: unknown): ParsedMessages {
  if (!Array.isArray(received)) return { messages: [], refused: 1 };
  const messages: WorkerMessage[] = [];
  for (const message of received as readonly unknown[]) {
    if (isWorkerMessage(message)) messages.push(message);
  }
  return { messages, refused: received.length - messages.length };
}

function isWorkerMessage(message: unknown): message is WorkerMessage {
  if (!isRecord(message)) return false;
  switch (message["kind"]) {
    case "activated":
    case "deactivated":
    case "alive":
      return true;
    case "loaded":
      return Array.isArray(message["methods"]) && message["methods"].every(isMethodSpec);
    case "step-failed":
      return isErrorBody(message["error"]);
    case "reply":
      return isId(message["id"]) && isIncomingReply(message["reply"]);
    case "outgoing":
      return isId(message["id"]) && isOutgoingCall(message["call"]);
    case "outgoing-cancel":
      return isId(message["id"]);
    case "log":
      return isLogLevel(message["level"]) && typeof message["text"] === "string";
    default:
      return false;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isId(value: unknown): boolean {
  return typeof value === "number";
}

function isLogLevel(value: unknown): boolean {
  return value === "debug" || value === "info" || value === "warn" || value === "error";
}

function isMethodSpec(value: unknown): boolean {
  if (!isRecord(value) || typeof value["method"] !== "string" || typeof value["timeoutMs"] !== "number") return false;
  return value["effect"] === "read" || value["effect"] === "idempotent" || value["effect"] === "write";
}

function isIncomingReply(value: unknown): boolean {
  if (!isRecord(value)) return false;
  if (value["kind"] === "ok") return true;
  return (value["kind"] === "not-started" || value["kind"] === "failed") && isErrorBody(value["error"]);
}

function isOutgoingCall(value: unknown): boolean {
  if (!isRecord(value) || typeof value["slice"] !== "string" || typeof value["method"] !== "string") return false;
  return typeof value["timeoutMs"] === "number" && isOptionalText(value["idempotencyKey"]) &&
    isOptionalText(value["traceparent"]) && isOptionalText(value["artifact"]) && isOptionalText(value["range"]);
}

function isOptionalText(value: unknown): boolean {
  return value === undefined || typeof value === "string";
}

/** Whether `value`, from anywhere, is an error as it travels. */
export function isErrorBody(value: unknown): value is ErrorBody {
  if (!isRecord(value) || !isErrorCode(value["code"]) || typeof value["message"] !== "string") return false;
  const outcome = value["outcome"];
  const details = value["details"];
  return (outcome === undefined || outcome === "not-applied" || outcome === "unknown") &&
    (details === undefined || isRecord(details));
}

function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(ERRORS, value);
}
