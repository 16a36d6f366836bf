// Owns: the past against a plain log: whatever is written, trimmed, crashed or damaged, what is held is what happened,
// without a hole, and watchers that resume see each revision once.
import fc from "fast-check";
import { expect, test } from "vitest";
import { AetherError } from "../../src/base/errors.ts";
import {
  decodeHistoryRow, HistoryRowBuilder, parseHistoryRowHead, type EntryBefore, type RevisionChanges,
} from "../../src/kvstore/core/history-row.ts";
import { parseKeyText, type KeyText } from "../../src/kvstore/core/key.ts";
import type { KvChangeSet, KvEntry, Op } from "../../src/kvstore/core/schema.ts";
import type { StoredChange } from "../../src/kvstore/core/state-machine.ts";
import { encodeTxn } from "../../src/kvstore/core/txn.ts";
import { KvGenerations } from "../../src/kvstore/kv-generations.ts";
import { KvHistory, type HistorySizes } from "../../src/kvstore/kv-history.ts";
import { KvState } from "../../src/kvstore/kv-state.ts";
import type { KvWatch } from "../../src/kvstore/kv.ts";
import { PastReads } from "../../src/kvstore/past-reads.ts";
import { WatchHub } from "../../src/kvstore/watch-hub.ts";
import { createOrderedLogPort } from "../../src/storage/ordered-append-log.ts";
import { CrashStores } from "../support/crash-stores.ts";
import { joinCommands, SILENT_LOG } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** So small that a few changes fill rows, memory and the whole past. */
const SIZES: HistorySizes = {
  revisionsMax: 25, bytesMax: 60_000, rowBytes: 500, waitingBytes: 100_000,
  recentRevisions: 4, recentBytes: 600, rowsForgotten: 2,
};
/** Where bytes are the bound: about 12 revisions. */
const TIGHT: HistorySizes = { ...SIZES, bytesMax: 3_000 };
const KEYS = ["data/a", "data/b/1", "data/b/2", "nodes/n1/state"].map(parseKeyText);
const key = fc.constantFrom(...KEYS);
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("put" as const), key, value: fc.nat(99) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), key }) },
);
const batch = fc.array(fc.array(op, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 });

type Step =
  | { readonly kind: "slot"; readonly txns: readonly (readonly Op[])[] }
  | { readonly kind: "checkpoint" | "settle" | "restart" }
  /** The process dies after so many more steps of its disk. */
  | { readonly kind: "crash"; readonly after: number }
  | { readonly kind: "damage"; readonly what: "record" | "row" }
  | { readonly kind: "watch"; readonly prefix: string };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant("slot" as const), txns: batch }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom("checkpoint" as const, "settle", "restart") }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("crash" as const), after: fc.nat(6) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("watch" as const), prefix: fc.constantFrom("", "data/b/", "nodes/") }),
  },
);
const damage: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant("damage" as const),
  what: fc.constantFrom("record", "row"),
});

interface Resuming {
  readonly prefix: string;
  /** The first revision not seen. */
  next: number;
  readonly seen: string[];
  /** Revisions that are lost to it, because they were not held any more when it asked. */
  readonly skipped: [from: number, to: number][];
  watch: KvWatch | undefined;
}

/** One node's store through restarts and crashes, and the log that consensus gives it again each time. */
class World {
  readonly clock = new ManualClock();
  readonly log: Uint8Array[] = [];
  /** What happened, from revision 1. */
  readonly past: { readonly revision: number; readonly changes: readonly StoredChange[] }[] = [];
  /** The entries after each revision. */
  readonly states: ReadonlyMap<KeyText, KvEntry>[] = [new Map()];
  readonly watchers: Resuming[] = [];
  stores = new CrashStores();
  private generations!: KvGenerations;
  state!: KvState;
  history!: KvHistory;
  reads!: PastReads;
  private hub!: WatchHub;
  private applied = 0;
  private readonly sizes: HistorySizes;

  constructor(sizes = SIZES) {
    this.sizes = sizes;
  }

