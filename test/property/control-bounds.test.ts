// Owns: what holds of control whatever is advised, measured or written in rules.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Advice, ClusterController, ClusterFacts, SliceFacts } from "../../src/control/core/advice.ts";
import { rangeOf } from "../../src/control/core/bounds.ts";
import { DecisionTreeController } from "../../src/control/core/decision-tree.ts";
import { parseRules } from "../../src/control/core/parse-rules.ts";
import { boundsOf } from "../../src/control/core/rules.ts";
import { play, type Load } from "../support/control-world.ts";

/** Says whatever it was given, second by second. */
class MadController implements ClusterController {
  private readonly says: readonly (readonly Advice[])[];
  private second = -1;

  constructor(says: readonly (readonly Advice[])[]) {
    this.says = says;
  }

  decide(): ReturnType<ClusterController["decide"]> {
    this.second++;
    return { advice: this.says[this.second] ?? [], undecided: [] };
  }
}

const anyCount = fc.oneof(
  fc.integer({ min: -5, max: 30 }), fc.double(), fc.constantFrom(0, Number.NaN, Infinity, -Infinity, 1e308, -0),
);
const anyAdvice: fc.Arbitrary<Advice> = fc.record({
  slice: fc.constantFrom("orders", "pricing", "nobody", ""),
  instances: anyCount,
  source: fc.constant("model mad"),
  reason: fc.string({ maxLength: 5 }),
  cooldownMs: fc.nat(30_000),
  min: fc.option(fc.integer({ min: -3, max: 40 }), { nil: undefined }),
  max: fc.option(fc.integer({ min: -3, max: 40 }), { nil: undefined }),
});
const anyTrouble: fc.Arbitrary<Partial<ClusterFacts>> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({}) },
  { weight: 1, arbitrary: fc.constant({ hasQuorum: false }) },
  { weight: 1, arbitrary: fc.constant({ draining: ["n2"] }) },
  { weight: 1, arbitrary: fc.constant({ pausedBy: "ann" }) },
);
const anyState: fc.Arbitrary<Partial<SliceFacts>> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({}) },
  { weight: 1, arbitrary: fc.constant({ isRollingOut: true }) },
  { weight: 1, arbitrary: fc.constant({ pinnedBy: "ann" }) },
  { weight: 1, arbitrary: fc.constant({ active: 0 }) },
);
const anyBounds = fc.record({
  min: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
  max: fc.option(fc.integer({ min: 5, max: 12 }), { nil: undefined }),
  stepUp: fc.integer({ min: 1, max: 4 }),
  stepDown: fc.integer({ min: 1, max: 4 }),
});

describe("whatever is advised", () => {
  test("a slice stays within its bounds, goes step by step, and not at all while it must not (X1 X2 X3 X4 X5)", () => {
    fc.assert(fc.property(
      fc.array(fc.array(anyAdvice, { maxLength: 4 }), { minLength: 40, maxLength: 120 }),
      anyBounds, fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 5 }),
      fc.infiniteStream(anyTrouble), fc.infiniteStream(anyState),
      (says, bounds, base, minAvailable, troubles, states) => {
        const timed = { ...bounds, every: "3s", reverseAfter: "9s" };
        const rules = parseRules(JSON.stringify({ bounds: { orders: timed } }));
        const trouble = says.map(() => troubles.next().value);
        const state = says.map(() => states.next().value);
        const lively = Math.min(minAvailable, base);
        const { counts, decisions } = play({
          controller: new MadController(says),
          rules,
          slices: { orders: { base, minAvailable: lively }, pricing: { base: 2 } },
          load: {},
          seconds: says.length,
          cluster: (second) => trouble[second] ?? {},
          facts: (second, slice) => (slice === "orders" ? (state[second] ?? {}) : {}),
        });
        const range = rangeOf(
          { ...FACTS, base, minAvailable: lively }, boundsOf(rules, "orders"),
        );
        let before = base;
        let lastChange: { readonly second: number; readonly isUp: boolean } | undefined;
        for (const [second, count] of (counts["orders"] ?? []).entries()) {
          const isUp = count > before;
          if (count !== before) {
            expect(base).not.toBe(0);
            // It begins where the blueprint put it; from outside it only comes closer.
            expect(count >= range.min || isUp).toBe(true);
            expect(count <= range.max || !isUp).toBe(true);
            expect(count).toBeGreaterThanOrEqual(Math.max(1, lively));
            expect(Math.abs(count - before)).toBeLessThanOrEqual(isUp ? bounds.stepUp : bounds.stepDown);
            expect(trouble[second]).toEqual({});
            expect(state[second]?.isRollingOut ?? state[second]?.pinnedBy ?? false).toBe(false);
            if (isUp) expect(state[second]?.active).not.toBe(0);
            if (lastChange !== undefined) {
              const waited = second - lastChange.second;
              expect(waited).toBeGreaterThanOrEqual(!isUp && lastChange.isUp ? 9 : 3);
            }
            lastChange = { second, isUp };
          }
          before = count;
        }
        // Each advice that wanted something else has an answer with a reason.
        for (const { decision } of decisions) expect(decision.kind === "scale" || decision.reason !== "").toBe(true);
      },
    ));
  });

  test("what one slice waits for holds up no other (X4)", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 20 }), (everyS) => {
      const rules = parseRules(JSON.stringify({ bounds: { orders: { every: `${everyS}s`, max: 50, stepUp: 1 } } }));
      const more = (slice: string, instances: number): Advice => ({ slice, instances, source: "rule", reason: "more" });
      const { counts } = play({
        controller: { decide: ({ slices }) => ({
          advice: [...slices].map(([slice, { instances }]) => more(slice, instances + 1)), undecided: [],
        }) },
        rules, slices: { orders: { base: 1 }, pricing: { base: 1 } }, load: {}, seconds: 60,
      });
      expect(counts["pricing"]?.at(-1)).toBe(Math.min(10, 1 + Math.ceil(60 / 10)));
      expect(counts["orders"]?.at(-1)).toBe(Math.min(50, 1 + Math.ceil(60 / everyS)));
    }));
  });
});

