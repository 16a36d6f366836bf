import { describe, expect, test } from "vitest";
import { SeededRandom } from "../../../src/base/random.ts";
import { formatTraceparent, HopIds, parseTraceparent } from "../../../src/invocation/core/trace-context.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

describe("reading a trace context", () => {
  test("what was written is read", () => {
    const text = `00-${TRACE}-${SPAN}-01`;
    const context = parseTraceparent(text);
    expect(context).toEqual({ traceId: TRACE, spanId: SPAN, flags: "01" });
    expect(context === undefined ? "" : formatTraceparent(context)).toBe(text);
  });

  test.each([
    ["nothing", undefined],
    ["no ids", "00--01"],
    ["a trace id of zeros", `00-${"0".repeat(32)}-${SPAN}-01`],
    ["a span id of zeros", `00-${TRACE}-${"0".repeat(16)}-01`],
    ["capitals", `00-${TRACE.toUpperCase()}-${SPAN}-01`],
    ["the version that never is", `ff-${TRACE}-${SPAN}-01`],
    ["more than its version has", `00-${TRACE}-${SPAN}-01-more`],
    ["too much of it", `01-${TRACE}-${SPAN}-01-${"x".repeat(1_000)}`],
  ])("%s counts as absent", (_what, text) => {
    expect(parseTraceparent(text)).toBeUndefined();
  });

  test("a later version is read as far as it is known", () => {
    expect(parseTraceparent(`01-${TRACE}-${SPAN}-01-more`)).toEqual({ traceId: TRACE, spanId: SPAN, flags: "01" });
  });
});

describe("the next hop", () => {
  test("keeps the trace and what it says of recording", () => {
    const ids = new HopIds(new SeededRandom(1));
    const parent = { traceId: TRACE, spanId: SPAN, flags: "01" };
    const [first, second] = [ids.next(parent), ids.next(parent)];
    expect(first).toMatchObject({ traceId: TRACE, flags: "01" });
    expect(new Set([SPAN, first.spanId, second.spanId]).size).toBe(3);
  });

  test("begins a trace where there is none, and what it makes can be read", () => {
    const ids = new HopIds(new SeededRandom(2));
    const begun = ids.next(undefined);
    expect(parseTraceparent(formatTraceparent(begun))).toEqual({ ...begun, flags: "00" });
    expect(ids.next(undefined).traceId).not.toBe(begun.traceId);
  });
});
