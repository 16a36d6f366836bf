// Owns: the state machine against a plain model, and the promise that neither checkpoints, restarts nor crashes show.
import fc from "fast-check";
import { expect, test } from "vitest";
import { compareKeyText, parseKeyText, type KeyText } from "../../src/kvstore/core/key.ts";
import type { Compare, KvChangeSet, KvEntry, KvValue, Op, Txn } from "../../src/kvstore/core/schema.ts";
import type { StoredChange } from "../../src/kvstore/core/state-machine.ts";
import { toKvEntry } from "../../src/kvstore/core/stored-entry.ts";
import { encodeTxn } from "../../src/kvstore/core/txn.ts";
import { toKvChange } from "../../src/kvstore/core/watch-match.ts";
import { KvGenerations } from "../../src/kvstore/kv-generations.ts";
import { KvState, type ApplyResult } from "../../src/kvstore/kv-state.ts";
import { KvHistory } from "../../src/kvstore/kv-history.ts";
import { WatchHub } from "../../src/kvstore/watch-hub.ts";
import { createMemoryStorePort } from "../../src/storage/memory-store.ts";
import { joinCommands, SILENT_LOG } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

const KEYS = ["data/a", "data/ab", "data/b/1", "data/b/2", "data/ü", "leader", "nodes/n1/state"].map(parseKeyText);
const key = fc.constantFrom(...KEYS);
const value: fc.Arbitrary<KvValue> = fc.oneof(
  fc.integer({ min: -3, max: 3 }),
  fc.constantFrom("", "x", "y", null, true, 1.5),
  fc.dictionary(fc.constantFrom("p", "q", "r"), fc.integer({ min: 0, max: 2 })),
);
const compareOp = fc.constantFrom("=", "!=", "<", ">");
const equality = fc.constantFrom("=", "!=");
const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc.record({
    key,
    target: fc.constantFrom("version", "modRevision"),
    op: compareOp,
    value: fc.integer({ min: 0, max: 6 }),
  }),
  fc.record({ key, target: fc.constant("value" as const), op: compareOp, value }),
  fc.record({ key, target: fc.constant("exists" as const), op: equality, value: fc.boolean() }),
);
const deletable = key.filter((text) => text !== "leader");
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("put" as const), key, value }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete" as const), key: deletable }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("get" as const), key }) },
);
const txn: fc.Arbitrary<Txn> = fc.record({
  compare: fc.array(compare, { maxLength: 2 }),
  then: fc.array(op, { maxLength: 4 }),
  else: fc.array(op, { maxLength: 2 }),
});

/** The store as one would write it without a care: plain data in a Map. */
class Model {
  readonly entries = new Map<KeyText, KvEntry>();
  revision = 0;

  apply(command: Txn): unknown {
    const succeeded = command.compare.every((guard) => this.holds(guard));
    const next = this.revision + 1;
    let hasChanged = false;
    const results = (succeeded ? command.then : command.else).map((operation) => {
      const before = this.entries.get(operation.key);
      if (operation.kind === "get") return before === undefined ? { kind: "get" } : { kind: "get", entry: before };
      if (operation.kind === "delete") {
        hasChanged = this.entries.delete(operation.key) || hasChanged;
        return { kind: "delete", deleted: before !== undefined };
      }
      hasChanged = true;
      this.entries.set(operation.key, {
        key: operation.key,
        value: operation.value,
        modRevision: next,
        createRevision: before?.createRevision ?? next,
        version: (before?.version ?? 0) + 1,
      });
      return { kind: "put" };
    });
    if (hasChanged) this.revision = next;
    return { succeeded, revision: this.revision, results };
  }

  private holds({ key: guarded, target, op: operator, value: wanted }: Compare): boolean {
    const entry = this.entries.get(guarded);
    if (target === "value") {
      if (operator === "=") return entry !== undefined && isEqual(entry.value, wanted);
      if (operator === "!=") return entry === undefined || !isEqual(entry.value, wanted);
      const found = entry?.value;
      if (typeof found !== typeof wanted || (typeof found !== "number" && typeof found !== "string")) return false;
      return operator === "<" ? found < (wanted as typeof found) : found > (wanted as typeof found);
    }
    const found = target === "exists" ? entry !== undefined : (entry?.[target] ?? 0);
    if (operator === "=") return found === wanted;
    if (operator === "!=") return found !== wanted;
    return operator === "<" ? Number(found) < Number(wanted) : Number(found) > Number(wanted);
  }
}

function isEqual(a: unknown, b: unknown): boolean {
  const canonical = (data: unknown): unknown =>
    typeof data === "object" && data !== null ? Object.entries(data).sort() : data;
  return JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));
}

interface Replica {
  readonly clock: ManualClock;
  state: KvState;
  reopen(): Promise<void>;
  /** A new state on what is on disk; the old one writes nothing any more. */
  crash(): void;
}

async function openReplica(): Promise<Replica> {
  const clock = new ManualClock();
  // The store's answers come with the clock, so a checkpoint stays under way until the clock moves.
  const stores = createMemoryStorePort(clock);
  let generations = await KvGenerations.open(stores);
  const open = (): KvState =>
    KvState.open({ generations, clock, log: SILENT_LOG, cluster: "c", onFatal: (error) => expect.fail(error.message) });
  const replica: Replica = {
    clock,
    state: open(),
    crash: () => {
      replica.state = open();
    },
    reopen: async () => {
      const closed = replica.state.close();
      await clock.settle();
      await closed;
      await generations.close();
      generations = await KvGenerations.open(stores);
      replica.state = open();
    },
  };
  return replica;
}

