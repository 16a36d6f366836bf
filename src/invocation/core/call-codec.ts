// Owns: calls as bytes on the `rpc` channel. A message is one MessagePack array whose first item is its type. An
// absent input or output is a shorter array, so that `undefined` survives. Ids are the caller's, unique per connection.
import { unreachable } from "../../base/assert.ts";
import { decode, encode } from "../../base/codec.ts";
import { AetherError, type ErrorBody } from "../../base/errors.ts";
import { checkShape } from "../../base/message-shape.ts";
import { KiB } from "../../base/units.ts";
import { CALL_BYTES_MAX } from "../../slices/core/plain-data.ts";
import { isErrorBody } from "../../slices/core/worker-protocol.ts";
import type { IncomingReply, LostWhen } from "../../slices/host/running-instances.ts";

export interface CallRequest {
  readonly kind: "request";
  readonly id: number;
  readonly instance: string;
  readonly method: string;
  readonly timeoutMs: number;
  readonly input: unknown;
  readonly idempotencyKey?: string | undefined;
  readonly traceparent?: string | undefined;
  readonly lostWhen?: LostWhen | undefined;
}

export type CallMessage =
  | CallRequest
  | { readonly kind: "reply"; readonly id: number; readonly reply: IncomingReply }
  | { readonly kind: "cancel"; readonly id: number };

export type ParsedCallMessage = CallMessage | { readonly kind: "refused"; readonly reason: string };

const REQUEST = 1;
const REPLY = 2;
const CANCEL = 3;

const LOST_WHEN = ["suspected"] as const satisfies readonly LostWhen[];
const REPLY_KINDS = ["ok", "not-started", "failed", "replayed"] as const;
/** Names, keys and trace context around the input. */
const ENVELOPE_BYTES_MAX = 16 * KiB;
/** Beyond it a message is not even decoded. */
const MESSAGE_BYTES_MAX = CALL_BYTES_MAX + ENVELOPE_BYTES_MAX;
/** As deep as plain data may be (plain-data.ts), and the message around it. */
const MESSAGE_DEPTH_MAX = 104;
/** Keys, names and trace contexts; keys of instances are the longest of our own. */
const TEXT_LENGTH_MAX = 1 * KiB;

export function encodeCallMessage(message: CallMessage): Uint8Array {
  switch (message.kind) {
    case "request":
      return encodeRequest(message);
    case "reply":
      return encodeReply(message.id, message.reply);
    case "cancel":
      return encode([CANCEL, message.id]);
    default:
      return unreachable(message);
  }
}

function encodeRequest(request: CallRequest): Uint8Array {
  const { id, instance, method, timeoutMs, idempotencyKey = null, traceparent = null, input } = request;
  const items: unknown[] = [REQUEST, id, instance, method, timeoutMs, idempotencyKey, traceparent];
  if (input !== undefined) items.push(input);
  // Behind the input, where nodes of earlier releases do not look: without it a call merely waits for longer.
  if (input !== undefined && request.lostWhen !== undefined) items.push(LOST_WHEN.indexOf(request.lostWhen));
  return encode(items);
}

function encodeReply(id: number, reply: IncomingReply): Uint8Array {
  const kind = reply.kind === "ok" && reply.isReplayed === true ? "replayed" : reply.kind;
  const items: unknown[] = [REPLY, id, REPLY_KINDS.indexOf(kind)];
  const content = reply.kind === "ok" ? reply.output : reply.error;
  if (content !== undefined) items.push(content);
  return encode(items);
}

/**
 * As `encodeCallMessage`, for a reply whose content is not ours: a peer would end the connection, and everybody's
 * calls with it, over bytes that it cannot read. Undefined when it would, or when there are no such bytes.
 */
export function encodeUntrustedReply(id: number, reply: IncomingReply): Uint8Array | undefined {
  try {
    const bytes = encodeReply(id, reply);
    if (bytes.byteLength > MESSAGE_BYTES_MAX) return undefined;
    checkShape(bytes, MESSAGE_DEPTH_MAX);
    return bytes;
  } catch {
    // ignored: cycles end the stack, and much else cannot be encoded; the caller of this says what was wrong with it
    return undefined;
  }
}

/** Total: whatever a peer sends is a message or a reason to refuse it. */
export function parseCallMessage(bytes: Uint8Array): ParsedCallMessage {
  const items = decodeItems(bytes);
  if (typeof items === "string") return refused(items);
  const id = items[1];
  if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0) return refused("its id is not a number");
  switch (items[0]) {
    case REQUEST:
      return parseRequest(id, items);
    case REPLY:
      return parseReply(id, items);
    case CANCEL:
      return { kind: "cancel", id };
    default:
      return refused("its type is unknown");
  }
}

function decodeItems(bytes: Uint8Array): readonly unknown[] | string {
  try {
    checkShape(bytes, MESSAGE_DEPTH_MAX);
    const items = decode(bytes, MESSAGE_BYTES_MAX);
    return Array.isArray(items) ? items : "it is not an array";
  } catch (error) {
    if (error instanceof AetherError) return error.message;
    throw error;
  }
}

function parseRequest(id: number, items: readonly unknown[]): ParsedCallMessage {
  const [, , instance, method, timeoutMs, idempotencyKey, traceparent, input, lostWhen] = items;
  if (!isText(instance) || !isText(method)) return refused("a request without instance or method");
  if (typeof timeoutMs !== "number" || !Number.isFinite(timeoutMs)) return refused("a request without deadline");
  if (!isTextOrNull(idempotencyKey)) return refused("a request with an unusable key");
  if (!isTextOrNull(traceparent)) return refused("a request with an unusable trace context");
  return {
    kind: "request",
    id,
    instance,
    method,
    timeoutMs,
    input,
    idempotencyKey: idempotencyKey ?? undefined,
    traceparent: traceparent ?? undefined,
    lostWhen: typeof lostWhen === "number" ? LOST_WHEN[lostWhen] : undefined,
  };
}

function parseReply(id: number, items: readonly unknown[]): ParsedCallMessage {
  const kind = typeof items[2] === "number" ? REPLY_KINDS[items[2]] : undefined;
  const body = items[3];
  if (kind === undefined) return refused("a reply of unknown kind");
  if (kind === "ok") return { kind: "reply", id, reply: { kind, output: body } };
  if (kind === "replayed") return { kind: "reply", id, reply: { kind: "ok", output: body, isReplayed: true } };
  // Still a reply: refusing it would leave the caller waiting until its deadline.
  const error = isErrorBody(body) ? plainBody(body) : UNREADABLE;
  return { kind: "reply", id, reply: { kind, error } };
}

/** Stands for an error with a code of a later release, or of none. */
const UNREADABLE: ErrorBody = {
  code: "E_INTERNAL",
  message: "the callee's node answered with an error that this node cannot read; run one release on all nodes",
  outcome: "unknown",
};

/** Only the fields we know: a peer's error is shown to users. */
function plainBody({ code, message, outcome, details }: ErrorBody): ErrorBody {
  return {
    code,
    message,
    ...(outcome === undefined ? {} : { outcome }),
    ...(details === undefined ? {} : { details }),
  };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length > 0 && value.length <= TEXT_LENGTH_MAX;
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || isText(value);
}

function refused(reason: string): ParsedCallMessage {
  return { kind: "refused", reason };
}
