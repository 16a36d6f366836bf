// Owns: the promise that a state installed from a snapshot is the state it was taken of, now and ever after.
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseKeyText } from "../../src/kvstore/core/key.ts";
import type { Op } from "../../src/kvstore/core/schema.ts";
import { encodeTxn } from "../../src/kvstore/core/txn.ts";
import { KvGenerations } from "../../src/kvstore/kv-generations.ts";
import { KvState } from "../../src/kvstore/kv-state.ts";
import { CrashStores } from "../support/crash-stores.ts";
import { joinCommands, SILENT_LOG } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const NAMES = ["data/a", "data/ab", "data/b/1", "data/ü", "data/\u{1f600}", "leader", "nodes/n1/state"];
const KEYS = NAMES.map(parseKeyText);
const key = fc.constantFrom(...KEYS);
const value = fc.oneof(
  fc.integer(),
  fc.string({ maxLength: 5 }),
  // From a few bytes to more than a chunk has.
  fc.constantFrom(10, 100_000, 300_000).map((length) => "x".repeat(length)),
);
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("put" as const), key, value }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("delete" as const), key: key.filter((text) => text !== "leader") }),
  },
);
const slots = fc.array(fc.array(op, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 8 });

async function open(stores: CrashStores, clock: ManualClock): Promise<KvState> {
  const generations = await KvGenerations.open(stores);
  const onFatal = (error: Error): never => expect.fail(error.message);
  return KvState.open({ generations, clock, log: SILENT_LOG, cluster: "c", onFatal });
}

function apply(state: KvState, slot: number, ops: readonly Op[]): void {
  state.applyBatch(joinCommands([encodeTxn({ compare: [], then: ops, else: [] })]));
  state.endSlot(slot, () => Uint8Array.from([slot]));
}

async function checkpoint(state: KvState, clock: ManualClock): Promise<void> {
  const done = state.checkpoint();
  await clock.advance(5);
  await done;
}

function contentOf(state: KvState): unknown {
  const { revision, stateHash } = state;
  return { revision, stateHash, entries: KEYS.map((text) => state.getLocal(text)) };
}

test("an installed snapshot equals its source, whatever the target had before, and goes on alike", async () => {
  await fc.assert(
    fc.asyncProperty(slots, slots, slots, async (before, own, after) => {
      const clock = new ManualClock();
      const source = await open(new CrashStores(), clock);
      before.forEach((ops, slot) => apply(source, slot, ops));
      await checkpoint(source, clock);
      const stores = new CrashStores();
      const target = await open(stores, clock);
      own.forEach((ops, slot) => apply(target, slot, ops));
      const reader = await source.openSnapshot();
      const writer = target.beginInstall();
      for (let chunk = await reader?.next(); chunk !== undefined; chunk = await reader?.next()) {
        await writer.write(chunk);
      }
      expect(await writer.finish()).toEqual({ generation: 1, appliedSlots: before.length, mark: reader?.mark });
      expect([...writer.install()]).toEqual([before.length - 1]);
      expect(contentOf(target)).toEqual(contentOf(source));
      after.forEach((ops, at) => {
        apply(source, before.length + at, ops);
        apply(target, before.length + at, ops);
      });
      expect(contentOf(target)).toEqual(contentOf(source));
      const restarted = await open(stores.restarted(), clock);
      after.forEach((ops, at) => apply(restarted, before.length + at, ops));
      expect(contentOf(restarted)).toEqual(contentOf(source));
    }),
    { numRuns: 60 },
  );
});
