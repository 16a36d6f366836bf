import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseNodeId } from "../../src/base/ids.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { Pace } from "../../src/consensus/core/pace.ts";

const events = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("decided" as const), ms: fc.oneof(fc.nat(20), fc.nat(1_000_000)) }),
    fc.record({ kind: fc.constant("null" as const), ms: fc.nat(100) }),
  ),
  { maxLength: 300 },
);

test("patience and back-off stay within their bounds whatever happened", () => {
  fc.assert(fc.property(events, fc.nat(6), fc.nat(), (list, rank, seed) => {
    const pace = new Pace(new SeededRandom(seed), () => rank);
    let nowMs = 1_000;
    for (const { kind, ms } of list) {
      nowMs += ms;
      if (kind === "decided") pace.slotDecided(ms);
      else pace.slotNull(nowMs);
      expect(pace.votePatienceMs).toBeGreaterThanOrEqual(10);
      expect(pace.votePatienceMs).toBeLessThanOrEqual(1_000);
      const proposeMs = pace.proposePatienceMs();
      expect(proposeMs).toBeGreaterThanOrEqual(10);
      expect(proposeMs).toBeLessThanOrEqual(1_250);
      expect(pace.backoffUntilMs).toBeLessThanOrEqual(nowMs + 1_000);
    }
  }), { numRuns: 200 });
});

test("patience follows what is usual: four times the slowest of a hundred slots, and back again", () => {
  const pace = new Pace(new SeededRandom(1), () => 0);
  expect(pace.votePatienceMs).toBe(10);
  for (let slot = 0; slot < 320; slot++) pace.slotDecided(40);
  expect(pace.votePatienceMs).toBe(160);
  for (let slot = 0; slot < 320; slot++) pace.slotDecided(1);
  expect(pace.votePatienceMs).toBe(10);
});

test("one slot in a hundred that took long does not make everybody patient", () => {
  const pace = new Pace(new SeededRandom(1), () => 0);
  for (let slot = 0; slot < 256; slot++) pace.slotDecided(slot === 100 ? 30_000 : 2);
  expect(pace.votePatienceMs).toBe(10);
});

test("null slots in a row double the wait before a proposal of one's own, and one value ends that", () => {
  const pace = new Pace(new SeededRandom(1), () => 2);
  const first = pace.proposePatienceMs();
  for (let row = 0; row < 3; row++) pace.slotNull(0);
  expect(pace.proposePatienceMs()).toBeGreaterThan(first * 4);
  pace.slotDecided(1);
  expect(pace.proposePatienceMs()).toBeLessThan(first * 2);
});

test("a convener missed three times in a row is skipped for 30 seconds; one proposal in between forgives", () => {
  const pace = new Pace(new SeededRandom(1), () => 1);
  const convener = parseNodeId("n1");
  const signs = ["missed", "missed", "proposed", "missed", "missed"] as const;
  for (const sign of signs) pace.noteConvener(convener, sign, 0);
  expect(pace.isSkipped(convener, 0)).toBe(false);
  pace.noteConvener(convener, "missed", 0);
  expect(pace.isSkipped(convener, 29_999)).toBe(true);
  expect(pace.isSkipped(convener, 30_000)).toBe(false);
});
