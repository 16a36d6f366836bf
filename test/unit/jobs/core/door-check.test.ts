import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineAgent } from "../../../../src/sdk/agent.ts";
import { defineContract } from "../../../../src/sdk/contract.ts";
import { defineSignal } from "../../../../src/sdk/signal.ts";
import { defineSlice } from "../../../../src/sdk/slice.ts";
import { DOOR_LOOKS_MAX, inputRefusal, signalRefusal } from "../../../../src/jobs/core/door-check.ts";
import { describeSlice } from "../../../../src/slices/build/describe-slice.ts";
import type { ManifestAgent } from "../../../../src/slices/core/manifest.ts";

const go = defineSignal("go", z.object({ by: z.string() }));

/** What the manifest of a package says of an agent that takes this. */
function agentThatTakes(input: z.ZodType, signals = [go]): ManifestAgent {
  const agent = defineAgent({ name: "claims", input, output: z.unknown(), signals, run: () => 1 });
  const slice = defineSlice({ contract: defineContract("claims", {}), agents: [agent], methods: {} });
  const described = describeSlice(slice);
  const found = described.kind === "described" ? described.description.agents?.["claims"] : undefined;
  if (found === undefined) throw new RangeError("the description has no agent");
  return found;
}

describe("an input that is certainly wrong", () => {
  const agent = agentThatTakes(z.object({ order: z.string(), lines: z.array(z.object({ cents: z.int() })) }));

  test("is refused with its places", () => {
    expect(inputRefusal(agent, { order: "o", lines: [{ cents: 1 }] })).toBeUndefined();
    expect(inputRefusal(agent, { lines: [{ cents: 1 }, { cents: "2" }] })).toEqual({
      reason: "its input is not what the agent takes: at order: it is required and not there; " +
        "at lines.1.cents: expected integer, found string",
      details: {
        issues: [
          { path: ["order"], message: "it is required and not there" },
          { path: ["lines", "1", "cents"], message: "expected integer, found string" },
        ],
      },
    });
    expect(inputRefusal(agent, undefined)).toMatchObject({ details: { issues: [{ path: [] }] } });
  });

  test("says little, however much is wrong", () => {
    const lines = Array.from({ length: 100 }, () => ({ cents: "x".repeat(1_000) }));
    const refusal = inputRefusal(agent, { order: "o", lines });
    expect(refusal?.details["issues"]).toHaveLength(5);
  });
});

describe("an input that the agent's own schema may take passes", () => {
  test.each<[string, z.ZodType, unknown]>([
    ["coerced", z.object({ at: z.coerce.number().int().min(1) }), { at: "5" }],
    ["caught", z.object({ at: z.string().catch("x") }), {}],
    ["preprocessed", z.object({ at: z.preprocess(() => "x", z.string()) }), {}],
    ["trimmed", z.object({ at: z.string().trim().max(3) }), { at: "   abc   " }],
    ["a default", z.object({ at: z.int().default(1) }), {}],
    ["a date", z.object({ at: z.coerce.date() }), { at: "2026-03-04" }],
    ["a transform", z.object({ at: z.string().transform(Number) }), { at: "5" }],
    ["more fields", z.object({}), { more: 1 }],
  ])("%s", (_what, schema, input) => {
    expect(schema.safeParse(input).success).toBe(true);
    expect(inputRefusal(agentThatTakes(schema), input)).toBeUndefined();
  });

  test.each<[string, z.ZodType, unknown]>([
    ["a pattern, which is not run", z.object({ at: z.string().regex(/^(a+)+$/) }), { at: `${"a".repeat(60)}!` }],
    ["a refinement", z.object({ at: z.string().refine(() => false) }), { at: "x" }],
    ["what comes after so many looks", z.array(z.string()), [...Array.from({ length: DOOR_LOOKS_MAX }, () => "x"), 1]],
  ])("because only the worker can tell: %s", (_what, schema, input) => {
    expect(inputRefusal(agentThatTakes(schema), input)).toBeUndefined();
  });

  test("of a manifest that says nothing of it", () => {
    expect(inputRefusal({ input: {} }, { anything: 1 })).toBeUndefined();
  });
});

describe("a signal", () => {
  const agent = agentThatTakes(z.void());

  test("that the agent names has the payload that it names", () => {
    expect(signalRefusal(agent, { name: "go", payload: { by: "ann" } })).toBeUndefined();
    expect(signalRefusal(agent, { name: "go", payload: {} })).toMatchObject({
      reason: expect.stringContaining("at by: it is required") as unknown,
      details: { issues: [{ path: ["by"] }] },
    });
  });

  test("that it does not name is refused with those that it does", () => {
    for (const name of ["gone", "toString", "__proto__"]) {
      expect(signalRefusal(agent, { name, payload: {} })).toEqual({
        reason: "its agent waits for no such signal: use one of go", details: { signals: ["go"] },
      });
    }
  });

  test("of any name is taken by an agent that names none", () => {
    expect(signalRefusal(agentThatTakes(z.void(), []), { name: "any", payload: 1 })).toBeUndefined();
  });
});
