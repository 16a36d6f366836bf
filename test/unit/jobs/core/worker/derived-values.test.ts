// Owns: values that code draws: even, apart from each other, and for ever the same for one place of one job.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { CallName, JobUid } from "../../../../../src/jobs/core/ids.ts";
import { randomOf, uuidOf } from "../../../../../src/jobs/core/worker/derived-values.ts";

const uid = (text: string): JobUid => text as JobUid;
const call = (text: string): CallName => text as CallName;

test("a log of today's jobs is read with the same values in every later version", () => {
  expect(randomOf(uid("job-1"), call("random#1"))).toBe(0.8856547565544554);
  expect(uuidOf(uid("job-1"), call("uuid#1"))).toBe("1343287d-2a98-878f-bcc2-95dc8a4d7572");
});

test("numbers are from 0 up to and without 1", () => {
  fc.assert(fc.property(fc.string(), fc.string(), (job, place) => {
    const number = randomOf(uid(job), call(place));
    expect(number).toBeGreaterThanOrEqual(0);
    expect(number).toBeLessThan(1);
    expect(randomOf(uid(job), call(place))).toBe(number);
  }));
});

test("numbers of places and of jobs are spread evenly", () => {
  const count = 10_000;
  const buckets = new Array<number>(10).fill(0);
  for (let n = 0; n < count; n += 1) {
    const at = Math.floor(10 * randomOf(uid(`job-${n % 7}`), call(`a/random#${n}`)));
    buckets[at] = (buckets[at] ?? 0) + 1;
  }
  // Four standard deviations of a fair draw.
  for (const found of buckets) expect(Math.abs(found - count / 10)).toBeLessThan(120);
});
