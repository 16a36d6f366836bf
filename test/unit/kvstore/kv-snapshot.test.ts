import { beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../../src/base/digest.ts";
import type { AetherError } from "../../../src/base/errors.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import type { Op } from "../../../src/kvstore/core/schema.ts";
import { encodeTxn } from "../../../src/kvstore/core/txn.ts";
import { KvGenerations } from "../../../src/kvstore/kv-generations.ts";
import { KvState } from "../../../src/kvstore/kv-state.ts";
import { KvStore } from "../../../src/kvstore/kv-store.ts";
import { CrashStores } from "../../support/crash-stores.ts";
import { joinCommands, LocalGroup, SILENT_LOG } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const put = (name: string, value: unknown): Op => ({ kind: "put", key: parseKeyText(`data/${name}`), value });
const digestOf = (chunk: Uint8Array | undefined): string => sha256(chunk ?? new Uint8Array(0));
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

let clock: ManualClock;
let fatal: AetherError[];
/** A snapshot of 1,500 keys in three chunks of rows and the last one. */
let chunks: Uint8Array[];
let source: KvState;

interface Opened {
  readonly stores: CrashStores;
  readonly generations: KvGenerations;
  readonly state: KvState;
}

async function open(stores: CrashStores, options: Parameters<typeof KvGenerations.open>[1] = {}): Promise<Opened> {
  const generations = await KvGenerations.open(stores, options);
  const onFatal = (error: AetherError): void => void fatal.push(error);
  return { stores, generations, state: KvState.open({ generations, clock, log: SILENT_LOG, cluster: "c1", onFatal }) };
}

function apply(state: KvState, slot: number, ops: readonly Op[]): void {
  state.applyBatch(joinCommands(ops.map((op) => encodeTxn({ compare: [], then: [op], else: [] }))));
  state.endSlot(slot, () => Buffer.from(`after ${slot}`));
}

async function checkpoint(state: KvState): Promise<void> {
  const done = state.checkpoint();
  await clock.advance(20);
  await done;
}

async function readSnapshot(state: KvState): Promise<Uint8Array[]> {
  const reader = await state.openSnapshot();
  const found: Uint8Array[] = [];
  for (let chunk = await reader?.next(); chunk !== undefined; chunk = await reader?.next()) found.push(chunk);
  await reader?.close();
  return found;
}

async function contentOf(state: KvState): Promise<string> {
  const found: unknown[] = [state.revision, state.stateHash];
  for (let after: string | undefined; ;) {
    const page = await state.listLocal({ prefix: "", ...(after === undefined ? {} : { after }) });
    found.push(...page.entries);
    if (!page.more) return JSON.stringify(found);
    after = page.entries.at(-1)?.key;
  }
}

/** A node with a state of its own, on disk. */
async function openTarget(stores = new CrashStores()): Promise<Opened> {
  const target = await open(stores);
  apply(target.state, 0, [put("old", 1)]);
  await checkpoint(target.state);
  return target;
}

async function install(state: KvState): Promise<void> {
  const writer = state.beginInstall();
  for (const chunk of chunks) await writer.write(chunk);
  await writer.finish();
  writer.install();
}

beforeEach(async () => {
  clock = new ManualClock();
  fatal = [];
  source = (await open(new CrashStores())).state;
  apply(source, 0, Array.from({ length: 1_500 }, (_, index) => put(`k${index}`, `${index}`.repeat(100))));
  apply(source, 1, [put("k7", "again")]);
  await checkpoint(source);
  chunks = await readSnapshot(source);
  expect(chunks.length).toBeGreaterThan(3);
});

describe("a snapshot", () => {
  test("is of the last checkpoint, whatever is applied and written while it is read", async () => {
    const reader = await source.openSnapshot();
    expect(reader).toMatchObject({ appliedSlots: 2, revision: 1_501, stateHash: source.stateHash });
    expect(Buffer.from(reader?.mark ?? []).toString()).toBe("after 1");
    const first = await reader?.next();
    apply(source, 2, [put("k0", "later"), put("zzz", "later")]);
    await checkpoint(source);
    const rest: Uint8Array[] = [];
    for (let chunk = await reader?.next(); chunk !== undefined; chunk = await reader?.next()) rest.push(chunk);
    expect([first, ...rest].map(digestOf)).toEqual(chunks.map(digestOf));
  });

  test("is not there before the first checkpoint", async () => {
    expect(await (await open(new CrashStores())).state.openSnapshot()).toBeUndefined();
  });

  test("with a damaged row is not handed out, so that damage does not spread", async () => {
    const stores = new CrashStores();
    const { state } = await openTarget(stores);
    stores.damage("kv", Buffer.from("data/old"), 26);
    await expect(readSnapshot(state)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
  });
});

describe("an installed snapshot", () => {
  test("is the state at once and after a restart, and nothing is left of the one before", async () => {
    const { stores, generations, state } = await openTarget();
    const resets: number[] = [];
    state.onReset((revision) => resets.push(revision));
    await install(state);
    expect(resets).toEqual([1_501]);
    expect(await contentOf(state)).toBe(await contentOf(source));
    apply(state, 2, [put("more", 1)]);
    apply(source, 2, [put("more", 1)]);
    await checkpoint(state);
    await generations.close();
    expect(stores.names).toEqual(["kv-1"]);
    const again = await open(stores.restarted());
    expect(again.state.loadedGeneration).toBe(1);
    expect(Buffer.from(again.state.loadedMark ?? []).toString()).toBe("after 2");
    expect(await contentOf(again.state)).toBe(await contentOf(source));
  });

  test("takes the place of a state whose checkpoint is being written", async () => {
    const { state } = await openTarget();
    let ready: (decision: "write") => void = () => expect.fail("the gate was not asked");
    state.gateCheckpoints((decide) => (ready = decide));
    apply(state, 1, [put("old", 2)]);
    const done = state.checkpoint();
    await install(state);
    await done;
    ready("write");
    await clock.advance(20);
    expect(await contentOf(state)).toBe(await contentOf(source));
  });

  test("can be followed by another one", async () => {
    const { stores, generations, state } = await openTarget();
    await install(state);
    await install(state);
    await generations.close();
    expect(stores.names).toEqual(["kv-2"]);
    expect((await open(stores.restarted())).state.revision).toBe(1_501);
  });

  test("that was given up, before or after it was finished, leaves the state as it was", async () => {
    for (const isFinished of [false, true]) {
      const { stores, state } = await openTarget();
      const writer = state.beginInstall();
      for (const chunk of chunks) await writer.write(chunk);
      if (isFinished) await writer.finish();
      await writer.abort();
      expect(stores.names).toEqual(["kv"]);
      expect(state.revision).toBe(1);
      await expect(writer.finish()).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
      await install(state);
      expect(state.revision).toBe(1_501);
    }
  });

  test("holds back checkpoints from when it may count until it is the state or given up", async () => {
    const { stores, state } = await openTarget();
    const writer = state.beginInstall();
    for (const chunk of chunks) await writer.write(chunk);
    await writer.finish();
    apply(state, 1, [put("old", 2)]);
    await state.checkpoint();
    expect((await open(stores.restarted())).state.loadedGeneration).toBe(1);
    await writer.abort();
    await checkpoint(state);
    expect((await open(stores.restarted())).state.revision).toBe(2);
  });
});

describe("a crash", () => {
  test("at any step of an installation leaves the state before it or the installed one (G1, G2)", async () => {
    const wanted = await contentOf(source);
    const prepared = (await openTarget()).stores;
    const before = await contentOf((await open(prepared.restarted())).state);
    const whole = prepared.restarted();
    const { state: finished, generations } = await open(whole);
    await install(finished);
    await generations.close();
    expect(whole.steps).toBeGreaterThan(chunks.length + 2);
    for (let steps = 0; steps <= whole.steps; steps++) {
      const dying = prepared.restarted(steps);
      const { state } = await open(dying);
      let isFinished = false;
      const writer = state.beginInstall();
      void (async () => {
        for (const chunk of chunks) await writer.write(chunk);
        await writer.finish();
        isFinished = true;
        writer.install();
      })();
      await turn();
      await turn();
      const stores = dying.restarted();
      const next = await open(stores);
      const found = await contentOf(next.state);
      expect(isFinished ? [wanted] : [before, wanted]).toContain(found);
      expect(stores.names).toEqual([found === wanted ? "kv-1" : "kv"]);
    }
  });
});

describe("a chunk", () => {
  const codes: readonly string[] = ["E_DATA_CORRUPT", "E_VERSION"];

  test("with any byte changed is refused, and a good one in its place is taken", async () => {
    const { state } = await openTarget();
    const writer = state.beginInstall();
    for (const chunk of chunks) {
      for (const at of [0, 3, 4, 8, chunk.length >> 1, chunk.length - 1]) {
        const bad = Buffer.from(chunk);
        bad.writeUInt8(bad.readUInt8(at) ^ 0x10, at);
        await expect(writer.write(bad)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
      }
      await expect(writer.write(chunk.subarray(0, chunk.length - 1))).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
      await writer.write(chunk);
    }
    await writer.finish();
    writer.install();
    expect(state.revision).toBe(1_501);
  });

  test("out of order, repeated, of another snapshot or after the last one is refused", async () => {
    const { state } = await openTarget();
    const [first, second, ...rest] = chunks as [Uint8Array, Uint8Array, ...Uint8Array[]];
    apply(source, 2, [put("k0", "x")]);
    await checkpoint(source);
    const other = await readSnapshot(source);
    const writer = state.beginInstall();
    const refused = async (chunk: Uint8Array | undefined): Promise<void> => {
      const code = await writer.write(chunk ?? new Uint8Array(0)).then(
        () => "taken",
        (error: AetherError) => error.code,
      );
      expect(codes).toContain(code);
    };
    await refused(second);
    await writer.write(first);
    await refused(first);
    await writer.write(second);
    await expect(writer.finish()).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
    for (const chunk of rest.slice(0, -1)) await writer.write(chunk);
    await refused(other.at(-1));
    await writer.write(rest.at(-1) ?? first);
    await refused(rest.at(-1));
    await writer.finish();
  });

  test("of another cluster's state is refused", async () => {
    const generations = await KvGenerations.open(new CrashStores());
    const onFatal = (error: AetherError): void => void fatal.push(error);
    const state = KvState.open({ generations, clock, log: SILENT_LOG, cluster: "c2", onFatal });
    const writer = state.beginInstall();
    for (const chunk of chunks.slice(0, -1)) await writer.write(chunk);
    await expect(writer.write(chunks.at(-1) ?? new Uint8Array(0))).rejects.toMatchObject({ code: "E_DATA_FOREIGN" });
  });
});

describe("a state that is not believed", () => {
  test("is refused at start when it is damaged, or set aside until a snapshot has taken its place", async () => {
    const { stores } = await openTarget();
    stores.damage("kv", Uint8Array.from([0]), 5);
    await expect(open(stores.restarted())).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
    const repaired = await open(stores.restarted(), { whenDamaged: "set-aside" });
    expect(repaired.state.needsSnapshot).toBe(true);
    const batch = joinCommands([encodeTxn({ compare: [], then: [put("a", 1)], else: [] })]);
    expect(repaired.state.applyBatch(batch)).toEqual([{ kind: "lost" }]);
    expect(repaired.stores.names).toContain("kv");
    // A crash before: the same again.
    expect((await open(repaired.stores.restarted(), { whenDamaged: "set-aside" })).state.needsSnapshot).toBe(true);
    await install(repaired.state);
    expect(repaired.state.needsSnapshot).toBe(false);
    await repaired.generations.close();
    expect(repaired.stores.names).toHaveLength(1);
    expect((await open(repaired.stores.restarted())).state.revision).toBe(1_501);
  });

  test("can be set aside while it is used", async () => {
    const { stores, generations, state } = await openTarget();
    apply(state, 1, [put("wrong", 1)]);
    await state.setAside();
    expect(state).toMatchObject({ needsSnapshot: true, revision: 0 });
    expect((await open(stores.restarted())).state.revision).toBe(1);
    state.endSlot(2, () => Buffer.from("never"));
    await clock.advance(60_000);
    expect((await open(stores.restarted())).state.revision).toBe(1);
    await install(state);
    await generations.close();
    expect(stores.names).toHaveLength(1);
    expect((await open(stores.restarted())).state.revision).toBe(1_501);
  });

  test("has no past once it was set aside: nobody is told that a key was absent at a revision of it", async () => {
    const { state } = await openTarget();
    const kv = new KvStore({ group: new LocalGroup(state, clock), state, clock });
    apply(state, 1, [put("kept", 1)]);
    const { revision } = state;
    await state.setAside();
    const reading = kv.get(parseKeyText("data/kept"), { revision, timeoutMs: 10 });
    const refused = expect(reading).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
    await clock.advance(10);
    await refused;
  });
});
