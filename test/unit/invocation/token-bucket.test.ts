import fc from "fast-check";
import { expect, test } from "vitest";
import { shareOf, takeToken, type Bucket, type Rate } from "../../../src/invocation/core/token-bucket.ts";

/** How many of the calls at these moments get through. */
function passing(rate: Rate, momentsMs: readonly number[]): number {
  let bucket: Bucket | undefined;
  let count = 0;
  for (const nowMs of momentsMs) {
    const taken = takeToken(bucket, rate, nowMs);
    if (taken.kind === "empty") continue;
    bucket = taken.bucket;
    count += 1;
  }
  return count;
}

test("a burst goes through, then as many as come into the bucket", () => {
  const rate = { perSecond: 10, burst: 3 };
  expect(passing(rate, [0, 0, 0, 0, 0])).toBe(3);
  expect(passing(rate, [0, 0, 0, 0, 99, 100, 100, 200])).toBe(5);
});

test("who is refused learns when it is worth trying again", () => {
  const rate = { perSecond: 4, burst: 1 };
  const first = takeToken(undefined, rate, 1_000);
  const bucket = first.kind === "taken" ? first.bucket : undefined;
  expect(takeToken(bucket, rate, 1_100)).toEqual({ kind: "empty", retryAfterMs: 150 });
  expect(takeToken(bucket, rate, 1_250).kind).toBe("taken");
});

test("no more get through than the burst and what flows in; all shares together are the whole", () => {
  const moments = fc.array(fc.nat(3_000), { maxLength: 200 }).map((list) => list.sort((a, b) => a - b));
  const rates = fc.record({ perSecond: fc.integer({ min: 1, max: 50 }), burst: fc.integer({ min: 1, max: 20 }) });
  fc.assert(fc.property(moments, rates, (list, rate) => {
    const [first = 0] = list;
    const elapsedMs = (list.at(-1) ?? 0) - first;
    expect(passing(rate, list)).toBeLessThanOrEqual(rate.burst + (elapsedMs / 1_000) * rate.perSecond + 1e-6);
  }));
  expect(shareOf({ perSecond: 9, burst: 6 }, 3)).toEqual({ perSecond: 3, burst: 2 });
  expect(shareOf({ perSecond: 9, burst: 1 }, 3)).toEqual({ perSecond: 3, burst: 1 });
  expect(shareOf({ perSecond: 9, burst: 6 }, 0)).toEqual({ perSecond: 9, burst: 6 });
});