  async open(): Promise<void> {
    const { clock } = this;
    this.generations = await KvGenerations.open(this.stores);
    const onFatal = (error: Error): void => expect.fail(error.message);
    this.state = KvState.open({ generations: this.generations, clock, log: SILENT_LOG, cluster: "c", onFatal });
    const disk = await createOrderedLogPort(this.stores).open("past");
    const { state, sizes } = this;
    this.history = KvHistory.open({ state, disk, log: SILENT_LOG, cluster: "c", sizes });
    this.reads = new PastReads({ clock, state, history: this.history });
    this.applied = this.state.loadedMark?.[0] ?? 0;
    this.record();
    while (this.applied < this.log.length) this.applyNext();
    this.hub = new WatchHub(clock, this.history);
    for (const watcher of this.watchers) this.resume(watcher);
  }

  add(txns: readonly (readonly Op[])[]): void {
    this.log.push(joinCommands(txns.map((then) => encodeTxn({ compare: [], then, else: [] }))));
    this.applyNext();
  }

  /** As a process that was killed: what it left on disk is what the next one finds, which dies in its turn. */
  async restart(stopAfter?: number): Promise<void> {
    for (const watcher of this.watchers) watcher.watch?.cancel();
    this.state.abandon();
    this.stores = this.stores.restarted(stopAfter);
    await this.open();
  }

  follow(prefix: string): void {
    const watcher: Resuming = { prefix, next: this.state.revision + 1, seen: [], skipped: [], watch: undefined };
    this.watchers.push(watcher);
    this.resume(watcher);
  }

  check(): void {
    const { oldest, revision } = this.history;
    expect(revision).toBe(this.state.revision);
    expect(this.past.length).toBe(revision);
    for (const from of new Set([oldest, Math.ceil((oldest + revision) / 2), revision])) {
      if (from >= oldest) expect(this.readAll(from)).toEqual(plain(this.past.slice(from - 1), this.past));
    }
    const tooOld = expect.objectContaining({ code: "E_COMPACTED" });
    if (oldest > 1) expect(() => this.history.read(oldest - 1)).toThrow(tooOld);
    expect(this.history.read(revision + 1)).toEqual([]);
  }

  readAll(from: number): unknown {
    const items: RevisionChanges[] = [];
    for (let next = from; next <= this.history.revision; next = (items.at(-1)?.revision ?? next) + 1) {
      items.push(...this.history.read(next));
    }
    return plain(items, this.past);
  }

  expectWatchers(): void {
    for (const { prefix, seen, skipped, next } of this.watchers) {
      expect(next).toBe(this.history.revision + 1);
      const first = Number(seen[0]?.split(" ")[0] ?? next);
      const isSkipped = (revision: number): boolean => skipped.some(([from, to]) => revision >= from && revision < to);
      const wanted = this.past.flatMap(({ revision, changes }) => {
        const keys = changes.filter(({ key }) => key.startsWith(prefix)).map(({ key }) => key);
        return revision < first || keys.length === 0 || isSkipped(revision) ? [] : [`${revision} ${keys.join(" ")}`];
      });
      expect(seen.filter((line) => !isSkipped(Number(line.split(" ")[0])))).toEqual(wanted);
    }
  }

  private record(): void {
    this.state.onChanges((revision, changes) => {
      if (revision !== this.past.length + 1) return;
      this.past.push({ revision, changes });
      const after = new Map(this.states[revision - 1]);
      for (const change of changes) {
        const entry = this.state.getLocal(change.key).entry;
        if (entry === undefined) after.delete(change.key);
        else after.set(change.key, entry);
      }
      this.states.push(after);
    });
  }

  private applyNext(): void {
    this.state.applyBatch(this.log[this.applied] ?? Uint8Array.from([0x90]));
    const next = ++this.applied;
    this.state.endSlot(next - 1, () => Uint8Array.from([next]));
  }

