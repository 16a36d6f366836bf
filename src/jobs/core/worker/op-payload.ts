// Owns: where the operations of a job's code have their payloads, and how one is told whose payload is stored apart.
import { unreachable } from "../../../base/assert.ts";
import type { BlobRef } from "../payloads/blob.ts";
import type { AgentOp } from "./messages.ts";

/** A payload that an operation carries, and the operation as it is told where that is stored apart. */
export interface CarriedPayload<Op extends AgentOp> {
  readonly value: unknown;
  apart(blob: BlobRef): Op;
}

/** Undefined for an operation that carries none which could be large. */
export function carriedBy<Op extends AgentOp>(op: Op): CarriedPayload<Op> | undefined {
  switch (op.kind) {
    case "step-completed":
      return { value: op.value, apart: (blob) => ({ ...op, value: undefined, blob }) };
    case "outcome": {
      const { outcome } = op;
      if (outcome.kind !== "succeeded") return undefined;
      return { value: outcome.result, apart: (blob) => ({ ...op, outcome: { ...outcome, result: undefined, blob } }) };
    }
    case "completed":
      return { value: op.output, apart: (blob) => ({ ...op, output: undefined, blob }) };
    case "want-tool":
    case "want-child":
    case "continued":
      return { value: op.input, apart: (blob) => ({ ...op, input: undefined, blob }) };
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
