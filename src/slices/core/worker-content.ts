// Owns: what a node accepts of a worker. A slice can post on the same port, and must not harm its node by it: each
// message is made anew from what was received, with plain data of bounded size only. A value with a cycle, or one that
// is too deep, would fail where it is encoded for another node, far from the slice that made it.
import { AetherError, type ErrorBody } from "../../base/errors.ts";
import { KiB } from "../../base/units.ts";
import { methodPolicySchema } from "../../sdk/method-policy.ts";
import { nameSchema } from "../../sdk/name.ts";
import type { MethodSpec } from "../host/instance-host.ts";
import type { OutgoingCall } from "../host/outgoing-calls.ts";
import type { IncomingReply } from "../host/running-instances.ts";
import { CALL_BYTES_MAX, toPlain } from "./plain-data.ts";
import { CALL_TEXT_LENGTH_MAX, LOG_FIELDS_BYTES_MAX, LOG_TEXT_LENGTH_MAX } from "./worker-limits.ts";
import { isErrorBody, type LogLevel, type WorkerMessage } from "./worker-protocol.ts";
import { unpackWorkerMessage } from "./worker-rows.ts";

/** Messages of one turn of a worker: more than all its calls, their replies and its log together can be. */
export const MESSAGES_PER_TURN_MAX = 32_768;
/** Of an error: its text, and its details. */
const ERROR_TEXT_LENGTH_MAX = 8 * KiB;
const ERROR_DETAILS_BYTES_MAX = 64 * KiB;
const METHODS_MAX = 1_000;
/** Of what the code of an agent says at once: an event of its job, and a little beside it. */
export const AGENT_PAYLOAD_BYTES_MAX = 256 * KiB;

export type WorkerTurn =
  | {
    readonly kind: "messages";
    readonly messages: readonly WorkerMessage[];
    /** Messages that are none of ours. */
    readonly refused: number;
  }
  /** More than a worker of ours ever sends; not even looked at. */
  | { readonly kind: "flood"; readonly count: number };

/** Reads what came out of a worker in one of its turns. */
export function readWorkerTurn(received: unknown): WorkerTurn {
  if (!Array.isArray(received)) return { kind: "messages", messages: [], refused: 1 };
  if (received.length > MESSAGES_PER_TURN_MAX) return { kind: "flood", count: received.length };
  const messages: WorkerMessage[] = [];
  for (const value of received as readonly unknown[]) {
    const unpacked = unpackWorkerMessage(value);
    const message = isRecord(unpacked) ? readMessage(unpacked) : undefined;
    if (message !== undefined) messages.push(message);
  }
  return { kind: "messages", messages, refused: received.length - messages.length };
}

type Shape = Readonly<Record<string, unknown>>;

function readMessage(message: Shape): WorkerMessage | undefined {
  switch (message["kind"]) {
    case "activated":
    case "deactivated":
    case "pause":
      return { kind: message["kind"] };
    case "alive":
      return readAlive(message);
    case "loaded":
      return readLoaded(message);
    case "step-failed":
      return readStepFailed(message);
    case "reply":
      return readReply(message);
    case "outgoing":
      return readOutgoing(message);
    case "outgoing-cancel":
    case "service-cancel":
      return isId(message["id"]) ? { kind: message["kind"], id: message["id"] } : undefined;
    case "service":
      return readService(message);
    case "child-process":
      return readChildProcess(message);
    case "agent":
      return readAgent(message);
    case "log":
      return readLog(message);
    default:
      return undefined;
  }
}

function readAlive({ memory }: Shape): WorkerMessage | undefined {
  if (!isRecord(memory)) return undefined;
  const { heapUsedBytes, heapTotalBytes, externalBytes, isCollected } = memory;
  if (!isSize(heapUsedBytes) || !isSize(heapTotalBytes) || !isSize(externalBytes)) return undefined;
  return {
    kind: "alive",
    memory: { heapUsedBytes, heapTotalBytes, externalBytes, isCollected: isCollected === true },
  };
}

