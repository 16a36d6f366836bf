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
import type { JobError } from "../core/rows.ts";
import type { AgentOp, CodeEnd } from "../core/worker/messages.ts";
import type { Delivery } from "../core/worker/replay-match.ts";
import type { AgentModule, ToolModule } from "./agent-module.ts";
import { checkNow, copyOf, errorFor, payloadFor, payloadOf } from "./payload.ts";

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
}

export function resolved(
  call: CallName, resolution: Resolution,
): Ready["delivery"] {
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
  const payload = payloadOf(value);
  if (payload.kind === "plain") {
    const op = { kind: "step-completed", call, value: payload.value } as const;
    return { op, delivery: { kind: "value", call, value: copyOf(payload.value) } };
  }
  const message = `what the step "${call}" answered is ${payload.text}`;
  return failedCall(call, { name: "AetherError", code: payload.code, message });
}

export function failedCall(call: CallName, error: JobError): Ready {
  return { op: { kind: "step-failed", call, error }, delivery: { kind: "error", call, error } };
}

export function failedWith(code: "E_INVALID" | "E_HANDLER" | "E_TOO_LARGE", message: string): CodeEnd {
  return { kind: "failed", error: { name: "AetherError", code, message } };
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
export function completedWith(agent: AgentModule, output: unknown): CodeEnd {
  const checked = checkNow(agent.output, output);
  if (checked.kind === "invalid") {
    return failedWith("E_HANDLER", `the agent ${agent.name} answered what its output does not allow: ${checked.text}`);
  }
  const payload = payloadFor(agent.output, checked.data, output);
  if (payload.kind === "plain") return { kind: "completed", output: payload.value };
  return failedWith(payload.code, `what the agent ${agent.name} answered is ${payload.text}`);
}
