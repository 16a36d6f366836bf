import { expect, test } from "vitest";
import type { NodeUid } from "../../../../src/base/ids.ts";
import { LONE_SLOTS_MIN, LoneWriter } from "../../../../src/consensus/core/lone-writer.ts";
import { NOOP, NULL_OUTCOME, valueOf } from "../../../../src/consensus/core/message.ts";

const SELF = "self" as NodeUid;
const OTHER = "other" as NodeUid;
const OWN_VALUE = valueOf([batchOf(SELF, 1), batchOf(SELF, 2)]);

function batchOf(origin: NodeUid, sequence: number) {
  return { origin, incarnation: 1, sequence };
}

function alone(): LoneWriter {
  const lone = new LoneWriter(SELF);
  for (let slot = 0; slot < LONE_SLOTS_MIN; slot++) lone.noteApplied(OWN_VALUE);
  return lone;
}

test("enough slots in a row with own batches alone make a lone writer, one fewer does not", () => {
  const lone = new LoneWriter(SELF);
  for (let slot = 1; slot < LONE_SLOTS_MIN; slot++) lone.noteApplied(OWN_VALUE);
  expect(lone.isAlone).toBe(false);
  lone.noteApplied(OWN_VALUE);
  expect(lone.isAlone).toBe(true);
});

test.each([
  { what: "a slot with a batch of another node", outcome: valueOf([batchOf(SELF, 3), batchOf(OTHER, 1)]) },
  { what: "a null slot", outcome: NULL_OUTCOME },
  { what: "an empty slot", outcome: NOOP },
] as const)("$what ends it", ({ outcome }) => {
  const lone = alone();
  lone.noteApplied(outcome);
  lone.noteApplied(OWN_VALUE);
  expect(lone.isAlone).toBe(false);
});

test("a batch of another node ends it before it is in any slot, an own one does not", () => {
  const lone = alone();
  lone.noteBatch(batchOf(SELF, 3));
  expect(lone.isAlone).toBe(true);
  lone.noteBatch(batchOf(OTHER, 1));
  expect(lone.isAlone).toBe(false);
});

test("another proposal for the same slot ends it", () => {
  const lone = alone();
  lone.interrupt();
  expect(lone.isAlone).toBe(false);
});