function readLoaded({ methods }: Shape): WorkerMessage | undefined {
  if (!Array.isArray(methods) || methods.length > METHODS_MAX) return undefined;
  const unusable = (methods as readonly unknown[]).find(hasUnusablePolicy);
  if (unusable !== undefined) return { kind: "step-failed", error: unusablePolicy(unusable.method).toBody() };
  const specs = (methods as readonly unknown[]).map(readMethodSpec);
  return specs.every((spec) => spec !== undefined) ? { kind: "loaded", methods: specs } : undefined;
}

interface MethodClaim {
  readonly method: string;
  readonly policy: unknown;
}

/** Checked here only: the schemas of policies would cost each worker a third of its start. */
function hasUnusablePolicy(value: unknown): value is MethodClaim {
  if (!isRecord(value) || typeof value["method"] !== "string" || value["policy"] === undefined) return false;
  return !methodPolicySchema.safeParse(value["policy"]).success;
}

function unusablePolicy(method: string): AetherError {
  const found = `it has a contract whose method "${method.slice(0, CALL_TEXT_LENGTH_MAX)}" has an unusable policy`;
  return new AetherError("E_INVALID", `this bundle is not a slice: ${found}; make it with method({ … })`);
}

function readMethodSpec(value: unknown): MethodSpec | undefined {
  if (!isRecord(value)) return undefined;
  const { method, effect, timeoutMs, policy } = value;
  if (typeof method !== "string" || !nameSchema.safeParse(method).success) return undefined;
  if (effect !== "read" && effect !== "idempotent" && effect !== "write") return undefined;
  if (typeof timeoutMs !== "number" || !Number.isFinite(timeoutMs) || timeoutMs <= 0) return undefined;
  if (policy === undefined) return { method, effect, timeoutMs };
  const parsed = methodPolicySchema.safeParse(policy);
  return parsed.success ? { method, effect, timeoutMs, policy: parsed.data } : undefined;
}

function readStepFailed(message: Shape): WorkerMessage | undefined {
  const error = readError(message["error"]);
  return error === undefined ? undefined : { kind: "step-failed", error };
}

function readReply({ id, reply }: Shape): WorkerMessage | undefined {
  if (!isId(id) || !isRecord(reply)) return undefined;
  if (reply["kind"] === "ok") return { kind: "reply", id, reply: readOutput(reply["output"]) };
  if (reply["kind"] !== "not-started" && reply["kind"] !== "failed") return undefined;
  const error = readError(reply["error"]);
  return error === undefined ? undefined : { kind: "reply", id, reply: { kind: reply["kind"], error } };
}

/** Our own runtime has checked the output already; this one did not come from it. */
function readOutput(value: unknown): IncomingReply {
  const output = toPlain(value, CALL_BYTES_MAX);
  if (output.kind === "plain") return { kind: "ok", output: output.value };
  const found = output.kind === "not-plain" ? `${output.found}, no plain data` : `above ${output.limit} bytes`;
  const error = new AetherError("E_HANDLER", `the answer of the handler is ${found}`, {
    details: { name: output.kind === "not-plain" ? "OutputInvalid" : "OutputTooLarge" },
  });
  return { kind: "failed", error: error.toBody() };
}

/** Made anew: beside the fields of an error there may be anything. */
function readError(value: unknown): ErrorBody | undefined {
  if (!isErrorBody(value)) return undefined;
  const { code, outcome } = value;
  const message = value.message.slice(0, ERROR_TEXT_LENGTH_MAX);
  const details = value.details === undefined ? undefined : readFields(value.details, ERROR_DETAILS_BYTES_MAX);
  return {
    code, message, ...(outcome === undefined ? {} : { outcome }), ...(details === undefined ? {} : { details }),
  };
}

