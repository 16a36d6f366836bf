import * as fc from "fast-check";
import { expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { type JournalRecord, type StoredEntry } from "../../src/consensus/core/journal-record.ts";
import { Journal } from "../../src/consensus/journal.ts";
import { OrderedAppendLog } from "../../src/storage/ordered-append-log.ts";
import { HandDisk } from "../scenario/consensus-disk.ts";
import { ballots, batchIds, contents, counts, nodes, outcomes, plain, uids } from "./consensus-values.ts";

const shortTexts = fc.string({ maxLength: 8 });
const firstVoters = fc.record({ node: nodes, uid: uids, share: shortTexts, address: shortTexts });
const seeds = fc.option(shortTexts, { nil: undefined });
const batches = fc.array(fc.record({ id: batchIds, commands: contents }), { maxLength: 3 });
const promise = fc.record({ uid: uids, startId: fc.string({ maxLength: 8 }), writeNumber: counts });
const promises = fc.array(promise, { maxLength: 3 });

/** Slots of decided entries get their order when a journal is written. */
const entries: fc.Arbitrary<StoredEntry> = fc.oneof(
  fc.record({
    kind: fc.constant("identity" as const),
    identity: fc.record({
      cluster: fc.string({ maxLength: 8 }),
      node: nodes,
      uid: uids,
      share: fc.string({ maxLength: 8 }),
      voters: fc.array(nodes, { maxLength: 3 }),
      windowSlots: counts,
    }),
  }),
  fc.record({ kind: fc.constant("start" as const), incarnation: counts, startId: fc.string({ maxLength: 8 }) }),
  fc.record({ kind: fc.constant("voter-list" as const), voters: fc.array(firstVoters, { maxLength: 3 }), seed: seeds }),
  fc.record({ kind: fc.constantFrom("diverged" as const, "removed" as const), reason: shortTexts }),
  fc.constant({ kind: "formed" as const }),
  fc.record({ kind: fc.constant("ballot" as const), ballot: ballots, batches }),
  fc.record({
    kind: fc.constant("decided" as const),
    slot: fc.constant(0),
    outcome: outcomes,
    batches,
    locations: fc.array(counts, { maxLength: 3 }),
  }),
);

const writes = fc.record({ proposeBelow: counts, promises, entries: fc.array(entries, { maxLength: 4 }) });
const journals = fc.array(writes, { minLength: 1, maxLength: 6 }).map((list) => {
  let slot = 0;
  const number = (entry: StoredEntry): StoredEntry => (entry.kind === "decided" ? { ...entry, slot: slot++ } : entry);
  return list.map((write) => ({ ...write, entries: write.entries.map(number) }));
});

async function write(list: readonly Omit<JournalRecord, "number">[]): Promise<HandDisk> {
  const disk = new HandDisk();
  const journal = await Journal.open(await OrderedAppendLog.open(disk), () => undefined);
  const done: number[] = [];
  for (const one of list) journal.append(one, (number) => done.push(number));
  disk.endWrites();
  expect(done).toEqual(list.map((_, at) => at + 1));
  return disk;
}

async function read(disk: HandDisk): Promise<readonly JournalRecord[]> {
  const records: JournalRecord[] = [];
  await Journal.open(await OrderedAppendLog.open(disk), (record) => records.push(record));
  return records;
}

test("every record comes back as it was written, in order", async () => {
  await fc.assert(fc.asyncProperty(journals, async (list) => {
    const records = await read(await write(list));
    expect(plain(records)).toEqual(plain(list.map((one, at) => ({ ...one, number: at + 1 }))));
  }), { numRuns: 200 });
});

test("a journal with any byte changed is found damaged at open", async () => {
  const damages = fc.record({ list: journals, record: fc.nat(), at: fc.nat(), bits: fc.integer({ min: 1, max: 255 }) });
  await fc.assert(fc.asyncProperty(damages, async ({ list, record, at, bits }) => {
    const disk = await write(list);
    disk.damage(record % list.length, (value) => {
      value[at % value.length] = (value[at % value.length] ?? 0) ^ bits;
    });
    await expect(read(disk)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
  }), { numRuns: 300 });
});

test("a journal that misses a record before its last is found damaged at open", async () => {
  const cuts = fc.record({ list: journals.filter((list) => list.length > 1), at: fc.nat() });
  await fc.assert(fc.asyncProperty(cuts, async ({ list, at }) => {
    const disk = await write(list);
    disk.remove(at % (list.length - 1));
    await expect(read(disk)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
  }), { numRuns: 100 });
});

test("a journal with two records swapped, or one of another journal, is found damaged at open", async () => {
  const pairs = fc.record({ list: journals.filter((list) => list.length > 1), at: fc.nat() });
  await fc.assert(fc.asyncProperty(pairs, async ({ list, at }) => {
    const one = at % (list.length - 1);
    const swapped = await write(list);
    swapped.swap(one, one + 1);
    await expect(read(swapped)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
    const [first, ...rest] = list;
    const other = await write([{ ...present(first, "not empty"), proposeBelow: 424_242 }, ...rest]);
    const mixed = await write(list);
    mixed.take(other, one + 1);
    await expect(read(mixed)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
  }), { numRuns: 100 });
});

test("a record that rots while the node runs is not served to a peer", async () => {
  const disk = new HandDisk();
  const journal = await Journal.open(await OrderedAppendLog.open(disk), () => undefined);
  const id = { origin: "u1", incarnation: 1, sequence: 1 } as never;
  const commands = Buffer.from("commands");
  const outcome = { batches: [id], key: "u1.1.1" };
  const batch = { id, key: "u1.1.1", commands, arrivedMs: 0 };
  const stored = journal.toStored([{ kind: "decided", slot: 0, outcome, batches: [batch] }]);
  journal.append({ proposeBelow: 1, promises: [], entries: stored }, () => undefined);
  disk.endWrites();
  disk.damage(0, (value) => {
    value[value.indexOf(commands) + 2] = 0;
  });
  expect(() => journal.readLog(0, 1_000)).toThrow(expect.objectContaining({ code: "E_DATA_CORRUPT" }) as Error);
});
