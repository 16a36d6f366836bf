// The journal against a model that forgets nothing: whatever is written, cut, pinned and lost in a crash, what a start
// needs and what others may ask for is there.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { parseNodeId, type NodeUid } from "../../src/base/ids.ts";
import type { LogLimits, NewEntry } from "../../src/consensus/core/journal-index.ts";
import type { JournalRecord } from "../../src/consensus/core/journal-record.ts";
import {
  type BatchId,
  batchKeyOf,
  type BatchKey,
  NULL_OUTCOME,
  type Outcome,
  valueOf,
} from "../../src/consensus/core/message.ts";
import { Journal } from "../../src/consensus/journal.ts";
import { OrderedAppendLog } from "../../src/storage/ordered-append-log.ts";
import { HandDisk } from "../scenario/consensus-disk.ts";

const WINDOW = 8;

type Step =
  | { readonly kind: "ballot"; readonly ahead: number; readonly fresh: number }
  | { readonly kind: "decide"; readonly take: number; readonly fresh: number; readonly repeat: boolean }
  | { readonly kind: "mark"; readonly mark: "diverged" | "removed" | "start" }
  | { readonly kind: "flush" | "settle" | "commit" | "unpin" }
  | { readonly kind: "crash" }
  | { readonly kind: "cut"; readonly behind: number }
  | { readonly kind: "pin" | "back"; readonly behind: number };

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("ballot"), ahead: fc.nat(WINDOW - 1), fresh: fc.nat(2) }) },
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("decide"), take: fc.nat(3), fresh: fc.nat(1), repeat: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("mark"), mark: fc.constantFrom("diverged", "removed", "start") }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("flush") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("settle") }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("commit") }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("cut"), behind: fc.nat(6) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("pin"), behind: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("unpin") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("back"), behind: fc.nat(8) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("crash") }) },
);

/** Everything ever written. */
class Model {
  readonly decided: (readonly BatchId[])[] = [];
  /** The same, and what was decided before a state was installed that ends earlier: it will be decided again. */
  readonly outcomes: Outcome[] = [];
  readonly ballots = new Map<number, number>();
  readonly contents = new Map<BatchKey, Buffer>();
  readonly unrun = new Map<BatchKey, BatchId>();
  readonly ran = new Map<BatchKey, { readonly id: BatchId; readonly slot: number }>();
  readonly marks = new Map<string, string>();

  constructor(history: readonly NewEntry[]) {
    for (const entry of history) this.take(entry);
  }

  take(entry: NewEntry): void {
    if (entry.kind === "ballot" || entry.kind === "decided") {
      for (const { id, commands } of entry.batches) {
        this.contents.set(batchKeyOf(id), Buffer.from(commands));
        this.unrun.set(batchKeyOf(id), id);
      }
    }
    if (entry.kind === "ballot") this.ballots.set(entry.ballot.slot, (this.ballots.get(entry.ballot.slot) ?? 0) + 1);
    if (entry.kind === "diverged" || entry.kind === "removed") this.marks.set(entry.kind, entry.reason);
    if (entry.kind === "start") this.marks.set(entry.kind, entry.startId);
    if (entry.kind === "generation") {
      this.marks.delete("diverged");
      this.goBack(entry.slot);
    }
    if (entry.kind !== "decided") return;
    const ids = entry.outcome === NULL_OUTCOME ? [] : entry.outcome.batches;
    this.decided.push(ids);
    this.outcomes[entry.slot] = entry.outcome;
    for (const id of ids) {
      this.unrun.delete(batchKeyOf(id));
      if (!this.ran.has(batchKeyOf(id))) this.ran.set(batchKeyOf(id), { id, slot: entry.slot });
    }
  }

  /** Of slots that are not decided in this state. */
  get openBallots(): ReadonlyMap<number, number> {
    return new Map([...this.ballots].filter(([slot]) => slot >= this.decided.length));
  }

