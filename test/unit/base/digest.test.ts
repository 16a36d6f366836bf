import { expect, test } from "vitest";
import { sha256, sha256InTurns } from "../../../src/base/digest.ts";
import { MiB } from "../../../src/base/units.ts";

test.each([0, 1, 4 * MiB, 4 * MiB + 1, 9 * MiB])("%d bytes hashed in turns have their digest", async (length) => {
  const bytes = Buffer.alloc(length, "some bytes");
  let pauses = 0;
  const digest = await sha256InTurns(bytes, () => Promise.resolve(void (pauses += 1)));
  expect(digest).toBe(sha256(bytes));
  expect(pauses).toBe(Math.max(0, Math.ceil(length / (4 * MiB)) - 1));
});
