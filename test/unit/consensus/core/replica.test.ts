import { expect, test } from "vitest";
import { type NodeId, parseNodeId } from "../../../../src/base/ids.ts";
import { SeededRandom } from "../../../../src/base/random.ts";
import { DedupeTable } from "../../../../src/consensus/core/dedupe-table.ts";
import type { FirstVoter } from "../../../../src/consensus/core/effects.ts";
import { LogState } from "../../../../src/consensus/core/log-state.ts";
import { Membership } from "../../../../src/consensus/core/membership.ts";
import type { Message } from "../../../../src/consensus/core/message.ts";
import { type RecoveredState, Replica } from "../../../../src/consensus/core/replica.ts";
import { uidNamed } from "../../../property/consensus-values.ts";

const [A, B, C] = ["a", "b", "c"].map(parseNodeId) as [NodeId, NodeId, NodeId];
const WINDOW_SLOTS = 16;
const LIST: readonly FirstVoter[] = [A, B, C].map((node) => {
  return { node, uid: uidNamed(`uid-${node}`), share: `share-${node}`, address: `ws://${node}` };
});

test("a voter whose state was set aside still counts for reads the votes that were cut off its log (C9)", () => {
  const replica = accepted({ applied: 0, needsState: true, logStart: 1_000 });
  const { sends } = replica.step({ kind: "message", from: B, message: { kind: "read-index", nonce: 7 } }, 1);
  const replies = sends.map(({ message }) => message).filter(({ kind }) => kind === "read-index-reply");
  expect(replies).toEqual([{ kind: "read-index-reply", nonce: 7, voted: 1_000 }]);
});

test("a voter whose state was set aside takes none that ends before its log: it may have voted there (C1)", () => {
  const replica = accepted({ applied: 0, needsState: true, logStart: 1_000 });
  expect([999, 1_000].map((applied) => replica.wantsState(applied))).toEqual([false, true]);
});

/** Voter a after a start that b has accepted. */
function accepted(found: Pick<RecoveredState, "applied" | "needsState" | "logStart">): Replica {
  const membership = Membership.unformed([A, B, C], WINDOW_SLOTS);
  membership.form(LIST);
  const start = { startId: "start-a", startWrite: 10, address: "ws://a", seed: undefined };
  const config = {
    firstVoters: [A, B, C], windowSlots: WINDOW_SLOTS, pipelineSlots: 8, planted: undefined, choices: undefined,
  };
  const replica = new Replica(
    config,
    {
      ...found,
      self: { node: A, uid: uidNamed("uid-a"), share: "share-a", ...start },
      incarnation: 2,
      admission: { voters: LIST, isFormed: true, seed: undefined },
      log: new LogState(new DedupeTable(), membership),
      proposeBelow: 2_000,
      ballots: [],
      batches: [],
      promises: [],
    },
    new SeededRandom(1),
  );
  replica.step({ kind: "peer", node: B, state: "up" }, 0);
  for (const message of [helloOfB(), { kind: "hello-reply", startId: "start-a", refusal: undefined }] as const) {
    replica.step({ kind: "message", from: B, message }, 0);
  }
  return replica;
}

function helloOfB(): Message {
  return {
    kind: "hello",
    uid: uidNamed("uid-b"),
    startId: "start-b",
    startWrite: 10,
    doubtBelow: 0,
    share: "",
    listDigest: undefined,
    isFormed: true,
    wantsHello: false,
    address: "ws://b",
    isJoining: false,
    supportedVersion: 1,
    seed: undefined,
    genesis: undefined,
  };
}
