import { afterEach, expect, test } from "vitest";
import { parseNodeId, type NodeUid } from "../../../src/base/ids.ts";
import { ResourceStack } from "../../../src/base/resource-stack.ts";
import type { Batch } from "../../../src/consensus/core/batch-pool.ts";
import type { NewEntry } from "../../../src/consensus/core/journal-index.ts";
import {
  type Ballot,
  type BatchId,
  batchKeyOf,
  NULL_OUTCOME,
  UNSURE,
  valueOf,
} from "../../../src/consensus/core/message.ts";
import { Journal } from "../../../src/consensus/journal.ts";
import { type LastState, readIdentity, replayLastState } from "../../../src/consensus/last-state.ts";
import type { AppendLog } from "../../../src/env/append-log.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import { encodeTxn } from "../../../src/kvstore/core/txn.ts";
import { KvGenerations } from "../../../src/kvstore/kv-generations.ts";
import { KvState } from "../../../src/kvstore/kv-state.ts";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { createOrderedLogPort } from "../../../src/storage/ordered-append-log.ts";
import { joinCommands, SILENT_LOG } from "../../support/local-kv.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const n1 = parseNodeId("n1");
const uid = "u1" as NodeUid;
const resources: ResourceStack[] = [];

afterEach(async () => {
  for (const stack of resources.splice(0)) await stack.close();
});

const identity = { cluster: "old", node: n1, uid, share: "s", voters: [n1], windowSlots: 8 };
const formed: readonly NewEntry[] = [
  { kind: "identity", identity },
  { kind: "voter-list", voters: [{ node: n1, uid, share: "s", address: "ws://n1" }], seed: undefined },
  { kind: "formed" },
];

function id(sequence: number): BatchId {
  return { origin: uid, incarnation: 1, sequence };
}

/** A batch that puts one key, named by its number. */
function put(sequence: number): Batch {
  const key = parseKeyText(`data/${sequence}`);
  const command = encodeTxn({ compare: [], then: [{ kind: "put", key, value: sequence }], else: [] });
  return { id: id(sequence), key: batchKeyOf(id(sequence)), commands: joinCommands([command]), arrivedMs: 0 };
}

function vote(slot: number, phase: number, choice: Ballot["choice"]): Ballot {
  return { kind: "vote", slot, phase, choice };
}

function voted(slot: number, sequence: number): NewEntry {
  return { kind: "ballot", ballot: vote(slot, 0, valueOf([id(sequence)])), batches: [put(sequence)] };
}

function said(ballot: Ballot): NewEntry {
  return { kind: "ballot", ballot, batches: [] };
}

/** What a node that wrote this and stopped knows. */
async function lastOf(
  ...entries: readonly NewEntry[]
): Promise<{ readonly last: LastState; readonly state: KvState }> {
  const stack = new ResourceStack();
  resources.push(stack);
  const clock = new ManualClock();
  const stores = createMemoryStorePort({ defer: (act) => setImmediate(act) });
  const wal = stack.own(await createOrderedLogPort(stores).open("journal"));
  await write(wal, entries);
  const generations = stack.own(await KvGenerations.open(stores));
  const state = KvState.open({ generations, clock, log: SILENT_LOG, cluster: "old", onFatal: () => undefined });
  expect(await readIdentity(wal)).toEqual(identity);
  return { last: await replayLastState(wal, state, identity), state };
}

async function write(wal: AppendLog, entries: readonly NewEntry[]): Promise<void> {
  const journal = await Journal.open(wal, () => undefined);
  await new Promise<void>((resolve, reject) => {
    const record = { proposeBelow: 8, promises: [], entries: journal.toStored(entries) };
    journal.append(record, (_, failure) => (failure === undefined ? resolve() : reject(failure)));
  });
}

function has(state: KvState, sequence: number): boolean {
  return state.getLocal(parseKeyText(`data/${sequence}`)).entry !== undefined;
}

test("the state has what was decided, then what this node voted for, up to the first slot it cannot know", async () => {
  const { last, state } = await lastOf(
    ...formed,
    { kind: "decided", slot: 0, outcome: valueOf([id(1)]), batches: [put(1)] },
    voted(1, 2),
    said(vote(2, 0, UNSURE)),
    said({ kind: "state", slot: 2, phase: 1, choice: NULL_OUTCOME }),
    voted(3, 3),
    said(vote(4, 0, UNSURE)),
    voted(5, 4),
  );
  expect(last).toEqual({ voters: [n1], slots: 4, votedSlots: 3, openSlots: 2 });
  expect([1, 2, 3, 4].map((sequence) => has(state, sequence))).toEqual([true, true, true, false]);
});

test("a vote of which a later phase shows that it did not decide counts for nothing", async () => {
  const { last, state } = await lastOf(
    ...formed,
    voted(0, 1),
    said({ kind: "state", slot: 0, phase: 1, choice: valueOf([id(1)]) }),
    said(vote(0, 1, UNSURE)),
  );
  expect(last).toMatchObject({ slots: 0, votedSlots: 0, openSlots: 1 });
  expect(has(state, 1)).toBe(false);
});

test("a batch that was voted for in two slots runs once", async () => {
  const { last, state } = await lastOf(...formed, voted(0, 1), said(vote(1, 0, valueOf([id(1)]))), voted(2, 2));
  expect(last).toMatchObject({ slots: 3, votedSlots: 3 });
  expect(state.revision).toBe(2);
});

test.each<[string, string, NewEntry]>([
  ["of a removed node", "E_REMOVED", { kind: "removed", reason: "n1 was removed" }],
  ["that a quorum contradicted", "E_DATA_CORRUPT", { kind: "diverged", reason: "another hash" }],
])("a directory %s is refused", async (_, code, entry) => {
  await expect(lastOf(...formed, entry)).rejects.toMatchObject({ code });
});

test("a directory of a cluster that never formed is refused", async () => {
  await expect(lastOf(...formed.slice(0, 2))).rejects.toMatchObject({ code: "E_CONFLICT" });
});
