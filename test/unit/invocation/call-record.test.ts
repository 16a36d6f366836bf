import { describe, expect, test } from "vitest";
import { encode } from "../../../src/base/codec.ts";
import { parseNodeId, parseNodeUid } from "../../../src/base/ids.ts";
import {
  digestOfInput, encodeResult, nextStep, parseCallRecord, resultOf, type CallRecord, type NextStep,
} from "../../../src/invocation/core/call-record.ts";

const by = { node: parseNodeId("n1"), uid: parseNodeUid("n1".padEnd(16, "0")), incarnation: 3, claim: 1 };
const input = digestOfInput({ sku: "tea" });
const other = digestOfInput({ sku: "mug" });
const done: CallRecord = { state: "done", by, input, result: encodeResult({ kind: "output", output: 7 }) };

/** Every record, against another input or the same, a claimant that lives or has ended, and both effects. */
const TABLE: readonly (readonly [string, CallRecord | undefined, Readonly<Record<string, NextStep["kind"]>>])[] = [
  ["no record", undefined, { write: "claim", idempotent: "claim", ended: "claim", retaken: "claim", other: "claim" }],
  ["open", { state: "open", by },
    { write: "claim", idempotent: "claim", ended: "claim", retaken: "claim", other: "claim" }],
  ["claimed", { state: "claimed", by, input },
    { write: "wait", idempotent: "wait", ended: "lost", retaken: "claim", other: "conflict" }],
  ["done", done, { write: "replay", idempotent: "replay", ended: "replay", retaken: "replay", other: "conflict" }],
];

describe("what follows from the record of a key", () => {
  test.each(TABLE)("%s (K1, K2, K3)", (_name, record, steps) => {
    const alive = (): boolean => false;
    const ended = (): boolean => true;
    expect(nextStep(record, { input, effect: "write", isLost: alive }).kind).toBe(steps["write"]);
    expect(nextStep(record, { input, effect: "idempotent", isLost: alive }).kind).toBe(steps["idempotent"]);
    expect(nextStep(record, { input, effect: "write", isLost: ended }).kind).toBe(steps["ended"]);
    expect(nextStep(record, { input, effect: "idempotent", isLost: ended }).kind).toBe(steps["retaken"]);
    for (const effect of ["write", "idempotent"] as const) {
      for (const isLost of [alive, ended]) {
        expect(nextStep(record, { input: other, effect, isLost }).kind).toBe(steps["other"]);
      }
    }
  });

  test("the answer comes back as it was, whatever it was", () => {
    for (const output of [undefined, null, 0, "text", new Uint8Array([1, 2]), [1, { a: undefined }], { a: [{}] }]) {
      const result = resultOf({ kind: "ok", output }, "write");
      const record = { state: "done" as const, by, input, result: encodeResult(result ?? { kind: "output", output }) };
      const step = nextStep(parseCallRecord(record), { input, effect: "write", isLost: () => false });
      expect(encode(step)).toEqual(encode({ kind: "replay", result: { kind: "output", output } }));
    }
  });
});

describe("what is kept of how a handler ended", () => {
  const lost = { kind: "failed", error: { code: "E_TIMEOUT", message: "it died", outcome: "unknown" } } as const;
  const threw = { kind: "failed", error: { code: "E_HANDLER", message: "no", outcome: "unknown" } } as const;
  const refused = { kind: "not-started", error: { code: "E_UNAVAILABLE", message: "stopping" } } as const;

  test("nothing of what never started", () => {
    expect(resultOf(refused, "write")).toBeUndefined();
    expect(resultOf(refused, "idempotent")).toBeUndefined();
  });

  test("a failure of the handler, and that nobody knows how it ended, unless it may run again", () => {
    expect(resultOf(threw, "write")).toEqual({ kind: "error", error: threw.error });
    expect(resultOf(threw, "idempotent")).toEqual({ kind: "error", error: threw.error });
    expect(resultOf(lost, "write")).toEqual({ kind: "error", error: lost.error });
    expect(resultOf(lost, "idempotent")).toBeUndefined();
  });

  test("of a large answer only how large it was, of a long error its beginning", () => {
    expect(resultOf({ kind: "ok", output: "x".repeat(300_000) }, "write")).toMatchObject({ kind: "large-output" });
    const details = { stack: "x".repeat(30_000) };
    const kept = resultOf({ kind: "failed", error: { ...threw.error, details, message: "m".repeat(9_000) } }, "write");
    expect(kept).toEqual({ kind: "error", error: { ...threw.error, message: "m".repeat(2_000) } });
  });
});

test("inputs are the same when they say the same", () => {
  expect(digestOfInput({ a: 1, b: { c: 2, d: 3 } })).toBe(digestOfInput({ b: { d: 3, c: 2 }, a: 1 }));
  expect(digestOfInput([1, 2])).not.toBe(digestOfInput([2, 1]));
  expect(digestOfInput(undefined)).not.toBe(digestOfInput(null));
});

test("a damaged record is refused", () => {
  const fresh = { state: "claimed", by, input };
  expect(parseCallRecord(fresh)).toEqual(fresh);
  const values = [undefined, {}, { ...fresh, input: "x" }, { ...fresh, state: "running" }, { ...done, result: 1 }];
  for (const value of values) {
    expect(() => parseCallRecord(value)).toThrow(expect.objectContaining({ code: "E_DATA_CORRUPT" }));
  }
  const garbled = parseCallRecord({ ...done, result: Uint8Array.from([0x91, 9]) });
  expect(() => nextStep(garbled, { input, effect: "write", isLost: () => false }))
    .toThrow(expect.objectContaining({ code: "E_DATA_CORRUPT" }));
});
