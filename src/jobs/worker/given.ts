// Owns: what the code of an agent asks for, and what it gets for it: made of the log's events alone, so that it is the
// same when they are new and when they come out of the log.
import { unreachable } from "../../base/assert.ts";
import type { Deferred } from "../../base/deferred.ts";
import type { Digest } from "../../base/ids.ts";
import type { Approval } from "../../sdk/job.ts";
import type { SchemaShape } from "../../slices/worker/slice-module.ts";
import type { Amount } from "../core/budget/account.ts";
import type { CallName } from "../core/ids.ts";
import type { Resolution } from "../core/log/event.ts";
import { apart, JOB_VALUE_BYTES_MAX } from "../core/payloads/blob.ts";
import type { JobError } from "../core/rows.ts";
import type { AgentOp, CodeEnd, OfferedEntry } from "../core/worker/messages.ts";
import type { Delivery } from "../core/worker/replay-match.ts";
import type { AgentModule, ToolModule } from "./agent-module.ts";
import { checkNow, copyOf, errorFor, largePayloadOf, payloadFor } from "./payload.ts";

/** What the code of an agent asks for. */
export type Asked =
  | {
    readonly kind: "step";
    readonly call: CallName;
    readonly isRead: boolean;
    readonly run: (context: { readonly signal: AbortSignal }) => unknown;
  }
  | {
    readonly kind: "tool";
    readonly call: CallName;
    readonly tool: ToolModule;
    /** As its schema gave it, and as the log has it. */
    readonly data: unknown;
    readonly input: unknown;
    readonly inputBytes: number;
    readonly inputDigest: Digest;
  }
  | { readonly kind: "sleep"; readonly call: CallName; readonly durationMs: number }
  | {
    readonly kind: "signal";
    readonly call: CallName;
    readonly signal: string;
    readonly payload: SchemaShape;
    readonly timeoutMs: number | undefined;
  }
  | ({ readonly kind: "approval"; readonly call: CallName } & ApprovalQuestion)
  | {
    readonly kind: "child";
    readonly call: CallName;
    readonly agent: string;
    /** What the child answers; absent when the code knows the agent by its name only. */
    readonly output: SchemaShape | undefined;
    readonly input: unknown;
    readonly inputBytes: number;
    readonly inputDigest: Digest;
    readonly isDetached: boolean;
    readonly timeoutMs: number | undefined;
    readonly budget: Amount | undefined;
  };

/** What a person is asked. */
export interface ApprovalQuestion {
  readonly name: string;
  readonly summary: string;
  readonly data: unknown;
  /** Digest of all that is shown. */
  readonly inputDigest: Digest;
  readonly tool?: string;
  readonly timeoutMs: number | undefined;
}

/** What code can be given now, and what the node is told when it is. */
export interface Ready {
  readonly op: AgentOp;
  readonly delivery: Delivery | { readonly kind: "again"; readonly call: CallName };
  /** About the size of what was made here: of an answer that is new. */
  readonly bytes?: number;
}

/** How the code has ended, and about the size of its output. */
export interface Ended {
  readonly op: CodeEnd;
  readonly bytes?: number;
}

function resolved(call: CallName, resolution: Resolution): Ready["delivery"] {
  switch (resolution.kind) {
    case "done":
      return { kind: "result", call, result: resolution.result };
    case "not-done":
      return { kind: "again", call };
    case "given-up":
      return { kind: "given-up", call, reason: resolution.reason };
    default:
      return unreachable(resolution);
  }
}

export function completedStep(call: CallName, value: unknown): Ready {
  const payload = largePayloadOf(value);
  if (payload.kind === "plain") {
    const { bytes } = payload;
    const op = { kind: "step-completed", call, value: payload.value } as const;
    // What is stored apart leaves as bytes, before the code gets it.
    const given = isLarge(bytes) ? payload.value : copyOf(payload.value);
    return { op, delivery: { kind: "value", call, value: given }, bytes };
  }
  const message = `what the step "${call}" answered is ${payload.text}`;
  return failedCall(call, { name: "AetherError", code: payload.code, message });
}

export function failedCall(call: CallName, error: JobError): Ready {
  return { op: { kind: "step-failed", call, error }, delivery: { kind: "error", call, error } };
}

/** What the code is given of a call that has an outcome; undefined where nobody knows it. */
export function endedCall(op: Extract<AgentOp, { readonly kind: "outcome" }>): Ready | undefined {
  const { call, outcome } = op;
  switch (outcome.kind) {
    case "unknown":
      return undefined;
    case "failed":
      return { op, delivery: { kind: "error", call, error: outcome.error } };
    case "succeeded": {
      const { result, problem } = outcome;
      const told = problem === undefined ? {} : { problem };
      const copy = largePayloadOf(result);
      const { value, bytes } = copy.kind === "plain" ? copy : NOTHING;
      return { op, delivery: { kind: "result", call, result: value, ...told }, bytes };
    }
    default:
      return unreachable(outcome);
  }
}

/** What a call gets that is offered this entry of the inbox; undefined for what it does not wait for. */
export function offered(asked: Asked | undefined, entry: OfferedEntry): Ready["delivery"] | undefined {
  if (entry.kind === "cancel") return { kind: "cancel" };
  if (asked === undefined) return undefined;
  const { call } = asked;
  switch (entry.kind) {
    case "timer-fired":
      return isWait(asked) ? { kind: "timer", call } : undefined;
    case "signal":
      return asked.kind === "signal" ? { kind: "signal", call, payload: entry.payload, ...apart(entry) } : undefined;
    case "tool-resolved":
      return asked.kind === "tool" ? resolved(call, entry.resolution) : undefined;
    case "decided":
      return asked.kind === "approval" ? { ...entry, call } : undefined;
    case "child-completed":
      return asked.kind === "child"
        ? { kind: "child", call, output: copyOf(entry.output), ...apart(entry) }
        : undefined;
    case "child-failed":
      return asked.kind === "child" ? { kind: "error", call, error: entry.error } : undefined;
    case "child-detached":
      return asked.kind === "child" ? { kind: "child", call, output: { id: entry.job } } : undefined;
    default:
      return unreachable(entry);
  }
}

