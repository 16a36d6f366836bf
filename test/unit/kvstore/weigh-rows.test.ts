import { expect, test } from "vitest";
import { present } from "../../../src/base/assert.ts";
import { CHECKPOINT_ROW, encodeCheckpoint, parseCheckpoint } from "../../../src/kvstore/core/checkpoint.ts";
import { encodeGrant } from "../../../src/kvstore/core/command.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import { encodeTxn } from "../../../src/kvstore/core/txn.ts";
import { KvGenerations } from "../../../src/kvstore/kv-generations.ts";
import { KvState } from "../../../src/kvstore/kv-state.ts";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { joinCommands, SILENT_LOG } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

test("a state of before states were weighed weighs what its rows do", async () => {
  const clock = new ManualClock();
  const stores = createMemoryStorePort(clock);
  const settled = async <T>(promise: Promise<T>): Promise<T> => {
    await clock.settle();
    return promise;
  };
  const open = async (): Promise<{ readonly generations: KvGenerations; readonly state: KvState }> => {
    const generations = await settled(KvGenerations.open(stores));
    const onFatal = (error: Error): void => expect.fail(error.message);
    return { generations, state: KvState.open({ generations, clock, log: SILENT_LOG, cluster: "c", onFatal }) };
  };
  const first = await open();
  const put = (key: string, value: unknown): Uint8Array =>
    encodeTxn({ compare: [], then: [{ kind: "put", key: parseKeyText(key), value }], else: [] });
  first.state.applyBatch(joinCommands([put("data/a", "x".repeat(999)), put("data/ü", 1), encodeGrant(1_000, true)]));
  first.state.endSlot(0, () => Uint8Array.from([1]));
  const { usage } = first.state;
  expect(usage.liveBytes).toBeGreaterThan(1_000);
  await settled(first.state.close());

  const { store } = first.generations.current;
  const record = parseCheckpoint(present(store.getSync(CHECKPOINT_ROW), "a checkpoint was written"));
  const value = encodeCheckpoint({ ...record, machine: undefined });
  store.write([{ kind: "put", key: CHECKPOINT_ROW, value }], () => undefined);
  await settled(first.generations.close());

  const second = await open();
  expect(second.state.usage).toEqual(usage);
  await settled(second.state.close());
  await settled(second.generations.close());
});
