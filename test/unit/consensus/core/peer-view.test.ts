import { beforeEach, expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { LOOK_MS_MAX, type Peer, PeerView, SILENCE_MS_MAX } from "../../../../src/consensus/core/peer-view.ts";
import { uidNamed } from "../../../property/consensus-values.ts";

const SELF = { node: parseNodeId("n1"), uid: uidNamed("u1") };
let view: PeerView;
let peer: Peer;

beforeEach(() => {
  view = new PeerView(SELF, []);
  peer = view.ensure(parseNodeId("n2"));
  peer.isUp = true;
  peer.heardMs = 0;
});

/** Looks as a node does that has nothing else to do. */
function lookUntil(fromMs: number, toMs: number): void {
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += 50) view.look(nowMs);
}

test("a peer that says nothing for a second while this node looks is not alive", () => {
  lookUntil(0, SILENCE_MS_MAX - 50);
  expect(view.isAlive(peer, SILENCE_MS_MAX - 1)).toBe(true);
  view.look(SILENCE_MS_MAX);
  expect(view.isAlive(peer, SILENCE_MS_MAX)).toBe(false);
});

test("while this node is kept from looking nobody is taken for dead, and afterwards each has its time", () => {
  lookUntil(0, 100);
  const busyUntilMs = 10_000;
  expect(view.isAlive(peer, busyUntilMs)).toBe(true);
  view.look(busyUntilMs);
  expect(view.isAlive(peer, busyUntilMs)).toBe(true);
  lookUntil(busyUntilMs, busyUntilMs + SILENCE_MS_MAX - 150);
  expect(view.isAlive(peer, busyUntilMs + SILENCE_MS_MAX - 101)).toBe(true);
  lookUntil(busyUntilMs + SILENCE_MS_MAX - 150, busyUntilMs + SILENCE_MS_MAX);
  expect(view.isAlive(peer, busyUntilMs + SILENCE_MS_MAX)).toBe(false);
});

test("a peer without a connection is not alive, however busy this node was", () => {
  view.look(0);
  peer.isUp = false;
  expect(view.isAlive(peer, LOOK_MS_MAX)).toBe(false);
  view.look(10_000);
  expect(view.isAlive(peer, 10_000)).toBe(false);
});