/** What a cancel fails at once, and what a timer may end. */
export function isWait({ kind }: Pick<Asked, "kind">): boolean {
  return kind === "sleep" || kind === "signal" || kind === "approval" || kind === "child";
}

export function failedWith(code: "E_INVALID" | "E_HANDLER" | "E_TOO_LARGE", message: string): Ended {
  return { op: { kind: "failed", error: { name: "AetherError", code, message } } };
}

/** Whether a payload of this size is stored apart from its event. */
export function isLarge(bytes: number): boolean {
  return bytes > JOB_VALUE_BYTES_MAX;
}

/** What becomes of an answer that the store has no room for. A tool has done what it did all the same. */
export function withoutRoom({ op, delivery }: Ready, error: JobError): Ready {
  if (op.kind !== "outcome" || op.outcome.kind !== "succeeded") {
    return "call" in delivery ? failedCall(delivery.call, error) : { op, delivery };
  }
  const { call } = op;
  const problem = `what it answered was not stored: ${error.message}`;
  return {
    op: { ...op, outcome: { ...op.outcome, result: undefined, problem } },
    delivery: { kind: "result", call, result: undefined, problem },
  };
}

/** What was stored apart, in its place. */
export function filled(delivery: Delivery, value: unknown): Delivery {
  switch (delivery.kind) {
    case "value":
      return { kind: "value", call: delivery.call, value };
    case "result": {
      const { blob: _blob, ...rest } = delivery;
      return { ...rest, result: value };
    }
    case "signal":
      return { kind: "signal", call: delivery.call, payload: value };
    case "child":
      return { kind: "child", call: delivery.call, output: value };
    case "error":
    case "timer":
    case "decided":
    case "given-up":
    case "cancel":
      return delivery;
    default:
      return unreachable(delivery);
  }
}

type Settlement =
  { readonly kind: "value"; readonly value: unknown } | { readonly kind: "error"; readonly error: JobError };

export function settle(settled: Deferred<unknown>, settlement: Settlement): void {
  if (settlement.kind === "value") settled.resolve(settlement.value);
  else settled.reject(errorFor(settlement.error));
}

export function resultFor(
  asked: Asked, { call, result, problem }: Extract<Delivery, { readonly kind: "result" }>,
): Settlement {
  if (problem !== undefined) return fault("E_HANDLER", `the tool "${call}" has done it, but ${problem}`);
  if (asked.kind !== "tool") return fault("E_INVALID", `"${call}" is no tool`);
  const checked = checkNow(asked.tool.output, result);
  if (checked.kind === "valid") return { kind: "value", value: checked.data };
  return fault("E_INVALID", `the result of "${call}" is not what its schema says: ${checked.text}`);
}

export function signalFor(asked: Asked, payload: unknown): Settlement {
  if (asked.kind !== "signal") return fault("E_INVALID", `"${asked.call}" waits for no signal`);
  const checked = checkNow(asked.payload, payload);
  if (checked.kind === "valid") return { kind: "value", value: checked.data };
  return fault("E_INVALID", `the payload of the signal "${asked.signal}" is invalid: ${checked.text}`);
}

export function childFor(asked: Asked, output: unknown): Settlement {
  if (asked.kind === "approval") return { kind: "value", value: approvalFor() };
  if (asked.kind !== "child") return fault("E_INVALID", `"${asked.call}" waits for no child`);
  if (asked.output === undefined || asked.isDetached) return { kind: "value", value: output };
  const checked = checkNow(asked.output, output);
  if (checked.kind === "valid") return { kind: "value", value: checked.data };
  return fault("E_INVALID", `what the child of the agent "${asked.agent}" answered is not what its definition here ` +
    `says: ${checked.text}`);
}

/** What a wait comes to whose time is over. */
export function timedOut(asked: Asked): Settlement {
  if (asked.kind === "approval") return { kind: "value", value: approvalFor() };
  if (asked.kind !== "child") return { kind: "value", value: undefined };
  const { agent } = asked;
  const message = `the child of the agent "${agent}" has not ended in time and is being cancelled`;
  return {
    kind: "error",
    error: { name: "ChildFailed", code: "E_TIMEOUT", message, details: { agent, status: "timed-out" } },
  };
}

/** What code gets of a decision. Nobody has made one when its time is over. */
export function approvalFor(
  decided?: Extract<Delivery, { readonly kind: "decided" }>,
): Approval {
  if (decided === undefined) return { approved: false };
  const { approved, principal: by, data } = decided;
  return { approved, by, data: copyOf(data) };
}

function fault(code: "E_INVALID" | "E_HANDLER", message: string): Settlement {
  return { kind: "error", error: { name: "AetherError", code, message } };
}

/** How a job ends whose code gave this. */
export function completedWith(agent: AgentModule, output: unknown): Ended {
  const checked = checkNow(agent.output, output);
  if (checked.kind === "invalid") {
    return failedWith("E_HANDLER", `the agent ${agent.name} answered what its output does not allow: ${checked.text}`);
  }
  const payload = payloadFor(agent.output, checked.data, output);
  if (payload.kind === "plain") {
    return { op: { kind: "completed", output: payload.value }, bytes: payload.bytes };
  }
  return failedWith(payload.code, `what the agent ${agent.name} answered is ${payload.text}`);
}

const NOTHING = { value: undefined, bytes: 0 };