  private goBack(slot: number): void {
    this.decided.length = slot;
    for (const [key, run] of this.ran) {
      if (run.slot < slot) continue;
      this.ran.delete(key);
      this.unrun.set(key, run.id);
    }
  }
}

/** What the records of a start say. */
class Replay {
  readonly marks = new Map<string, string>();
  readonly ballots = new Map<number, number>();
  readonly batches = new Set<BatchKey>();
  begin = 0;
  next = 0;

  take(record: JournalRecord): void {
    for (const entry of record.entries) {
      if (entry.kind === "cut") this.begin = this.next = entry.slot;
      if (entry.kind === "start") this.marks.set(entry.kind, entry.startId);
      if (entry.kind === "diverged" || entry.kind === "removed") this.marks.set(entry.kind, entry.reason);
      if (entry.kind === "ballot") this.ballots.set(entry.ballot.slot, (this.ballots.get(entry.ballot.slot) ?? 0) + 1);
      if (entry.kind === "ballot" || entry.kind === "decided") {
        for (const { id } of entry.batches) this.batches.add(batchKeyOf(id));
      }
      if (entry.kind === "generation") {
        this.marks.delete("diverged");
        this.next = Math.max(this.begin, entry.slot);
      }
      if (entry.kind === "decided" && entry.slot === this.next) this.next += 1;
    }
  }
}

class Story {
  private readonly limits: LogLimits;
  private readonly disk = new HandDisk();
  private journal: Journal | undefined;
  private queue: NewEntry[] = [];
  /** Given to the journal and not durable. */
  private waiting: NewEntry[] = [];
  private durable: NewEntry[] = [];
  private pins: number[] = [];
  private checkpointed = 0;
  private sequence = 0;

  constructor(limits: LogLimits) {
    this.limits = limits;
  }

  async play(list: readonly Step[]): Promise<void> {
    await this.open();
    for (const step of list) {
      if (step.kind === "crash") await this.open();
      else this.act(step);
    }
    this.act({ kind: "flush" });
    this.act({ kind: "settle" });
    this.checkLog();
    await this.open();
    this.checkLog();
  }

  private get handed(): Model {
    return new Model([...this.durable, ...this.waiting]);
  }

  private async open(): Promise<void> {
    this.disk.dropWaiting();
    this.queue = [];
    this.waiting = [];
    this.pins = [];
    const replay = new Replay();
    this.journal = await Journal.open(
      await OrderedAppendLog.open(this.disk), (record) => replay.take(record), this.limits,
    );
    const model = this.handed;
    expect(this.journal.logStart, "the state has what was cut").toBeLessThanOrEqual(this.checkpointed);
    expect(this.journal.decidedSlots).toBe(model.decided.length);
    expect(this.journal.logStart).toBe(replay.begin);
    expect(replay.next, "slots follow each other").toBe(model.decided.length);
    expect(replay.marks).toEqual(model.marks);
    // Those of decided slots too: a state that ends before them may be installed.
    const kept = [...model.ballots].filter(([slot]) => slot >= replay.begin);
    for (const [slot, count] of kept) expect(replay.ballots.get(slot), `own ballots of slot ${slot}`).toBe(count);
    for (const [slot, count] of model.openBallots) expect(replay.ballots.get(slot)).toBe(count);
    for (const key of model.unrun.keys()) expect(replay.batches.has(key), `batch ${key} has not run`).toBe(true);
  }

