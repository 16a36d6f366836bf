// Owns: the messages of calls as they pass between threads: rows instead of objects, because a structured clone writes
// each name of an object and looks it up again, which costs more than what is in it. All others pass as they are.
// Does not own: what they mean (worker-protocol.ts), what a node accepts of a worker (worker-content.ts).
import type { HostMessage, WorkerMessage } from "./worker-protocol.ts";

const CALL = 0;
const ANSWER = 1;

/** Node → worker. */
export function packHostTurn(messages: readonly HostMessage[]): readonly unknown[] {
  return messages.map(packHostMessage);
}

function packHostMessage(message: HostMessage): unknown {
  if (message.kind === "call") {
    const { id, method, input, timeoutMs, idempotencyKey, traceparent } = message;
    return [CALL, id, method, input, timeoutMs, idempotencyKey, traceparent];
  }
  if (message.kind !== "answer" || message.reply.kind !== "ok") return message;
  const { output, attempts, isReplayed } = message.reply;
  return [ANSWER, message.id, output, attempts, isReplayed];
}

/** What our own node has packed. */
export function unpackHostTurn(packed: unknown): readonly HostMessage[] {
  return (packed as readonly (HostMessage | HostRow)[]).map((one) => (isRow(one) ? unpackHostRow(one) : one));
}

type HostRow =
  | readonly [typeof CALL, number, string, unknown, number, string | undefined, string | undefined]
  | readonly [typeof ANSWER, number, unknown, number, true | undefined];

function isRow(one: HostMessage | HostRow): one is HostRow {
  return Array.isArray(one);
}

function unpackHostRow(row: HostRow): HostMessage {
  if (row[0] === CALL) {
    const [, id, method, input, timeoutMs, idempotencyKey, traceparent] = row;
    return { kind: "call", id, method, input, timeoutMs, idempotencyKey, traceparent };
  }
  const [, id, output, attempts, isReplayed] = row;
  return { kind: "answer", id, reply: { kind: "ok", output, attempts, isReplayed } };
}

const REPLY = 0;
const OUTGOING = 1;

/** Worker → node. */
export function packWorkerTurn(messages: readonly WorkerMessage[]): readonly unknown[] {
  return messages.map(packWorkerMessage);
}

function packWorkerMessage(message: WorkerMessage): unknown {
  if (message.kind === "reply" && message.reply.kind === "ok") return [REPLY, message.id, message.reply.output];
  if (message.kind !== "outgoing") return message;
  const { slice, method, input, timeoutMs, artifact, range, idempotencyKey, traceparent } = message.call;
  return [OUTGOING, message.id, slice, method, input, timeoutMs, artifact, range, idempotencyKey, traceparent];
}

/** One message as an object again, unchecked; what is no row is given back as it is. */
export function unpackWorkerMessage(received: unknown): unknown {
  if (!Array.isArray(received)) return received;
  const row = received as readonly unknown[];
  if (row[0] === REPLY) return { kind: "reply", id: row[1], reply: { kind: "ok", output: row[2] } };
  if (row[0] !== OUTGOING) return received;
  const [, id, slice, method, input, timeoutMs, artifact, range, idempotencyKey, traceparent] = row;
  const call = { slice, method, input, timeoutMs, artifact, range, idempotencyKey, traceparent };
  return { kind: "outgoing", id, call };
}
