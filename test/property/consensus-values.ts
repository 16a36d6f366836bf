// Owns: random batch ids, values, ballots and messages of consensus.
import * as fc from "fast-check";
import { parseNodeId, type NodeUid } from "../../src/base/ids.ts";
import {
  type Ballot,
  type BatchId,
  type LogEntry,
  type Message,
  NULL_OUTCOME,
  type Outcome,
  UNSURE,
  type VoteChoice,
  valueOf,
} from "../../src/consensus/core/message.ts";

export const nodes = fc.constantFrom("n1", "n2", "n3").map(parseNodeId);
export const uids = fc.constantFrom("u1", "u2", "u3").map(uidNamed);
export const counts = fc.oneof(fc.nat(5), fc.maxSafeNat());
export const contents = fc.uint8Array({ maxLength: 64 });

export const batchIds: fc.Arbitrary<BatchId> = fc.record({ origin: uids, incarnation: fc.nat(3), sequence: fc.nat(9) });
export const values = fc.uniqueArray(batchIds, { maxLength: 4, selector: (id) => JSON.stringify(id) }).map(valueOf);
export const outcomes: fc.Arbitrary<Outcome> = fc.oneof(values, fc.constant(NULL_OUTCOME));
export const choices: fc.Arbitrary<VoteChoice> = fc.oneof(outcomes, fc.constant(UNSURE));

export const ballots: fc.Arbitrary<Ballot> = fc.oneof(
  fc.record({ kind: fc.constant("vote"), slot: counts, phase: fc.nat(4), choice: choices } as const),
  fc.record({ kind: fc.constant("state"), slot: counts, phase: fc.nat(4), choice: outcomes } as const),
);

const logEntries: fc.Arbitrary<LogEntry> = fc.record({
  slot: counts,
  outcome: outcomes,
  contents: fc.array(fc.option(contents, { nil: undefined }), { maxLength: 3 }),
});

const seeds = fc.option(fc.string({ maxLength: 12 }), { nil: undefined });
const genesis = fc.record({
  windowSlots: counts,
  seed: seeds,
  voters: fc.array(
    fc.record({ node: nodes, uid: uids, share: fc.string({ maxLength: 8 }), address: fc.string({ maxLength: 8 }) }),
    { maxLength: 3 },
  ),
});

const refusals = fc.record({
  code: fc.constantFrom("E_DATA_LOST" as const, "E_DATA_FOREIGN" as const, "E_REMOVED" as const),
  message: fc.string({ maxLength: 60 }),
  isProof: fc.boolean(),
});

export const messages: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ kind: fc.constant("batch"), id: batchIds, commands: contents } as const),
  fc.record({ kind: fc.constant("proposal"), slot: counts, value: values } as const),
  fc.record({ kind: fc.constant("ballot"), ballot: ballots, writeNumber: counts } as const),
  fc.record({ kind: fc.constant("decision"), slot: counts, outcome: outcomes } as const),
  fc.record({
    kind: fc.constant("decision"),
    slot: counts,
    outcome: outcomes,
    heard: fc.array(fc.record({ startId: fc.string({ maxLength: 20 }), writeNumber: counts }), { maxLength: 7 }),
  } as const),
  fc.record({ kind: fc.constant("pull-batches"), ids: fc.array(batchIds, { maxLength: 4 }) } as const),
  fc.record({ kind: fc.constant("pull-slots"), slots: fc.array(counts, { maxLength: 4 }) } as const),
  fc.record({ kind: fc.constant("pull-log"), from: counts } as const),
  fc.record({ kind: fc.constant("log"), from: counts, entries: fc.array(logEntries, { maxLength: 3 }) } as const),
  fc.record({
    kind: fc.constant("status"),
    applied: counts,
    decided: counts,
    voted: counts,
    doubtBelow: counts,
    synced: counts,
    logStart: counts,
    hashes: fc.array(fc.record({ slot: counts, hash: counts }), { maxLength: 3 }),
  } as const),
  fc.record({ kind: fc.constant("read-index"), nonce: counts } as const),
  fc.record({ kind: fc.constant("read-index-reply"), nonce: counts, voted: counts } as const),
  fc.record({
    kind: fc.constant("hello"),
    uid: uids,
    startId: fc.string({ maxLength: 12 }),
    startWrite: counts,
    doubtBelow: counts,
    share: fc.string({ maxLength: 12 }),
    listDigest: fc.option(fc.string({ maxLength: 12 }), { nil: undefined }),
    isFormed: fc.boolean(),
    wantsHello: fc.boolean(),
    address: fc.string({ maxLength: 12 }),
    isJoining: fc.boolean(),
    supportedVersion: fc.nat(9),
    seed: seeds,
    genesis: fc.option(genesis, { nil: undefined }),
  } as const),
  fc.record({
    kind: fc.constant("hello-reply"),
    startId: fc.string({ maxLength: 12 }),
    refusal: fc.option(refusals, { nil: undefined }),
  } as const),
);

/** Plain test ids stand for the random ones of real data directories. */
export function uidNamed(name: string): NodeUid {
  return name as NodeUid;
}

/** Buffers and plain arrays of equal bytes are equal here. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
