// Owns: where the operations of a job's code have their payloads, and how one is told whose payload is stored apart.
import { unreachable } from "../../../base/assert.ts";
import type { BlobRef } from "../payloads/blob.ts";
import type { AgentOp } from "./messages.ts";

/** What the node is told where the payload of the operation is stored apart. */
export function namedApart<Op extends AgentOp>(op: Op, blob: BlobRef): Op {
  switch (op.kind) {
    case "step-completed":
      return { ...op, value: undefined, blob };
    case "outcome":
      return { ...op, outcome: { ...op.outcome, result: undefined, blob } };
    case "completed":
      return { ...op, output: undefined, blob };
    case "want-tool":
    case "want-child":
    case "continued":
      return { ...op, input: undefined, blob };
    case "step-failed":
    case "want-step":
    case "value":
    case "took":
    case "verified":
    case "want-wait":
    case "failed":
    case "cancelled":
      return op;
    default:
      return unreachable(op);
  }
}

/** The payload of an operation. */
export function payloadIn(op: AgentOp): unknown {
  switch (op.kind) {
    case "step-completed":
      return op.value;
    case "outcome":
      return op.outcome.kind === "succeeded" ? op.outcome.result : undefined;
    case "completed":
      return op.output;
    case "want-tool":
    case "want-child":
    case "continued":
      return op.input;
    case "step-failed":
    case "want-step":
    case "value":
    case "took":
    case "verified":
    case "want-wait":
    case "failed":
    case "cancelled":
      return undefined;
    default:
      return unreachable(op);
  }
}

/** What an operation says that is stored apart. */
export function blobOfOp(op: AgentOp): BlobRef | undefined {
  if (op.kind === "outcome") return op.outcome.kind === "succeeded" ? op.outcome.blob : undefined;
  return "blob" in op ? op.blob : undefined;
}