  private resume(watcher: Resuming): void {
    const handlers = {
      onChanges: ({ revision, changes }: KvChangeSet) => {
        expect(revision).toBeGreaterThanOrEqual(watcher.next);
        watcher.next = revision + 1;
        const keys = changes.map((change) => (change.kind === "put" ? change.entry.key : change.key));
        watcher.seen.push(`${revision} ${keys.join(" ")}`);
      },
      onProgress: (revision: number) => (watcher.next = revision + 1),
      onEnd: (reason: Error) => {
        expect(reason).toMatchObject({ code: "E_COMPACTED" });
        // It would list now.
        watcher.skipped.push([watcher.next, this.history.revision + 1]);
        watcher.next = this.history.revision + 1;
        this.resume(watcher);
      },
    };
    watcher.watch = this.hub.watch(watcher.prefix, handlers, { fromRevision: watcher.next });
  }

  /** Reads of the past let other work in between. */
  async finish<T>(reading: Promise<T>): Promise<T> {
    let isOver = false;
    // ignored: the caller has the promise itself
    void reading.catch(() => undefined).finally(() => (isOver = true));
    while (!isOver) await this.clock.advance(1);
    return reading;
  }

  async catchUp(): Promise<void> {
    await this.clock.settle();
    for (const { watch } of this.watchers) watch?.requestProgress();
    await this.clock.settle();
  }
}

async function run(world: World, action: Step): Promise<void> {
  switch (action.kind) {
    case "slot":
      return world.add(action.txns);
    case "checkpoint":
      return void world.state.checkpoint();
    case "settle":
      return world.catchUp();
    case "restart":
      return world.restart();
    case "crash":
      return world.restart(action.after);
    case "watch":
      return world.follow(action.prefix);
    case "damage": {
      const rows = await rowsOf(world);
      // The record comes after the number of the oldest row.
      const [found, at] = action.what === "record" ? [rows[0], 12] : [rows[1], 3];
      if (found !== undefined) world.stores.damage("past", found, at);
      return;
    }
  }
}

async function rowsOf(world: World): Promise<Uint8Array[]> {
  const keys: Uint8Array[] = [];
  for await (const [key] of (await world.stores.open("past")).entries({})) keys.push(key);
  return keys;
}

async function bytesOnDisk(world: World): Promise<number> {
  let bytes = 0;
  for await (const [, row] of (await world.stores.open("past")).entries({ from: Buffer.alloc(8) })) bytes += row.length;
  return bytes;
}

/** What these take when every entry before is named. */
function weightOf(past: World["past"]): number {
  const builder = new HistoryRowBuilder({ first: past[0]?.revision ?? 1, oldestNamed: 1, bytesExpected: 0 });
  for (const { changes } of past) builder.add(changes);
  return builder.byteLength;
}

/** Who meets damage is told that this part of the past is gone, and then it is: what is left is as it was. */
function checkUntilSound(world: World): void {
  for (let before = -1; before !== world.history.oldest;) {
    before = world.history.oldest;
    try {
      world.check();
    } catch (error) {
      if (!(error instanceof AetherError)) throw error;
      expect(error.code).toBe("E_COMPACTED");
      expect(world.history.oldest).toBeGreaterThan(before);
    }
  }
}

/** As plain data, with what was there before, which may be named by a revision of `past`. */
function plain(items: readonly RevisionChanges[], past: readonly RevisionChanges[]): unknown {
  const blockOf = (key: KeyText, before: EntryBefore): string | undefined => {
    if (typeof before !== "number") return before?.block.toString("hex");
    const brought = past[before - 1]?.changes.findLast((change) => change.key === key);
    return brought?.kind === "put" ? brought.entry.block.toString("hex") : "not there";
  };
  return items.map(({ revision, changes }) => ({
    revision,
    changes: changes.map((change) => ({
      kind: change.kind,
      key: change.key,
      entry: change.kind === "put" ? change.entry.block.toString("hex") : change.modRevision,
      before: blockOf(change.key, change.before),
    })),
  }));
}

test("what is held is what happened, up to the present, through checkpoints, restarts and crashes", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const world = new World();
      await world.open();
      for (const action of steps) {
        await run(world, action);
        world.check();
        // No crash, whenever it comes, takes more than the bounds do.
        const { oldest, revision } = world.history;
        expect(revision - oldest + 1).toBeGreaterThanOrEqual(Math.min(revision, SIZES.revisionsMax));
      }
      await world.catchUp();
      world.expectWatchers();
    }),
    { numRuns: 150 },
  );
});

