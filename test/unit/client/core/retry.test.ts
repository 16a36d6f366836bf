import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ERRORS, type ErrorCode } from "../../../../src/base/error-catalog.ts";
import { AetherError } from "../../../../src/base/errors.ts";
import { SeededRandom } from "../../../../src/base/random.ts";
import {
  attemptMs, finalError, judgeError, type AttemptContext, type Verdict,
} from "../../../../src/client/core/retry.ts";

const FRESH: AttemptContext = { effect: "once", persistence: "serve", refusals: 0, isAlone: false };

function judge(error: AetherError, changes: Partial<AttemptContext> = {}): Verdict {
  return judgeError(error, { ...FRESH, ...changes }, new SeededRandom(1));
}

const timeout = new AetherError("E_TIMEOUT", "no answer");
const noQuorum = new AetherError("E_NO_QUORUM", "no majority");
const overloaded = new AetherError("E_OVERLOADED", "full");

describe("a request whose answer did not come", () => {
  test.each(["read", "idempotent", "once"] as const)("%s is asked elsewhere", (effect) => {
    expect(judge(timeout, { effect })).toEqual({ kind: "again", where: "elsewhere", pauseMs: 0 });
  });

  test("is not sent again without a request id", () => {
    expect(judge(timeout, { effect: "write" })).toEqual({ kind: "final" });
    expect(attemptMs({ effect: "write", persistence: "serve" }, 0)).toBe(Infinity);
  });

  test("a node has less time than the request, and more with each attempt", () => {
    expect([0, 1, 9].map((attempts) => attemptMs(FRESH, attempts))).toEqual([2_000, 4_000, 60_000]);
  });
});

describe("a refusal", () => {
  test("of one node is another node's chance, if there is one", () => {
    expect(judge(noQuorum)).toMatchObject({ where: "elsewhere" });
    expect(judge(noQuorum, { isAlone: true })).toEqual({ kind: "final" });
  });

  test("for overload is waited out by those who can, longer each time, but never long", () => {
    const pauses = Array.from({ length: 12 }, (_, refusals) => judge(overloaded, { refusals }));
    for (const verdict of pauses) {
      expect(verdict).toMatchObject({ kind: "again", where: "here" });
      expect(verdict.kind === "again" && verdict.pauseMs > 0 && verdict.pauseMs <= 640).toBe(true);
    }
    expect(judge(overloaded, { persistence: "move" })).toEqual({ kind: "final" });
  });

  test("by every node in turn does not become a storm", () => {
    const pauses = Array.from({ length: 8 }, (_, refusals) => judge(noQuorum, { refusals }));
    expect(pauses.map((verdict) => verdict.kind === "again" && verdict.pauseMs > 0)).toEqual(
      [false, false, false, true, true, true, true, true],
    );
  });

  test("of what cannot be right anywhere is final, and so is all for those who want it so", () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      const error = new AetherError(code, "no");
      expect(judge(error, { persistence: "none" })).toEqual({ kind: "final" });
      const isTemporary = ["later", "elsewhere", "same-id"].includes(ERRORS[code].retry) && code !== "E_QUOTA";
      expect([code, judge(error).kind]).toEqual([code, isTemporary ? "again" : "final"]);
    }
  });
});

test("whatever came last, an attempt in doubt keeps the outcome unknown", () => {
  fc.assert(
    fc.property(fc.constantFrom(...(Object.keys(ERRORS) as ErrorCode[])), fc.boolean(), (code, mayHaveRun) => {
      const error = new AetherError(code, "no", { details: { revision: 7 } });
      const told = finalError("put data/a", error, mayHaveRun);
      expect(told).toMatchObject({ code, details: { revision: 7 } });
      expect(told.outcome).toBe(mayHaveRun ? "unknown" : ERRORS[code].outcome);
    }),
  );
});
