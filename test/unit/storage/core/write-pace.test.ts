import { expect, test } from "vitest";
import { WritePace } from "../../../../src/storage/core/write-pace.ts";

const KIB = 1_024;

test("small writes to a quick disk are waited for, large ones are not", () => {
  const pace = new WritePace();
  pace.note(0.2);
  expect([pace.mayWait(KIB), pace.mayWait(128 * KIB), pace.mayWait(129 * KIB)]).toEqual([true, true, false]);
});

test("after a slow write none is waited for until many in a row were quick", () => {
  const pace = new WritePace();
  pace.note(2_000);
  for (let count = 0; count < 255; count++) {
    expect(pace.mayWait(KIB)).toBe(false);
    pace.note(0.5);
  }
  expect(pace.mayWait(KIB)).toBe(false);
  pace.note(3);
  for (let count = 0; count < 256; count++) {
    expect(pace.mayWait(KIB)).toBe(false);
    pace.note(0.5);
  }
  expect(pace.mayWait(KIB)).toBe(true);
});
