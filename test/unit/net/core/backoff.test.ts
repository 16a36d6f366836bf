import { expect, test } from "vitest";
import { SeededRandom } from "../../../../src/base/random.ts";
import { redialDelayMs } from "../../../../src/net/core/backoff.ts";

test("redials wait 50 ms doubling to 1 s, jittered to no less than half", () => {
  const random = new SeededRandom(7);
  for (const [failures, fullMs] of [[0, 50], [1, 100], [4, 800], [5, 1_000], [1_000, 1_000]] as const) {
    const delayMs = redialDelayMs(failures, random);
    expect(delayMs).toBeGreaterThanOrEqual(fullMs / 2);
    expect(delayMs).toBeLessThanOrEqual(fullMs);
  }
});
