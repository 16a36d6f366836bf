import { beforeEach, expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { Admission, type AdmissionState, type SelfIdentity } from "../../../../src/consensus/core/admission.ts";
import { Effects, type FirstVoter } from "../../../../src/consensus/core/effects.ts";
import type { Message, Refusal } from "../../../../src/consensus/core/message.ts";
import { Membership } from "../../../../src/consensus/core/membership.ts";
import { PeerView } from "../../../../src/consensus/core/peer-view.ts";
import { uidNamed } from "../../../property/consensus-values.ts";

type Hello = Extract<Message, { kind: "hello" }>;

const A = parseNodeId("a");
const B = parseNodeId("b");
const C = parseNodeId("c");
const NODES = [A, B, C];
const WINDOW_SLOTS = 16;
const LIST: readonly FirstVoter[] = NODES.map((node) => {
  return { node, uid: uidNamed(`uid-${node}`), share: `share-${node}`, address: `ws://${node}` };
});
/** What a hello says whose data directory has no list of voters. */
const EMPTY = { listDigest: undefined, isFormed: false } as const;
const SELF = selfOf("a");

let effects: Effects;
let peers: PeerView;

beforeEach(() => {
  effects = new Effects();
  peers = new PeerView(SELF, []);
});

function formed(): Admission {
  return admissionOf(SELF, { voters: LIST, isFormed: true });
}

function selfOf(name: string): SelfIdentity {
  const node = parseNodeId(name);
  const start = { startId: `start-${name}`, startWrite: 10, address: `ws://${name}`, seed: undefined };
  return { node, uid: uidNamed(`uid-${name}`), share: `share-${name}`, ...start };
}

function admissionOf(self: SelfIdentity, state: AdmissionState, windowSlots = WINDOW_SLOTS): Admission {
  const membership = Membership.unformed(NODES, windowSlots);
  if (state.isFormed) membership.form(LIST);
  return admissionWith(self, state, { membership, applied: 0, synced: 0 }, windowSlots);
}

function admissionWith(
  self: SelfIdentity,
  state: AdmissionState,
  at: { readonly membership: Membership; readonly applied: number; readonly synced: number },
  windowSlots = WINDOW_SLOTS,
): Admission {
  const { membership, applied, synced } = at;
  const progress = { applied: () => applied, synced: () => synced };
  const options = { self, firstVoters: NODES, windowSlots, membership, ...progress };
  return new Admission(options, { ...state, seed: undefined });
}

function promised(startId: string, startWrite: number): void {
  peers.startAccepted(B, uidNamed("uid-b"), { startId, startWrite });
}

/** What the voter `name` says at its start: with the list on disk, or `EMPTY`. */
function helloOf(name: string, change: Partial<Hello> = {}): Hello {
  const { isFormed = true } = change;
  const hello = admissionOf(selfOf(name), { voters: LIST, isFormed }).hello(A, 0);
  if (hello.kind !== "hello") throw new TypeError("a hello is a hello");
  return { ...hello, ...change };
}

function refusals(): readonly (string | undefined)[] {
  return effects.sends.flatMap(({ message }) => (message.kind === "hello-reply" ? [message.refusal?.code] : []));
}

test("a voter with the list and a higher write number than before is accepted and told so", () => {
  const admission = formed();
  promised("an earlier start", 9);
  admission.onHello(B, helloOf("b"), peers, effects);
  expect(admission.hasMet(B)).toBe(true);
  expect(refusals()).toEqual([undefined]);
});

test("a start that does not go beyond what was promised before is refused: the disk is older than it was", () => {
  const admission = formed();
  promised("an earlier start", 10);
  admission.onHello(B, helloOf("b"), peers, effects);
  expect(admission.hasMet(B)).toBe(false);
  expect(refusals()).toEqual(["E_DATA_LOST"]);
});

test("the hello of one start may come again, also after its ballots were heard", () => {
  const admission = formed();
  admission.onHello(B, helloOf("b"), peers, effects);
  const peer = peers.get(B);
  if (peer !== undefined) peer.writeNumber = 99;
  admission.onHello(B, helloOf("b"), peers, effects);
  expect(refusals()).toEqual([undefined, undefined]);
});

test("another list of voters is foreign, another identity of a known voter is lost data", () => {
  const admission = formed();
  admission.onHello(B, helloOf("b", { uid: uidNamed("uid-x"), listDigest: "another" }), peers, effects);
  admission.onHello(B, helloOf("b", { uid: uidNamed("uid-x"), ...EMPTY }), peers, effects);
  expect(refusals()).toEqual(["E_DATA_FOREIGN", "E_DATA_LOST"]);
});

test("a voter whose new start is refused is not met any more: nothing that it says counts", () => {
  const admission = formed();
  admission.onHello(B, helloOf("b"), peers, effects);
  expect(admission.hasMet(B)).toBe(true);
  // The old connection may not have been seen to end before the new process speaks.
  admission.onHello(B, helloOf("b", { uid: uidNamed("uid-new"), startId: "wiped", ...EMPTY }), peers, effects);
  expect(admission.hasMet(B)).toBe(false);
});

test("ballots may leave once a quorum, this node included, has accepted this start", () => {
  const admission = formed();
  expect(admission.isAdmitted).toBe(false);
  admission.onHello(B, helloOf("b"), peers, effects);
  admission.onReply(B, { kind: "hello-reply", startId: "another start", refusal: undefined }, effects);
  expect(admission.isAdmitted).toBe(false);
  admission.onReply(B, { kind: "hello-reply", startId: SELF.startId, refusal: undefined }, effects);
  expect(admission.isAdmitted).toBe(true);
});

test("a new member is not stopped by what voters said, or say late, to the empty directory that it was", () => {
  const membership = Membership.unformed([], WINDOW_SLOTS);
  const progress = { membership, applied: () => 0, synced: () => 0 };
  const options = { self: SELF, firstVoters: [], windowSlots: WINDOW_SLOTS, ...progress };
  const admission = new Admission(options, { voters: LIST, isFormed: false, seed: undefined });
  const empty = { code: "E_DATA_LOST", message: "is empty", isProof: false } as const;
  const refuse = (node: typeof A, refusal: Refusal): void => {
    admission.onReply(node, { kind: "hello-reply", startId: SELF.startId, refusal }, effects);
  };
  refuse(B, empty);
  expect(admission.waitingFor()).toBe(empty.message);
  admission.formedWritten();
  refuse(C, empty);
  expect(effects.refused).toBeUndefined();
  expect(admission.waitingFor()).toMatch(/^needs 2 voters/);
  // What nobody says to an empty directory counts.
  refuse(B, { ...empty, code: "E_DATA_FOREIGN" });
  expect(effects.refused).toBeUndefined();
  refuse(C, { ...empty, code: "E_DATA_FOREIGN" });
  expect(effects.refused?.code).toBe("E_DATA_FOREIGN");
});

test("a voter that has not formed accepts nobody: it knows nothing that could speak against them", () => {
  const admission = admissionOf(SELF, { voters: LIST, isFormed: false });
  admission.onHello(B, helloOf("b", { isFormed: false }), peers, effects);
  expect(refusals()).toEqual([]);
  expect(admission.hasMet(B)).toBe(true);
});

test("a voter writes its list when all have met, and that it has formed when all have told the same list", () => {
  const admission = admissionOf(SELF, { voters: undefined, isFormed: false });
  expect(admission.onHello(B, helloOf("b", EMPTY), peers, effects).entry).toBeUndefined();
  const list = { kind: "voter-list", voters: LIST, seed: undefined };
  expect(admission.onHello(C, helloOf("c", EMPTY), peers, effects).entry).toEqual(list);
  expect(admission.onHello(B, helloOf("b", { isFormed: false }), peers, effects).entry).toBeUndefined();
  expect(admission.listWritten()).toBeUndefined();
  expect(admission.onHello(C, helloOf("c", { isFormed: false }), peers, effects).entry).toEqual({ kind: "formed" });
  expect(admission.isFormed).toBe(false);
  admission.formedWritten();
  expect(admission.isFormed).toBe(true);
});

test("an empty voter makes up no list of its own where the others have formed one", () => {
  const admission = admissionOf(SELF, { voters: undefined, isFormed: false });
  admission.onHello(B, helloOf("b"), peers, effects);
  expect(admission.onHello(C, helloOf("c"), peers, effects).entry).toBeUndefined();
});

test("what seeds the coin is told to nobody", () => {
  const hello = JSON.stringify(helloOf("b"));
  expect(hello).not.toContain(formed().secret);
  expect(hello).not.toContain("share-b");
});

test("voters that disagree about the window do not form one cluster", () => {
  const other = admissionOf(selfOf("b"), { voters: LIST, isFormed: false }, WINDOW_SLOTS * 2);
  const hello = other.hello(A, 0);
  if (hello.kind === "hello") formed().onHello(B, { ...hello, uid: uidNamed("uid-b") }, peers, effects);
  expect(refusals()).toEqual(["E_DATA_FOREIGN"]);
});

test("a removed voter is refused only once a list without it rules, with everything before it on this disk", () => {
  const membership = Membership.unformed(NODES, WINDOW_SLOTS);
  membership.form(LIST);
  const uid = uidNamed("uid-b");
  expect(membership.apply({ kind: "remove", node: B, uid, basis: 0 }, 5)).toMatchObject({ kind: "done" });
  const state = { voters: LIST, isFormed: true };
  for (const at of [
    { applied: 6, synced: 6 },
    // It could be needed again to decide what a power cut takes.
    { applied: 5 + WINDOW_SLOTS, synced: 4 + WINDOW_SLOTS },
    { applied: 5 + WINDOW_SLOTS, synced: 5 + WINDOW_SLOTS },
  ]) {
    admissionWith(SELF, state, { membership, ...at }).onHello(B, helloOf("b"), peers, effects);
  }
  expect(refusals()).toEqual([undefined, undefined, "E_REMOVED"]);
});