  private act(step: Exclude<Step, { readonly kind: "crash" }>): void {
    const journal = present(this.journal, "it is open");
    const model = new Model([...this.durable, ...this.waiting, ...this.queue]);
    switch (step.kind) {
      case "ballot": {
        const batches = this.freshBatches(step.fresh);
        const slot = model.decided.length + step.ahead;
        const choice = valueOf(batches.map(({ id }) => id));
        this.queue.push({ kind: "ballot", ballot: { kind: "vote", slot, phase: 0, choice }, batches });
        return;
      }
      case "decide": {
        const batches = this.freshBatches(step.fresh);
        const old = step.repeat ? [...model.ran.values()].slice(-1).map(({ id }) => id) : [];
        const ids = [...[...model.unrun.values()].slice(0, step.take), ...batches.map(({ id }) => id), ...old];
        const slot = model.decided.length;
        const outcome = ids.length === 0 ? NULL_OUTCOME : valueOf(ids);
        const before = model.outcomes[slot];
        if (before === undefined) this.queue.push({ kind: "decided", slot, outcome, batches });
        else this.queue.push({ kind: "decided", slot, outcome: before, batches: [] });
        return;
      }
      case "mark":
        this.sequence += 1;
        if (step.mark === "start") this.queue.push({ kind: "start", incarnation: 1, startId: `${this.sequence}` });
        else this.queue.push({ kind: step.mark, reason: `${this.sequence}` });
        return;
      case "flush":
        if (this.queue.length === 0 || this.waiting.length > 0) return;
        this.flush(journal);
        return;
      case "settle":
        this.disk.endWrites();
        this.checkLog();
        return;
      case "commit":
        this.act({ kind: "settle" });
        this.act({ kind: "flush" });
        this.act({ kind: "settle" });
        return;
      case "cut": {
        this.act({ kind: "commit" });
        const { decided, ran } = new Model(this.durable);
        this.checkpointed = Math.max(this.checkpointed, decided.length - step.behind);
        const before = journal.logStart;
        const pinned = Math.min(...this.pins);
        const hasRun = (id: BatchId): boolean => ran.has(batchKeyOf(id));
        journal.cut({ applied: this.checkpointed, pinned, hasRun }, (failure) => {
          expect(failure).toBeUndefined();
        });
        if (journal.logStart === before) return;
        expect(journal.logStart).toBeLessThanOrEqual(Math.max(pinned, before));
        expect(journal.logStart).toBeLessThanOrEqual(this.checkpointed);
        return;
      }
      case "back": {
        this.act({ kind: "commit" });
        const slot = Math.max(journal.logStart, new Model(this.durable).decided.length - step.behind);
        this.checkpointed = slot;
        this.queue.push({ kind: "generation", generation: 1, slot });
        return;
      }
      case "pin": {
        const slot = Math.max(journal.logStart, model.decided.length - step.behind);
        this.pins.push(slot);
        return;
      }
      case "unpin":
        this.pins.shift();
        return;
    }
  }

  private flush(journal: Journal): void {
    this.waiting = this.queue;
    this.queue = [];
    const entries = journal.toStored(this.waiting);
    journal.append({ proposeBelow: 1, promises: [], entries }, (_number, failure) => {
      expect(failure).toBeUndefined();
      this.durable = [...this.durable, ...this.waiting];
      this.waiting = [];
    });
  }

  /** Every applied slot that the journal offers comes with the contents of the batches that ran in it. */
  private checkLog(): void {
    const journal = present(this.journal, "it is open");
    const model = new Model(this.durable);
    const log = journal.readLog(journal.logStart, Number.POSITIVE_INFINITY);
    expect(log.length).toBeGreaterThanOrEqual(model.decided.length - journal.logStart);
    for (const { slot, outcome, contents } of log) {
      const ids = outcome === NULL_OUTCOME ? [] : outcome.batches;
      if (slot >= model.decided.length) continue;
      expect(ids.map(batchKeyOf)).toEqual(present(model.decided[slot], "it is decided").map(batchKeyOf));
      for (const [at, id] of ids.entries()) {
        const ranAt = model.ran.get(batchKeyOf(id))?.slot;
        if (ranAt !== slot) continue;
        const content = contents[at];
        expect(content && Buffer.from(content)).toEqual(model.contents.get(batchKeyOf(id)));
      }
    }
  }

  private freshBatches(count: number): { id: BatchId; key: BatchKey; commands: Uint8Array; arrivedMs: number }[] {
    return Array.from({ length: count }, () => {
      this.sequence += 1;
      const id = { origin: "u1" as NodeUid, incarnation: 1, sequence: this.sequence };
      return { id, key: batchKeyOf(id), commands: Buffer.from(`commands ${this.sequence}`), arrivedMs: 0 };
    });
  }
}

