import { expect, test } from "vitest";
import { DURATION_MS_MAX, durationText, parseDuration } from "../../../src/sdk/duration.ts";

test.each([
  [0, 0], [1_500, 1_500], ["250 ms", 250], ["30s", 30_000], ["1 second", 1_000], [" 5 minutes ", 300_000],
  ["1.5 h", 5_400_000], ["2 days", 172_800_000], ["1 week", 604_800_000], [DURATION_MS_MAX, DURATION_MS_MAX],
])("%j is %d ms", (duration, ms) => {
  expect(parseDuration(duration)).toBe(ms);
});

test.each([
  "", "soon", "2", "-1 s", "1e3 s", "2 fortnights", "1 s 2 s", "11 years", "999999999 weeks", "1 toString",
  -1, Number.NaN, Number.POSITIVE_INFINITY, DURATION_MS_MAX + 1,
])("%j is refused", (duration) => {
  expect(() => parseDuration(duration)).toThrow(/is no duration/);
});

test.each([
  [0, "0 ms"], [1, "1 ms"], [1_500, "1500 ms"], [1_000, "1 second"], [90_000, "90 seconds"], [7_200_000, "2 hours"],
  [86_400_000, "1 day"],
])("%d ms are written %j", (ms, text) => {
  expect(durationText(ms)).toBe(text);
  expect(parseDuration(text)).toBe(ms);
});
