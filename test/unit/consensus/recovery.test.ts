import { expect, test } from "vitest";
import { parseNodeId, type NodeUid } from "../../../src/base/ids.ts";
import { DedupeTable } from "../../../src/consensus/core/dedupe-table.ts";
import type { JournalRecord, StoredBatch, StoredEntry } from "../../../src/consensus/core/journal-record.ts";
import { LogState } from "../../../src/consensus/core/log-state.ts";
import { Membership } from "../../../src/consensus/core/membership.ts";
import { type BatchId, valueOf } from "../../../src/consensus/core/message.ts";
import { encodeMark, Recovery, type ReplayedState } from "../../../src/consensus/recovery.ts";

const n1 = parseNodeId("n1");
const uid = "u1" as NodeUid;
const expected = { cluster: "old", node: n1, voters: [n1], windowSlots: 8 };
const voters = [{ node: n1, uid, share: "s", address: "ws://n1" }];
const formed: readonly StoredEntry[] = [
  { kind: "identity", identity: { ...expected, uid, share: "s" } },
  { kind: "voter-list", voters, seed: undefined },
  { kind: "formed" },
];

function batch(sequence: number): StoredBatch {
  const id: BatchId = { origin: uid, incarnation: 1, sequence };
  return { id, commands: Buffer.of(0x91, sequence) };
}

/** In the slot of its number, with the own vote before it. */
function decided(slot: number): readonly StoredEntry[] {
  const outcome = valueOf([batch(slot).id]);
  return [
    { kind: "ballot", ballot: { kind: "vote", slot, phase: 0, choice: outcome }, batches: [batch(slot)] },
    { kind: "decided", slot, outcome, batches: [], locations: [1] },
  ];
}

/** A state in which slots [0, applied) ran, and what is applied to it. */
function stateOf(applied: number, loadedGeneration: number): { readonly state: ReplayedState; readonly ran: number[] } {
  const membership = Membership.unformed([n1], expected.windowSlots);
  membership.form(voters);
  const log = new LogState(new DedupeTable(), membership);
  for (let slot = 0; slot < applied; slot++) log.run(batch(slot).id, batch(slot).commands, slot);
  const ran: number[] = [];
  const state: ReplayedState = {
    loadedMark: encodeMark(applied, log), loadedGeneration, needsSnapshot: false, damage: undefined,
    applyBatch: (commands) => {
      ran.push(commands[1] ?? -1);
      return [];
    },
    endSlot: () => undefined,
  };
  return { state, ran };
}

function replay(state: ReplayedState, entries: readonly StoredEntry[]): Recovery {
  const recovery = new Recovery(state, expected);
  const record: JournalRecord = { number: 1, proposeBelow: 8, promises: [], entries };
  recovery.take(record);
  return recovery;
}

test("a state of another node that ends before the own log is continued by what was decided since", () => {
  const { state, ran } = stateOf(2, 1);
  const before = [0, 1, 2, 3, 4].flatMap(decided);
  const recovery = replay(state, [...formed, ...before, { kind: "generation", generation: 1, slot: 2 }, ...decided(2)]);
  expect([recovery.applied, ran]).toEqual([3, [2]]);
  // Slots [0, 3) are in the journal that went back to where the state ended.
  recovery.checkComplete(3);
  expect(recovery.ballots.map(({ slot }) => slot)).toEqual([3, 4]);
  expect(recovery.batches.map(({ id }) => id.sequence)).toEqual([3, 4]);
});

test("a state of another node of which the journal has not heard is continued by nothing that is there", () => {
  const { state, ran } = stateOf(2, 1);
  const recovery = replay(state, [...formed, ...[0, 1, 2, 3].flatMap(decided)]);
  expect([recovery.applied, ran, recovery.isInstalledLater]).toEqual([2, [], true]);
  recovery.checkComplete(4);
});

test("the state that the journal began with is continued by all that was decided", () => {
  const { state, ran } = stateOf(2, 0);
  const recovery = replay(state, [...formed, ...[0, 1, 2, 3].flatMap(decided)]);
  expect([recovery.applied, ran, recovery.ballots]).toEqual([4, [2, 3], []]);
});