test("a journal that is cut, pinned and lost in crashes has all that a start or a peer needs (C6, C7)", async () => {
  const limits = fc.constantFrom({ slotsKept: 2, bytesKept: 1_000_000 }, { slotsKept: 1_000, bytesKept: 300 });
  const stories = fc.record({ limits, list: fc.array(steps, { minLength: 20, maxLength: 100, size: "max" }) });
  await fc.assert(fc.asyncProperty(stories, async ({ limits: chosen, list }) => {
    await new Story(chosen).play(list);
  }), { numRuns: 300 });
});

test("a journal keeps its limit of slots, what is pinned within a bound, and what no checkpoint has", async () => {
  const disk = new HandDisk();
  const journal = await Journal.open(await OrderedAppendLog.open(disk), () => undefined, {
    slotsKept: 80, bytesKept: 1_000_000, slotsPinned: 150,
  });
  const decide = (count: number): void => {
    for (let at = 0; at < count; at++) {
      const entries = journal.toStored([
        { kind: "decided", slot: journal.decidedSlots, outcome: NULL_OUTCOME, batches: [] },
      ]);
      journal.append({ proposeBelow: 1, promises: [], entries }, () => undefined);
      disk.endWrites();
    }
  };
  const cut = (applied: number, pinned = Number.POSITIVE_INFINITY): number => {
    journal.cut({ applied, pinned, hasRun: () => true }, () => undefined);
    disk.endWrites();
    return journal.logStart;
  };
  decide(85);
  expect(cut(85), "too little to be worth it").toBe(0);
  decide(115);
  expect(cut(20), "no further than the checkpoint").toBe(20);
  expect(cut(200, 50)).toBe(50);
  decide(20);
  expect(cut(220, 50), "no more than 150 slots are kept for others").toBe(70);
  expect(cut(200)).toBe(140);
  expect(disk.rowCount, "the base and 80 records").toBe(81);
  expect(journal.readLog(139, 1_000)).toEqual([]);
  expect(journal.readLog(140, 1)).toHaveLength(1);
});

test("the slots before an installed snapshot are gone, those that follow are served", async () => {
  const disk = new HandDisk();
  const open = async (records: JournalRecord[]): Promise<Journal> =>
    Journal.open(await OrderedAppendLog.open(disk), (record) => records.push(record));
  const write = (journal: Journal, ...entries: NewEntry[]): void => {
    journal.append({ proposeBelow: 1, promises: [], entries: journal.toStored(entries) }, () => undefined);
    disk.endWrites();
  };
  const node = parseNodeId("n1");
  const identity = { cluster: "c", node, uid: "u1" as NodeUid, share: "s", voters: [node], windowSlots: 8 };
  const journal = await open([]);
  write(journal, { kind: "identity", identity }, { kind: "decided", slot: 0, outcome: NULL_OUTCOME, batches: [] });
  write(journal, { kind: "diverged", reason: "by a bit" });
  write(journal, { kind: "generation", generation: 1, slot: 40 });
  expect([journal.logStart, journal.decidedSlots]).toEqual([40, 40]);
  write(journal, { kind: "decided", slot: 40, outcome: NULL_OUTCOME, batches: [] });
  write(journal, { kind: "decided", slot: 41, outcome: NULL_OUTCOME, batches: [] });
  // After one that ends inside the log the slots beyond it are decided once more.
  write(journal, { kind: "generation", generation: 2, slot: 41 });
  expect([journal.logStart, journal.decidedSlots]).toEqual([40, 41]);
  write(journal, { kind: "decided", slot: 41, outcome: NULL_OUTCOME, batches: [] });
  for (const each of [journal, await open([])]) {
    expect([each.logStart, each.decidedSlots]).toEqual([40, 42]);
    expect(each.readLog(40, 1_000)).toHaveLength(2);
    expect(each.readLog(0, 1_000)).toEqual([]);
  }
});
