import { describe, expect, test } from "vitest";
import type { ErrorCode } from "../../../src/base/error-catalog.ts";
import { classOfFailure, judgeAttempt, type AttemptResult } from "../../../src/invocation/core/attempt-verdict.ts";
import type { AttemptFailure } from "../../../src/invocation/core/retry-policy.ts";

const PATIENT = { timeoutMs: 1_000, waitedMs: 1_000, usualMs: 10, hasCallerLeft: false };

function failure(kind: AttemptFailure["kind"], code: ErrorCode): AttemptFailure {
  return { kind, error: { code, message: "no" } };
}

describe("what an attempt says of its endpoint", () => {
  const rows: readonly (readonly [AttemptResult, string])[] = [
    [{ kind: "ok", output: 1 }, "answered"],
    [failure("not-sent", "E_UNAVAILABLE"), "failed"],
    [failure("not-started", "E_UNAVAILABLE"), "failed"],
    [failure("not-started", "E_OVERLOADED"), "failed"],
    [failure("not-started", "E_INVALID"), "neutral"],
    [failure("not-started", "E_NOT_FOUND"), "neutral"],
    [failure("not-started", "E_TIMEOUT"), "failed"],
    [failure("no-answer", "E_TIMEOUT"), "failed"],
    [failure("failed", "E_HANDLER"), "handled"],
    [failure("failed", "E_INTERNAL"), "failed"],
  ];
  test.each(rows)("%o: %s", (result, verdict) => {
    expect(judgeAttempt(result, PATIENT)).toBe(verdict);
  });

  test("silence says nothing when the caller left, or gave less time than the endpoint usually takes", () => {
    const silence = failure("no-answer", "E_TIMEOUT");
    expect(judgeAttempt(silence, { ...PATIENT, hasCallerLeft: true, waitedMs: 500 })).toBe("neutral");
    // Its own clock said that time was over, a moment before ours.
    expect(judgeAttempt(silence, { ...PATIENT, hasCallerLeft: true, waitedMs: 990 })).toBe("failed");
    expect(judgeAttempt(silence, { ...PATIENT, usualMs: 2_000 })).toBe("neutral");
    expect(judgeAttempt(silence, { ...PATIENT, usualMs: undefined })).toBe("failed");
    // It ended before its time was over: not for want of patience.
    expect(judgeAttempt(silence, { ...PATIENT, waitedMs: 5, usualMs: 2_000 })).toBe("failed");
  });
});

test("every failure has exactly one class", () => {
  expect(classOfFailure(failure("not-sent", "E_UNAVAILABLE"))).toBe("not-sent");
  expect(classOfFailure(failure("not-sent", "E_OVERLOADED"))).toBe("overloaded");
  expect(classOfFailure(failure("not-started", "E_UNAVAILABLE"))).toBe("not-started");
  expect(classOfFailure(failure("not-started", "E_OVERLOADED"))).toBe("overloaded");
  expect(classOfFailure(failure("no-answer", "E_TIMEOUT"))).toBe("no-answer");
  expect(classOfFailure(failure("failed", "E_HANDLER"))).toBe("handler");
});
