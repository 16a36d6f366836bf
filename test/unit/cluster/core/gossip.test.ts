import { expect, test } from "vitest";
import { encode } from "../../../../src/base/codec.ts";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { encodeGossip, parseGossip } from "../../../../src/cluster/core/gossip.ts";

test("gossip comes back as it was sent", () => {
  const suspects = [parseNodeId("n2"), parseNodeId("n3")];
  const gossip = { incarnation: 7, suspects, applied: 12, catchUp: undefined };
  expect(parseGossip(encodeGossip(gossip))).toEqual(gossip);
  for (const kind of ["log", "snapshot"] as const) {
    const far = { ...gossip, applied: undefined, catchUp: { kind, slotsBehind: 70_000, bytesReceived: 12_345 } };
    expect(parseGossip(encodeGossip(far))).toEqual(far);
  }
});

test("gossip of a build that says less, or more, is read", () => {
  const said = { incarnation: 1, suspects: [], applied: undefined, catchUp: undefined };
  expect(parseGossip(encode([1, 1, []]))).toEqual(said);
  expect(parseGossip(encode([1, 1, [], "?", ["?"], "something new"]))).toEqual(said);
});

test("what is not gossip is refused without a throw", () => {
  const values = [null, [2, 1, []], [1, "x", []], [1, 1, ["No!"]], { version: 1 }];
  const payloads = [new Uint8Array(0), Uint8Array.of(0xc1, 0xff), ...values.map((value) => encode(value))];
  for (const payload of payloads) expect(parseGossip(payload)).toBeUndefined();
});
