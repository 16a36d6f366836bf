// Owns: tools that a person has to allow before they are called: the rule of a tool, and what code gets when it is not
// allowed. Data and types, no behaviour but telling such an error from others.
import type { Duration } from "./duration.ts";

/** What a person is asked before a tool is called; they are shown the tool's input too. */
export interface ToolApproval {
  /** In a sentence, up to 1,000 characters. Default: the tool's name. */
  readonly summary?: string;
  /** How long to wait for somebody; then the call is rejected. Without it: for ever. */
  readonly timeout?: Duration;
}

/** Whether a call with this input has to be allowed. Must say the same of the same input each time. */
export type ApprovalRule<I> = boolean | ToolApproval | {
  // As a method, so that a tool of some input is a tool.
  rule(input: I): boolean | ToolApproval;
}["rule"];

/** What a call of a tool throws that was not allowed: nothing has happened. */
export interface ToolRejected extends Error {
  readonly name: "ToolRejected";
  readonly code: "E_REJECTED";
  readonly details: {
    readonly tool: string;
    /** Who said no, by their credentials; absent when nobody said anything in time. */
    readonly by?: string;
    /** What they said with it. */
    readonly data?: unknown;
  };
}

/**
 * Whether a person did not allow the call of a tool, in a `catch` around it.
 * @example
 * try {
 *   await job.tools.refund({ order, cents });
 * } catch (error) {
 *   if (!isToolRejected(error)) throw error;
 *   return { paid: false };
 * }
 */
export function isToolRejected(error: unknown): error is ToolRejected {
  return error instanceof Error && error.name === "ToolRejected" && "details" in error;
}
