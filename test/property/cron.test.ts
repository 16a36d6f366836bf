// Owns: that the moments of a schedule are those that a person would find by looking at every minute.
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseCron } from "../../src/slices/blueprints/cron-adapter.ts";

const MINUTE_MS = 60_000;
const BEGIN_MS = Date.UTC(2026, 0, 1);

interface Field {
  readonly text: string;
  has(value: number): boolean;
}

/** One field of an expression, for values from `min` to `max`. */
function field(min: number, max: number): fc.Arbitrary<Field> {
  const value = fc.integer({ min, max });
  return fc.oneof(
    fc.constant<Field>({ text: "*", has: () => true }),
    value.map((one): Field => ({ text: `${one}`, has: (other) => other === one })),
    fc.array(value, { minLength: 2, maxLength: 3 }).map((list): Field =>
      ({ text: list.join(","), has: (other) => list.includes(other) })),
    fc.tuple(value, value).map(([a, b]): Field => {
      const [from, to] = [Math.min(a, b), Math.max(a, b)];
      return { text: `${from}-${to}`, has: (other) => other >= from && other <= to };
    }),
    fc.integer({ min: 2, max: 12 }).map((step): Field =>
      ({ text: `*/${step}`, has: (other) => (other - min) % step === 0 })),
  );
}

const expression = fc.record({ minute: field(0, 59), hour: field(0, 23), month: field(1, 12) });

test("the next one and the latest one are found by looking at every minute too", () => {
  fc.assert(fc.property(expression, fc.integer({ min: 0, max: 500_000 }), ({ minute, hour, month }, offset) => {
    const times = parseCron(`${minute.text} ${hour.text} * ${month.text} *`, "UTC");
    const isTick = (ms: number): boolean => {
      const date = new Date(ms);
      return minute.has(date.getUTCMinutes()) && hour.has(date.getUTCHours()) && month.has(date.getUTCMonth() + 1);
    };
    const nowMs = BEGIN_MS + offset * MINUTE_MS + 17;
    const walk = (fromMs: number, stepMs: number): number | undefined => {
      for (let ms = fromMs, left = 3_000; left > 0; ms += stepMs, left--) if (isTick(ms)) return ms;
      return undefined;
    };
    const [next, latest] = [walk(nowMs - 17 + MINUTE_MS, MINUTE_MS), walk(nowMs - 17, -MINUTE_MS)];
    // A tick may be months away: then it is enough that none is near.
    if (next === undefined) expect(times.next(nowMs)).toBeGreaterThan(nowMs + 3_000 * MINUTE_MS - MINUTE_MS);
    else expect(times.next(nowMs)).toBe(next);
    if (latest === undefined) expect(times.latest(nowMs)).toBeLessThan(nowMs - 3_000 * MINUTE_MS + MINUTE_MS);
    else expect(times.latest(nowMs)).toBe(latest);
  }), { numRuns: 150 });
});

test("nothing lies between the latest tick and the next, also where clocks are changed", () => {
  const zones = fc.constantFrom("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu");
  fc.assert(fc.property(expression, zones, fc.integer({ min: 0, max: 500_000 }), ({ minute, hour }, zone, offset) => {
    const times = parseCron(`${minute.text} ${hour.text} * * *`, zone);
    const nowMs = BEGIN_MS + offset * MINUTE_MS;
    const [next = 0, latest = 0] = [times.next(nowMs), times.latest(nowMs)];
    expect(next).toBeGreaterThan(nowMs);
    expect(latest).toBeLessThanOrEqual(nowMs);
    expect(times.next(latest)).toBe(next);
  }), { numRuns: 150 });
});

test("an hour is the hour of its time zone, summer and winter", () => {
  const times = parseCron("0 9 * * MON-FRI", "Europe/Berlin");
  expect(times.next(Date.UTC(2026, 0, 5))).toBe(Date.UTC(2026, 0, 5, 8));
  expect(times.next(Date.UTC(2026, 6, 3, 12))).toBe(Date.UTC(2026, 6, 6, 7));
});

test.each([
  ["six fields", "* * * * * *", "UTC"],
  ["a nickname", "@daily", "UTC"],
  ["a minute that there is not", "60 * * * *", "UTC"],
  ["a day that there is not", "0 0 31 2 *", "UTC"],
  ["nothing", "", "UTC"],
  ["a time zone that there is not", "0 0 * * *", "Mars/Base"],
])("refuses %s", (_what, cron, zone) => {
  expect(() => parseCron(cron, zone)).toThrow(expect.objectContaining({ code: "E_INVALID" }));
});