const FACTS: SliceFacts = {
  blueprint: "shop", base: 1, instances: 1, active: 1, minAvailable: 0, isRollingOut: false, pinnedBy: undefined,
  change: undefined,
};

/** Up above `up` calls per second and instance, down below `down`, however close the two are. */
function loadRules(up: number, down: number) {
  const soon = { slice: "orders", window: "5s", for: "2s", cooldown: "1s" };
  return parseRules(JSON.stringify({
    bounds: { orders: { max: 20, stepUp: 3, stepDown: 2, every: "1s", reverseAfter: "0s" } },
    rules: [
      { name: "up", when: `avg(calls_per_second) / instances > ${up}`, do: { add: 1 }, ...soon },
      { name: "down", when: `avg(calls_per_second) / instances < ${down}`, do: { remove: 2 }, ...soon },
      { name: "busy", when: "avg(event_loop) > 0.8", do: { add: 2 }, ...soon },
      { name: "idle", when: "avg(event_loop) < 0.7", do: { remove: 1 }, ...soon },
    ],
  }));
}

const steadyLoad = (calls: number, busyPerCall: number): Load => (_second, instances) => ({
  calls_per_second: calls, event_loop: Math.min(1, (calls * busyPerCall) / Math.max(1, instances)),
});

describe("by rules", () => {
  test("a steady load comes to rest, whatever the thresholds", () => {
    fc.assert(fc.property(
      fc.integer({ min: 5, max: 100 }), fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 900 }),
      fc.double({ min: 0.0005, max: 0.02, noNaN: true }),
      (down, gap, calls, busyPerCall) => {
        const rules = loadRules(down + gap, down);
        const { counts } = play({
          controller: new DecisionTreeController(rules), rules, slices: { orders: { base: 2 } },
          load: { orders: steadyLoad(calls, busyPerCall) }, seconds: 200,
        });
        const settled = new Set(counts["orders"]?.slice(120));
        expect([...settled]).toHaveLength(1);
      },
    ));
  });

  test("when a load ends the slice comes back to what its blueprint says", () => {
    fc.assert(fc.property(
      fc.integer({ min: 1, max: 4 }), fc.integer({ min: 200, max: 2_000 }), fc.integer({ min: 10, max: 60 }),
      (base, calls, seconds) => {
        const rules = loadRules(60, 40);
        const { counts } = play({
          controller: new DecisionTreeController(rules), rules, slices: { orders: { base } },
          load: { orders: (second, instances) =>
            steadyLoad(second < 10 + seconds ? calls : 1, 0.001)(second, instances) },
          seconds: 10 + seconds + 300,
        });
        expect(Math.max(...(counts["orders"] ?? []))).toBeGreaterThanOrEqual(base);
        expect(counts["orders"]?.at(-1)).toBe(base);
      },
    ));
  });

  test("metrics that are missing or stale decide nothing, and that is said", () => {
    fc.assert(fc.property(fc.array(fc.boolean(), { minLength: 60, maxLength: 60 }), (comes) => {
      const rules = loadRules(60, 40);
      // From the thirtieth second on there is nothing any more; before, some seconds have no point.
      const { counts, decisions } = play({
        controller: new DecisionTreeController(rules), rules, slices: { orders: { base: 2 } },
        load: { orders: (second) => (second < 30 && comes[second] === true ? { calls_per_second: 1_000 } : undefined) },
        seconds: 60,
      });
      const late = decisions.filter(({ second }) => second >= 40);
      expect(late.every(({ decision }) => decision.kind === "undecided")).toBe(true);
      expect(late.length).toBeGreaterThan(0);
      expect(new Set(counts["orders"]?.slice(40)).size).toBe(1);
    }));
  });
});
