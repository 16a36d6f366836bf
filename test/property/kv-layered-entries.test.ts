import fc from "fast-check";
import { expect, test } from "vitest";
import { parseKeyText } from "../../src/kvstore/core/key.ts";
import { encodeEntry } from "../../src/kvstore/core/stored-entry.ts";
import { FIRST_KEY } from "../../src/kvstore/core/system-rows.ts";
import { LayeredEntries, type Layered } from "../../src/kvstore/layered-entries.ts";
import type { OrderedStore } from "../../src/env/store.ts";
import { createMemoryStorePort } from "../../src/storage/memory-store.ts";
import { ManualClock } from "../support/manual-clock.ts";

const ALL = { prefix: "", from: FIRST_KEY };
const keyOf = (number: number) => parseKeyText(`data/${number}`);
const shown = (row: Layered): string => (row === "absent" ? "absent" : Buffer.from(row.value).toString());

type Step =
  | { readonly kind: "put" | "remove" | "read"; readonly key: number }
  | { readonly kind: "freeze" | "thaw" };

interface Frozen {
  readonly rows: Iterable<readonly [string, Layered]>;
  readonly was: ReadonlyMap<string, string>;
}

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constantFrom("put", "remove", "read"), key: fc.nat(7) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("freeze", "thaw") }) },
);

async function writeTo(store: OrderedStore, clock: ManualClock, rows: readonly (readonly [string, Layered])[]) {
  const written = new Promise<void>((resolve, reject) => {
    const ops = rows.map(([key, row]) => {
      return row === "absent"
        ? { kind: "delete" as const, key: Buffer.from(key) }
        : { kind: "put" as const, ...row.row };
    });
    store.write(ops, (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
  await clock.settle();
  await written;
}

test("reads see every change, a checkpoint what was there when it began, the disk what checkpoints wrote", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const clock = new ManualClock();
      const store = await createMemoryStorePort(clock).open("kv");
      const entries = new LayeredEntries(store);
      const model = new Map<string, string>();
      let frozen: Frozen | undefined;
      for (const [number, given] of steps.entries()) {
        switch (given.kind) {
          case "put": {
            const value = Buffer.from(`v${number}`);
            const fields = { value, modRevision: number, createRevision: number, version: 1 };
            entries.put(keyOf(given.key), encodeEntry(keyOf(given.key), fields));
            model.set(keyOf(given.key), `v${number}`);
            break;
          }
          case "remove":
            entries.remove(keyOf(given.key));
            model.delete(keyOf(given.key));
            break;
          case "read":
            expect(shown(entries.read(keyOf(given.key)) ?? "absent")).toBe(model.get(keyOf(given.key)) ?? "absent");
            break;
          case "freeze":
            frozen ??= { rows: entries.freeze(), was: new Map(model) };
            break;
          case "thaw": {
            if (frozen === undefined) break;
            const rows = [...frozen.rows];
            for (const [key, row] of rows) expect(shown(row)).toBe(frozen.was.get(key) ?? "absent");
            await writeTo(store, clock, rows);
            entries.thaw();
            frozen = undefined;
          }
        }
        const unsaved = entries.changed(ALL, new Map(), Number.POSITIVE_INFINITY);
        for (const [key, row] of unsaved) expect(shown(row)).toBe(model.get(key) ?? "absent");
        expect(unsaved.length).toBe(new Set(unsaved.map(([key]) => key)).size);
        expect(unsaved.length).toBeGreaterThanOrEqual(entries.changedRows);
      }
      if (frozen !== undefined) {
        await writeTo(store, clock, [...frozen.rows]);
        entries.thaw();
      }
      await writeTo(store, clock, [...entries.freeze()]);
      const fresh = new LayeredEntries(store);
      for (let key = 0; key < 8; key++) {
        expect(shown(fresh.read(keyOf(key)) ?? "absent")).toBe(model.get(keyOf(key)) ?? "absent");
      }
    }),
    { numRuns: 200 },
  );
});

test("what is on disk is forgotten beyond the limit and read again; what is not on disk never is", async () => {
  const clock = new ManualClock();
  const store = await createMemoryStorePort(clock).open("kv");
  const entries = new LayeredEntries(store);
  const put = (number: number): void => {
    const fields = { value: Buffer.alloc(2_000, number % 251), modRevision: 1, createRevision: 1, version: 1 };
    entries.put(keyOf(number), encodeEntry(keyOf(number), fields));
  };
  for (let number = 0; number < 20_000; number++) put(number);
  await writeTo(store, clock, [...entries.freeze()]);
  entries.thaw();
  for (let number = 20_000; number < 40_000; number++) put(number);
  for (let number = 0; number < 40_000; number++) expect(entries.read(keyOf(number))?.value[0]).toBe(number % 251);
  expect(entries.changedRows).toBe(20_000);
  expect(entries.heldBytes).toBeLessThan(40_000_000 + 16 * 1_048_576 + 20_000 * 300);
});

test("a look at changes ends behind a page: entries of the range in order, what is above them, what is gone", () => {
  const key = fc.nat(40).map(keyOf);
  fc.assert(fc.property(
    fc.array(fc.record({ key, isGone: fc.boolean() }), { maxLength: 60 }), fc.array(key, { maxLength: 6 }),
    fc.constantFrom("data/", "data/1", "data/3"), key, fc.nat(10), fc.nat(60),
    (changes, above, prefix, after, limit, frozenAt) => {
      const from = parseKeyText(after > prefix ? after : `${prefix}0`);
      const entries = new LayeredEntries({ getSync: () => undefined } as unknown as OrderedStore);
      const model = new Map<string, "absent" | "there">();
      for (const [at, change] of changes.entries()) {
        if (at === frozenAt) entries.freeze();
        const fields = { value: Buffer.of(at), modRevision: 1, createRevision: 1, version: 1 };
        if (change.isGone) entries.remove(change.key);
        else entries.put(change.key, encodeEntry(change.key, fields));
        model.set(change.key, change.isGone ? "absent" : "there");
      }
      for (const hidden of above) model.set(hidden, "absent");
      const over = new Map(above.map((hidden) => [hidden, "absent" as const]));
      const all = [...model].filter(([text]) => text.startsWith(prefix) && text >= from)
        .sort(([a], [b]) => a < b ? -1 : 1);
      const there = all.flatMap(([, row], at) => row === "there" ? [at] : []);
      const wanted = all.slice(0, (there[limit] ?? all.length) + 1);
      const found = entries.changed({ prefix, from }, over, limit);
      expect(found.map(([text, row]) => [text, row === "absent" ? row : "there"])).toEqual(wanted);
    },
  ));
});