function readOutgoing({ id, call }: Shape): WorkerMessage | undefined {
  if (!isId(id) || !isRecord(call)) return undefined;
  const { slice, method, timeoutMs } = call;
  if (!isText(slice) || !isText(method) || !isOptionalTime(timeoutMs)) return undefined;
  const input = toPlain(call["input"], CALL_BYTES_MAX);
  const texts = readTexts(call);
  if (input.kind !== "plain" || texts === undefined) return undefined;
  const { idempotencyKey, traceparent, artifact, range } = texts;
  const { value, bytes: inputBytes } = input;
  const read = { slice, method, input: value, inputBytes, timeoutMs, artifact, range, idempotencyKey, traceparent };
  return { kind: "outgoing", id, call: read };
}

type CallTexts = Pick<OutgoingCall, "idempotencyKey" | "traceparent" | "artifact" | "range">;

function readTexts({ idempotencyKey, traceparent, artifact, range }: Shape): CallTexts | undefined {
  if (!isOptionalText(idempotencyKey) || !isOptionalText(traceparent)) return undefined;
  if (!isOptionalText(artifact) || !isOptionalText(range)) return undefined;
  return { idempotencyKey, traceparent, artifact, range };
}

/** What the arguments mean is for the service to find out. */
function readService({ id, call }: Shape): WorkerMessage | undefined {
  if (!isId(id) || !isRecord(call)) return undefined;
  const { service, op, timeoutMs } = call;
  if (!isText(service) || !isText(op) || typeof timeoutMs !== "number" || !(timeoutMs >= 0)) return undefined;
  const args = toPlain(call["args"], CALL_BYTES_MAX);
  if (args.kind !== "plain") return undefined;
  return { kind: "service", id, call: { service, op, args: args.value, timeoutMs } };
}

/** Whether it is the word of a process, which travels alone. */
export function isChildReport(received: unknown): boolean {
  if (!Array.isArray(received) || received.length !== 1) return false;
  const message: unknown = received[0];
  return isRecord(message) && message["kind"] === "child-process";
}

function readChildProcess({ pid, state }: Shape): WorkerMessage | undefined {
  if (typeof pid !== "number" || !Number.isSafeInteger(pid) || pid < 2) return undefined;
  return state === "started" || state === "ended" ? { kind: "child-process", pid, state } : undefined;
}

const TRACE_ID = /^[0-9a-f]{32}$/;

/** What it means is for whoever runs the agent's jobs to find out. */
function readAgent({ payload }: Shape): WorkerMessage | undefined {
  const plain = toPlain(payload, AGENT_PAYLOAD_BYTES_MAX);
  return plain.kind === "plain" ? { kind: "agent", payload: plain.value } : undefined;
}

function readLog({ level, text, fields, trace }: Shape): WorkerMessage | undefined {
  if (!isLogLevel(level) || typeof text !== "string") return undefined;
  const traced = typeof trace === "string" && TRACE_ID.test(trace) ? { trace } : {};
  const line = { kind: "log", level, text: text.slice(0, LOG_TEXT_LENGTH_MAX), ...traced } as const;
  // Twice: the fields themselves, and what our runtime says beside them.
  return isRecord(fields) ? { ...line, fields: readFields(fields, 2 * LOG_FIELDS_BYTES_MAX) } : line;
}

function readFields(fields: Shape, bytesMax: number): Shape {
  const plain = toPlain(fields, bytesMax);
  return plain.kind === "plain" && isRecord(plain.value) ? plain.value : { leftOut: plain.kind };
}

function isRecord(value: unknown): value is Shape {
  return typeof value === "object" && value !== null;
}

function isId(value: unknown): value is number {
  return typeof value === "number";
}

function isSize(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && Number.isFinite(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= CALL_TEXT_LENGTH_MAX;
}

function isOptionalTime(value: unknown): value is number | undefined {
  return value === undefined || (typeof value === "number" && !Number.isNaN(value));
}

function isOptionalText(value: unknown): value is string | undefined {
  return value === undefined || isText(value);
}

function isLogLevel(value: unknown): value is LogLevel {
  return value === "debug" || value === "info" || value === "warn" || value === "error";
}