test("a damaged past is shorter, never different", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(step, damage), { maxLength: 30 }), async (steps) => {
      const world = new World();
      await world.open();
      for (const action of [...steps, { kind: "restart" } as const]) {
        await run(world, action);
        if (action.kind !== "damage") checkUntilSound(world);
      }
      await world.catchUp();
      world.expectWatchers();
    }),
    { numRuns: 60 },
  );
});

const sizes = fc.constantFrom(SIZES, TIGHT);
const pageLimit = fc.integer({ min: 1, max: 3 });

test("the state at every revision that is held is what it was then, key by key and page by page", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), sizes, pageLimit, async (steps, sizes, limit) => {
      const world = new World(sizes);
      await world.open();
      for (const action of steps) await run(world, action);
      await world.clock.settle();
      const { oldest, revision } = world.history;
      for (let at = oldest - 1; at <= revision; at++) {
        const wanted = world.states[at] ?? new Map<KeyText, KvEntry>();
        for (const text of KEYS) {
          const { entry } = await world.finish(world.reads.get(text, at, {}));
          expect(entry).toEqual(wanted.get(text));
        }
        const listed: KvEntry[] = [];
        for (let more = true; more;) {
          const after = listed.at(-1)?.key;
          const query = { prefix: "data/", limit, ...(after && { after }) };
          const page = await world.finish(world.reads.list(query, at, {}));
          expect(page.revision).toBe(at);
          listed.push(...page.entries);
          ({ more } = page);
        }
        const inOrder = KEYS.flatMap((key) => (key.startsWith("data/") ? (wanted.get(key) ?? []) : []));
        expect(listed).toEqual(inOrder);
      }
      if (oldest > 1) {
        await expect(world.reads.list({ prefix: "" }, oldest - 2, {})).rejects.toMatchObject({ code: "E_COMPACTED" });
      }
    }),
    { numRuns: 60 },
  );
});

test("where bytes are the bound, about half of them are of revisions that are offered", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(batch, { minLength: 30, maxLength: 60 }), async (slots) => {
      const world = new World(TIGHT);
      await world.open();
      for (const txns of slots) {
        world.add(txns);
        world.check();
        await world.clock.settle();
        const { oldest, revision } = world.history;
        const bytes = weightOf(world.past.slice(Math.max(0, oldest - 1)));
        if (oldest > 1) expect(bytes).toBeGreaterThan(TIGHT.bytesMax / 2 - TIGHT.rowBytes * TIGHT.rowsForgotten);
        expect(await bytesOnDisk(world)).toBeLessThan(TIGHT.bytesMax + TIGHT.rowBytes * 2 * TIGHT.rowsForgotten);
        expect(revision).toBe(world.past.length);
      }
    }),
    { numRuns: 10 },
  );
});

const slots = fc.array(batch, { minLength: 1, maxLength: 5 });

test("a row says what it was made of, and nothing when a bit of it differs", async () => {
  await fc.assert(
    fc.asyncProperty(slots, fc.nat(), fc.nat(9), async (slots, bit, oldestNamed) => {
      const world = new World();
      await world.open();
      for (const txns of slots) world.add(txns);
      fc.pre(world.past.length > 0);
      const builder = new HistoryRowBuilder({ first: 1, oldestNamed, bytesExpected: 100 });
      for (const { changes } of world.past) builder.add(changes);
      expect(plain(builder.items(), world.past)).toEqual(plain(world.past, world.past));
      const { bytes: row, ...head } = builder.finish() ?? expect.fail("it has revisions");
      expect(parseHistoryRowHead(row)).toEqual(head);
      expect(plain(decodeHistoryRow(row) ?? [], world.past)).toEqual(plain(world.past, world.past));
      const damaged = Buffer.from(row);
      const at = bit % (damaged.length * 8);
      damaged[at >> 3] = (damaged[at >> 3] ?? 0) ^ (1 << (at & 7));
      expect(decodeHistoryRow(damaged)).toBeUndefined();
      expect(decodeHistoryRow(row.subarray(0, at >> 3))).toBeUndefined();
    }),
  );
});
