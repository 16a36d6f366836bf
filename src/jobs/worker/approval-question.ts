// Owns: what a person is asked by the code of an agent, and the digest that a decision holds for.
import { AetherError } from "../../base/errors.ts";
import { parseDuration, type Duration } from "../../sdk/duration.ts";
import { APPROVAL_DATA_BYTES_MAX, APPROVAL_SUMMARY_LENGTH_MAX } from "../core/flow/approval-row.ts";
import { digestOfPlain } from "../core/plain-digest.ts";
import type { ApprovalQuestion } from "./given.ts";
import { payloadOf } from "./payload.ts";

/** As code gave it: without types it may be anything. */
export interface Question {
  readonly name: string;
  readonly summary: unknown;
  readonly data?: unknown;
  readonly tool?: string;
  readonly timeout?: Duration;
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
