import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ERRORS, type ErrorCode } from "../../../src/base/error-catalog.ts";
import {
  ATTEMPTS_MAX, decideRetry, type AttemptFailure, type Effect, type RetryState,
} from "../../../src/invocation/core/retry-policy.ts";

const POLICY = { retriesMax: 3, backoffMs: 100 };
const FRESH: RetryState = {
  effect: "write", hasKey: false, attempts: 1, countedRetries: 0, hasOther: true, remainingMs: 10_000, jitter: 1,
};

const states: fc.Arbitrary<RetryState> = fc.record({
  effect: fc.constantFrom<Effect>("read", "idempotent", "write"),
  hasKey: fc.boolean(),
  attempts: fc.integer({ min: 1, max: 20 }),
  countedRetries: fc.integer({ min: 0, max: 6 }),
  hasOther: fc.boolean(),
  remainingMs: fc.integer({ min: 0, max: 20_000 }),
  jitter: fc.double({ min: 0, max: 0.999, noNaN: true }),
});
const codes = fc.constantFrom(...(Object.keys(ERRORS) as ErrorCode[]));
const failures: fc.Arbitrary<AttemptFailure> = fc
  .tuple(fc.constantFrom<AttemptFailure["kind"]>("not-sent", "not-started", "no-answer", "failed"), codes)
  .map(([kind, code]) => failureOf(kind, code));

describe("what may be done after a failed attempt", () => {
  test("a write that was sent and not answered is never sent again (I1)", () => {
    fc.assert(fc.property(states, codes, (state, code) => {
      const failure = failureOf("no-answer", code);
      expect(decideRetry(failure, { ...state, effect: "write", hasKey: false }, POLICY).kind).toBe("give-up");
    }));
  });

  test("with an idempotency key it is, unless its record says that nobody knows (I1)", () => {
    const keyed = { ...FRESH, hasKey: true };
    const { error } = failureOf("no-answer", "E_TIMEOUT");
    expect(decideRetry({ kind: "no-answer", error }, keyed, POLICY).kind).toBe("retry");
    const final = { ...error, details: { isFinal: true } };
    expect(decideRetry({ kind: "no-answer", error: final }, keyed, POLICY).kind).toBe("give-up");
  });

  test("what a handler answered is final (I2)", () => {
    fc.assert(fc.property(states, codes, (state, code) => {
      expect(decideRetry(failureOf("failed", code), state, POLICY).kind).toBe("give-up");
    }));
  });

  test("what never started is tried elsewhere at once, whatever its effect (I3)", () => {
    for (const effect of ["read", "idempotent", "write"] as const) {
      for (const kind of ["not-sent", "not-started"] as const) {
        const decision = decideRetry(failureOf(kind, "E_UNAVAILABLE"), { ...FRESH, effect, countedRetries: 3 }, POLICY);
        expect(decision).toEqual({ kind: "retry", delayMs: 0, counts: false });
      }
    }
  });

  test("a read whose peer vanished goes to another endpoint at once", () => {
    const decision = decideRetry(failureOf("no-answer", "E_TIMEOUT"), { ...FRESH, effect: "read" }, POLICY);
    expect(decision).toEqual({ kind: "retry", delayMs: 0, counts: true });
  });

  test("overloaded is tried elsewhere with back-off", () => {
    const decision = decideRetry(failureOf("not-started", "E_OVERLOADED"), FRESH, POLICY);
    expect(decision).toEqual({ kind: "retry", delayMs: 100, counts: false });
  });

  test("the same endpoint again waits 100, 200 and 400 ms, and then it is enough", () => {
    const failure = failureOf("not-started", "E_UNAVAILABLE");
    const delays = [0, 1, 2, 3].map((countedRetries) => {
      const decision = decideRetry(failure, { ...FRESH, countedRetries, hasOther: false }, POLICY);
      return decision.kind === "retry" ? decision.delayMs : undefined;
    });
    expect(delays).toEqual([100, 200, 400, undefined]);
  });

  test("input that is invalid here is invalid everywhere", () => {
    expect(decideRetry(failureOf("not-started", "E_INVALID"), FRESH, POLICY).kind).toBe("give-up");
  });

  test("no retry begins after the deadline, and attempts end", () => {
    fc.assert(fc.property(states, failures, (state, failure) => {
      const decision = decideRetry(failure, state, POLICY);
      if (decision.kind === "give-up") return;
      expect(decision.delayMs).toBeLessThan(state.remainingMs);
      expect(state.attempts).toBeLessThan(ATTEMPTS_MAX);
      if (decision.counts) expect(state.countedRetries).toBeLessThan(POLICY.retriesMax);
    }));
  });
});

function failureOf(kind: AttemptFailure["kind"], code: ErrorCode): AttemptFailure {
  return { kind, error: { code, message: "" } };
}
