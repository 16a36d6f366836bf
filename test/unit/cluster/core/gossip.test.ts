import { expect, test } from "vitest";
import { encode } from "../../../../src/base/codec.ts";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { encodeGossip, parseGossip } from "../../../../src/cluster/membership/core/gossip.ts";

const TALLY = {
  slice: "orders", rollout: 17,
  target: { calls: 3, errors: 1, buckets: [2, 0, 1] }, previous: { calls: 0, errors: 0, buckets: [] },
};

test("counts of calls that are not well-formed are left out, the others are read", () => {
  const wire = ["orders", 17, [3, 1, [2, 0, 1]], [0, 0, []]];
  const bad = [
    "x", [], ["orders", -1, [0, 0, []], [0, 0, []]], ["orders", 1, [0, 0, []]], ["orders", 1, [0.5, 0, []], [0, 0, []]],
    ["orders", 1, [1, 0, Array.from({ length: 33 }, () => 1)], [0, 0, []]], ["orders", 1, [1, 0, ["1"]], [0, 0, []]],
  ];
  expect(parseGossip(encode([1, 1, [], 1, null, [...bad, wire]]))?.tallies).toEqual([TALLY]);
  const many = Array.from({ length: 40 }, () => wire);
  expect(parseGossip(encode([1, 1, [], 1, null, many]))?.tallies).toHaveLength(16);
});

test("gossip comes back as it was sent", () => {
  const suspects = [parseNodeId("n2"), parseNodeId("n3")];
  const wallMs = 1_700_000_000_000.5;
  const gossip = { incarnation: 7, suspects, applied: 12, catchUp: undefined, tallies: [TALLY], wallMs };
  expect(parseGossip(encodeGossip(gossip))).toEqual(gossip);
  for (const kind of ["log", "snapshot"] as const) {
    const far = { ...gossip, applied: undefined, catchUp: { kind, slotsBehind: 70_000, bytesReceived: 12_345 } };
    expect(parseGossip(encodeGossip(far))).toEqual(far);
  }
});

test("gossip of a build that says less, or more, is read", () => {
  const said = { incarnation: 1, suspects: [], applied: undefined, catchUp: undefined, tallies: [], wallMs: undefined };
  expect(parseGossip(encode([1, 1, []]))).toEqual(said);
  expect(parseGossip(encode([1, 1, [], "?", ["?"], "?", "?", "something new"]))).toEqual(said);
  expect(parseGossip(encode([1, 1, [], null, null, [], Number.NaN]))).toEqual(said);
});

test("what is not gossip is refused without a throw", () => {
  const values = [null, [2, 1, []], [1, "x", []], [1, 1, ["No!"]], { version: 1 }];
  const payloads = [new Uint8Array(0), Uint8Array.of(0xc1, 0xff), ...values.map((value) => encode(value))];
  for (const payload of payloads) expect(parseGossip(payload)).toBeUndefined();
});
