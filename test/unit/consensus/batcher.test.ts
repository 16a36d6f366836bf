import { expect, test } from "vitest";
import { decode, encode } from "../../../src/base/codec.ts";
import { Batcher, PENDING_BYTES_MAX, PENDING_COMMANDS_MAX } from "../../../src/consensus/batcher.ts";
import type { ProposeOutcome } from "../../../src/consensus/group.ts";

function takeAll(batcher: Batcher): readonly string[] {
  const keys: string[] = [];
  for (;;) {
    const key = `k${keys.length}`;
    if (batcher.take(() => key) === undefined) return keys;
    keys.push(key);
  }
}

test.each([1, 15, 16, 512])("a batch of %i commands is one list of them, and each gets its own result", (count) => {
  const batcher = new Batcher();
  const outcomes: ProposeOutcome[] = [];
  for (let at = 0; at < count; at++) batcher.add(encode(`c${at}`), (outcome) => outcomes.push(outcome));
  expect(batcher.pending).toBe(count);
  const batch = batcher.take(() => "key");
  const commands = Array.from({ length: count }, (_, at) => `c${at}`);
  expect(batch?.count).toBe(count);
  expect(decode(batch?.commands ?? Buffer.of(), 1 << 20)).toEqual(commands);
  expect(batcher.answer("key", commands)).toBe(true);
  expect(outcomes).toEqual(commands.map((result) => ({ kind: "applied", result })));
  expect(batcher.answer("key", commands)).toBe(false);
  expect(batcher.pending).toBe(0);
});

test("with four batches under way the next one waits to grow, unless it is full", () => {
  const batcher = new Batcher();
  for (let batch = 0; batch < 4; batch++) {
    batcher.add(encode("x"), () => undefined);
    expect(batcher.take(() => `k${batch}`)).toBeDefined();
  }
  batcher.add(encode("x"), () => undefined);
  expect(batcher.take(() => "k4")).toBeUndefined();
  for (let at = 0; at < 511; at++) batcher.add(encode("x"), () => undefined);
  expect(batcher.take(() => "k4")).toBeDefined();
});

test("commands beyond either limit are not taken, and answers make room", () => {
  const byCount = new Batcher();
  for (let at = 0; at < PENDING_COMMANDS_MAX; at++) expect(byCount.add(encode("x"), () => undefined)).toBe(true);
  expect(byCount.add(encode("x"), () => undefined)).toBe(false);
  for (const key of takeAll(byCount)) byCount.answer(key, []);
  expect(byCount.add(encode("x"), () => undefined)).toBe(true);
  const byBytes = new Batcher();
  const large = new Uint8Array(PENDING_BYTES_MAX / 32);
  for (let at = 0; at < 32; at++) expect(byBytes.add(large, () => undefined)).toBe(true);
  expect(byBytes.add(Buffer.of(0), () => undefined)).toBe(false);
});

test("a large command does not make a batch that no frame could carry", () => {
  const batcher = new Batcher();
  batcher.add(new Uint8Array(200_000), () => undefined);
  batcher.add(new Uint8Array(1_000_000), () => undefined);
  const sizes = [batcher.take(() => "a"), batcher.take(() => "b")].map((batch) => batch?.commands.byteLength ?? 0);
  expect(sizes).toEqual([200_001, 1_000_001]);
});

test("when the node stops, what left ends as unknown and what did not as refused", () => {
  const batcher = new Batcher();
  const ends: string[] = [];
  batcher.add(encode("left"), ({ kind }) => ends.push(`left ${kind}`));
  batcher.take(() => "k");
  batcher.add(encode("stayed"), ({ kind }) => ends.push(`stayed ${kind}`));
  batcher.abandon("the node is stopping");
  expect(ends).toEqual(["left unknown", "stayed refused"]);
  expect(batcher.answer("k", [])).toBe(false);
  expect(batcher.pending).toBe(0);
});
