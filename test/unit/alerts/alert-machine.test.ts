// The life of one alert, for whatever numbers come.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  stepAlert, UNKNOWN_MS_MAX, type AlertInput, type AlertLimits, type AlertState,
} from "../../../src/alerts/core/alert-machine.ts";

const LIMITS: AlertLimits = { threshold: 10, clearBelow: 5, forMs: 3_000, clearForMs: 2_000 };
const high = { kind: "value", value: 12 } as const;
const between = { kind: "value", value: 7 } as const;
const low = { kind: "value", value: 1 } as const;
const unknown = { kind: "unknown" } as const;

/** One input per second; gives what changed, as `second:change`. */
function play(inputs: readonly AlertInput[], limits: AlertLimits = LIMITS): readonly string[] {
  let state: AlertState | undefined;
  return inputs.flatMap((input, second) => {
    const step = stepAlert(state, input, limits, { passedMs: 1_000, wallMs: second });
    state = step.state;
    return step.change === undefined ? [] : [`${second}:${step.change}`];
  });
}

describe("an alert", () => {
  test("fires after its number was high for long enough, and is over after it was low for long enough (L1)", () => {
    expect(play([low, high, high, high, high, high, low, low, low, low])).toEqual(["4:fired", "7:cleared"]);
  });

  test("does not fire when its number comes down in between (L1)", () => {
    expect(play([high, high, high, between, high, high, high, low])).toEqual([]);
  });

  test("stays while its number is between being too high and low enough (L1)", () => {
    expect(play([high, high, high, high, between, low, between, low, between, low, low]))
      .toEqual(["3:fired", "10:cleared"]);
  });

  test("fires at once where there is nothing to wait for", () => {
    expect(play([high, low], { ...LIMITS, forMs: 0, clearForMs: 0 })).toEqual(["0:fired", "1:cleared"]);
  });

  test("waits while nothing is known, and goes on counting afterwards (L2)", () => {
    expect(play([high, high, unknown, unknown, unknown, high, high, low, unknown, low, low]))
      .toEqual(["6:fired", "9:cleared"]);
  });

  test("is taken back when nothing has been known for very long (L2)", () => {
    const silence = Array.from({ length: UNKNOWN_MS_MAX / 1_000 }, () => unknown);
    expect(play([high, high, high, high, ...silence])).toEqual(["3:fired", `${3 + silence.length}:cleared`]);
    expect(play([high, high, ...silence, high])).toEqual([]);
  });

  test("is over at once when what it is about is gone, and says nothing if it never fired", () => {
    expect(play([high, high, high, high, { kind: "gone" }])).toEqual(["3:fired", "4:cleared"]);
    expect(play([high, high, { kind: "gone" }])).toEqual([]);
  });

  const input = fc.constantFrom<AlertInput>(high, between, low, unknown, { kind: "gone" });
  const inputs = fc.array(input, { maxLength: 60 });

  test("fires and is over in turn, never twice the same, whatever comes", () => {
    fc.assert(fc.property(inputs, (given) => {
      const changes = play(given).map((line) => line.split(":")[1]);
      changes.forEach((change, at) => expect(change).toBe(at % 2 === 0 ? "fired" : "cleared"));
    }));
  });

  test("fires only after as many high seconds as it takes, without a known one below between them (L1, L2)", () => {
    fc.assert(fc.property(inputs, (given) => {
      for (const line of play(given)) {
        const [second = "", change] = line.split(":");
        if (change !== "fired") continue;
        const known = given.slice(0, Number(second) + 1).filter(({ kind }) => kind !== "unknown");
        expect(known.slice(-4)).toEqual([high, high, high, high]);
      }
    }));
  });

  test("a state that another judge goes on with gives what one judge would have given (L3)", () => {
    fc.assert(fc.property(inputs, fc.nat(60), (given, at) => {
      let state: AlertState | undefined;
      const whole: string[] = [];
      given.forEach((input, second) => {
        // What travels is plain data.
        if (second === at && state !== undefined) state = JSON.parse(JSON.stringify(state)) as AlertState;
        const step = stepAlert(state, input, LIMITS, { passedMs: 1_000, wallMs: second });
        state = step.state;
        if (step.change !== undefined) whole.push(`${second}:${step.change}`);
      });
      expect(whole).toEqual(play(given));
    }));
  });
});