const batchOfTxns = (txns: readonly Txn[]): Uint8Array => joinCommands(txns.map((each) => encodeTxn(each)));

function plainResult(result: ApplyResult | undefined): unknown {
  if (result?.kind !== "done") return result;
  const results = result.results.map((item) => {
    if (item.kind !== "get") return item;
    return item.entry === undefined ? { kind: "get" } : { kind: "get", entry: toKvEntry(item.key, item.entry) };
  });
  return { succeeded: result.succeeded, revision: result.revision, results };
}

test("the state does what a plain model does, whatever the transactions and batches", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(txn, { maxLength: 4 }), { maxLength: 12 }), async (slots) => {
      const { state } = await openReplica();
      const model = new Model();
      for (const [slot, txns] of slots.entries()) {
        const results = state.applyBatch(batchOfTxns(txns));
        expect(results.map(plainResult)).toEqual(txns.map((command) => model.apply(command)));
        state.endSlot(slot, () => Uint8Array.from([slot]));
      }
      expect(state.revision).toBe(model.revision);
      for (const text of KEYS) expect(state.getLocal(text).entry).toEqual(model.entries.get(text));
      const sorted = [...model.entries.values()].sort((a, b) => compareKeyText(a.key, b.key));
      expect((await state.listLocal({ prefix: "" })).entries).toEqual(sorted);
      expect((await state.listLocal({ prefix: "", order: "descending" })).entries).toEqual(sorted.toReversed());
    }),
  );
});

type Step =
  | { readonly kind: "slot"; readonly txns: readonly Txn[] }
  | { readonly kind: "checkpoint" | "settle" | "reopen" | "crash" };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("slot" as const), txns: fc.array(txn, { maxLength: 3 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("checkpoint", "settle", "reopen", "crash") }) },
);

test("a state that is checkpointed, closed, reopened and crashed equals one that never was", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const replica = await openReplica();
      const steady = (await openReplica()).state;
      const log: Uint8Array[] = [];
      const apply = (state: KvState, slot: number): void => {
        state.applyBatch(log[slot] ?? Uint8Array.from([0x90]));
        state.endSlot(slot, () => Uint8Array.from([slot + 1]));
      };
      for (const action of steps) {
        switch (action.kind) {
          case "slot":
            log.push(batchOfTxns(action.txns));
            apply(replica.state, log.length - 1);
            apply(steady, log.length - 1);
            break;
          case "checkpoint":
            void replica.state.checkpoint();
            break;
          case "settle":
            await replica.clock.settle();
            break;
          case "reopen":
            await replica.reopen();
            break;
          case "crash": {
            // The old state is forgotten as it is; consensus applies again what is after the mark.
            replica.crash();
            const next = replica.state.loadedMark?.[0] ?? 0;
            for (let slot = next; slot < log.length; slot++) apply(replica.state, slot);
            break;
          }
        }
        expect(replica.state.stateHash).toBe(steady.stateHash);
        expect(await replica.state.listLocal({ prefix: "" })).toEqual(await steady.listLocal({ prefix: "" }));
        for (const text of KEYS) expect(replica.state.getLocal(text)).toEqual(steady.getLocal(text));
      }
    }),
    { numRuns: 60 },
  );
});

test("a watch sees exactly the changes of its prefix in the log, each revision once and in order", async () => {
  const prefix = fc.constantFrom("", "data/", "data/a", "data/b/", "leader", "nothing");
  const turns = fc.array(fc.array(txn, { maxLength: 3 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(prefix, turns, fc.nat(12), async (watched, slots, startAt) => {
      const { state, clock } = await openReplica();
      const hub = new WatchHub(clock, KvHistory.inMemory(state));
      const seen: KvChangeSet[] = [];
      const wanted: KvChangeSet[] = [];
      let isWatching = false;
      state.onChanges((revision, changes: readonly StoredChange[]) => {
        const matching = changes.filter((change) => change.key.startsWith(watched)).map(toKvChange);
        if (isWatching && matching.length > 0) wanted.push({ revision, changes: matching });
      });
      for (const [slot, txns] of slots.entries()) {
        if (slot === startAt) {
          isWatching = true;
          const onEnd = (reason: Error): void => expect.fail(reason.message);
          hub.watch(watched, { onChanges: (set) => seen.push(set), onEnd });
        }
        state.applyBatch(batchOfTxns(txns));
        if (slot % 3 === 0) await clock.settle();
      }
      await clock.settle();
      expect(seen).toEqual(wanted);
      const revisions = seen.map((set) => set.revision);
      expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
    }),
    { numRuns: 60 },
  );
});

test("no command, whatever its bytes, stops the state or makes two replicas differ", async () => {
  const garbage = fc.oneof(fc.uint8Array({ maxLength: 40 }), txn.map((each) => encodeTxn(each)));
  await fc.assert(
    fc.asyncProperty(fc.array(garbage, { maxLength: 5 }), async (commands) => {
      const [first, second] = [(await openReplica()).state, (await openReplica()).state];
      const batch = joinCommands(commands);
      expect(first.applyBatch(batch)).toEqual(second.applyBatch(batch));
      expect(first.stateHash).toBe(second.stateHash);
      const afterwards = batchOfTxns([{ compare: [], then: [{ kind: "get", key: KEYS[0]! }], else: [] }]);
      expect(first.applyBatch(afterwards)).toMatchObject([{ kind: "done" }]);
    }),
  );
});
