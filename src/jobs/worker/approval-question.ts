// Owns: what a person is asked by the code of an agent, and the digest that a decision holds for.
import { AetherError } from "../../base/errors.ts";
import { parseDuration, type Duration } from "../../sdk/duration.ts";
import type { Approval } from "../../sdk/job.ts";
import { APPROVAL_DATA_BYTES_MAX, APPROVAL_SUMMARY_LENGTH_MAX } from "../core/flow/approval-row.ts";
import { digestOfPlain } from "../core/plain-digest.ts";
import type { ToolModule } from "./agent-module.ts";
import type { ApprovalQuestion } from "./given.ts";
import { errorFor, payloadOf } from "./payload.ts";

/** As code gave it: without types it may be anything. */
export interface Question {
  readonly name: string;
  readonly summary: unknown;
  readonly data?: unknown;
  readonly tool?: string;
  readonly timeout?: Duration;
}

/**
 * What a person is asked before a tool is called with this input; undefined when nobody has to allow it.
 * @throws AetherError E_INVALID, E_TOO_LARGE, and whatever the tool's rule throws
 */
export function toolQuestionOf(
  { name, approval }: Pick<ToolModule, "name" | "approval">,
  { data, input }: { readonly data: unknown; readonly input: unknown },
): ApprovalQuestion | undefined {
  const asked = approval === undefined ? false : approval(data);
  if (asked === false) return undefined;
  const isObject = typeof asked === "object" && asked !== null && !Array.isArray(asked);
  const isAsked = asked === true || (isObject && !("then" in asked));
  // What is not understood must not count as allowed.
  if (!isAsked) {
    throw new AetherError("E_INVALID", `the approval of the tool "${name}" answered what is neither true, false nor ` +
      "{ summary?, timeout? }: answer one of them, and at once");
  }
  const { summary = name, timeout } = asked === true ? {} : (asked as Pick<Question, "summary" | "timeout">);
  return questionOf({ name, tool: name, summary, data: input, ...(timeout === undefined ? {} : { timeout }) });
}

/** What code gets for a call that was not allowed. */
export function rejection(tool: string, approval: Extract<Approval, { readonly approved: false }>): Error {
  const { by, data } = approval;
  const who = by === undefined ? "nobody allowed it in time" : `${by} did not allow it`;
  return errorFor({
    name: "ToolRejected",
    code: "E_REJECTED",
    message: `the tool ${tool} was not called: ${who}`,
    details: { tool, ...(by === undefined ? {} : { by, data }) },
  });
}

/** @throws AetherError E_INVALID, E_TOO_LARGE */
export function questionOf({ name, summary, data, tool, timeout }: Question): ApprovalQuestion {
  if (typeof summary !== "string" || summary.trim() === "" || summary.length > APPROVAL_SUMMARY_LENGTH_MAX) {
    throw new AetherError("E_INVALID", `the approval "${name}" has no summary of 1 to ${APPROVAL_SUMMARY_LENGTH_MAX} ` +
      "characters: say what a person is to decide");
  }
  const payload = payloadOf(data ?? null, APPROVAL_DATA_BYTES_MAX);
  if (payload.kind === "refused") {
    throw new AetherError(payload.code, `what the approval "${name}" shows is ${payload.text}`);
  }
  const shown = { name, summary, data: payload.value, ...(tool === undefined ? {} : { tool }) };
  return {
    ...shown,
    inputDigest: digestOfPlain(shown),
    timeoutMs: timeout === undefined ? undefined : parseDuration(timeout),
  };
}
