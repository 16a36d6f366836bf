import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { Histogram, HISTOGRAM_BYTES_MAX, HISTOGRAM_ERROR_MAX } from "../../../src/base/histogram.ts";

/** What the buckets tell apart: 0.05 ms to 16 minutes. */
const durations = fc.array(fc.double({ min: 0.051, max: 900_000, noNaN: true }), { minLength: 1, maxLength: 200 });

function histogramOf(values: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.add(value);
  return histogram;
}

function exactPercentile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}

describe("a histogram of durations", () => {
  test("tells percentiles within its stated error", () => {
    fc.assert(fc.property(durations, fc.constantFrom(0.5, 0.95, 0.99, 1), (values, q) => {
      const told = histogramOf(values).percentile(q) ?? Number.NaN;
      const exact = exactPercentile(values, q);
      expect(Math.abs(told - exact) / exact).toBeLessThanOrEqual(HISTOGRAM_ERROR_MAX);
    }));
  });

  test("of two halves, merged in any order, is that of the whole", () => {
    fc.assert(fc.property(durations, durations, (left, right) => {
      const merged = histogramOf(left);
      merged.merge(histogramOf(right));
      const turned = histogramOf(right);
      turned.merge(histogramOf(left));
      const whole = histogramOf([...left, ...right]);
      expect(merged.buckets()).toEqual(whole.buckets());
      expect(turned.buckets()).toEqual(whole.buckets());
      expect(merged.count).toBe(left.length + right.length);
      expect(merged.sumMs).toBeCloseTo(whole.sumMs, 3);
    }));
  });

  test("is the same after it was sent, in a bounded number of bytes", () => {
    fc.assert(fc.property(durations, (values) => {
      const histogram = histogramOf(values);
      const bytes = histogram.encode();
      expect(bytes.byteLength).toBeLessThanOrEqual(HISTOGRAM_BYTES_MAX);
      const read = Histogram.decode(bytes);
      expect(read.buckets()).toEqual(histogram.buckets());
      expect(read.count).toBe(values.length);
      expect(read.sumMs).toBe(histogram.sumMs);
    }));
  });

  test("takes whatever a clock may say", () => {
    const histogram = histogramOf([0, -5, Number.NaN, Number.POSITIVE_INFINITY, 1e12]);
    expect(histogram.count).toBe(5);
    expect(histogram.percentile(0.1)).toBeLessThan(0.1);
  });

  test("without durations has no percentile", () => {
    expect(new Histogram().percentile(0.99)).toBeUndefined();
  });

  test("is read from bytes that it was written to, or refused", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        const { count } = Histogram.decode(bytes);
        expect(count).toBeGreaterThanOrEqual(0);
      } catch (error) {
        expect(error).toBeInstanceOf(AetherError);
      }
    }), { numRuns: 2_000 });
    expect(() => Histogram.decode(new Uint8Array(HISTOGRAM_BYTES_MAX + 1))).toThrow(/its length/);
  });
});
