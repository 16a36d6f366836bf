import { expect, test } from "vitest";
import { encode } from "../../../../src/base/codec.ts";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { encodeGossip, parseGossip } from "../../../../src/cluster/core/gossip.ts";

test("gossip comes back as it was sent", () => {
  const gossip = { incarnation: 7, suspects: [parseNodeId("n2"), parseNodeId("n3")] };
  expect(parseGossip(encodeGossip(gossip))).toEqual(gossip);
});

test("what is not gossip is refused without a throw", () => {
  const values = [null, [2, 1, []], [1, "x", []], [1, 1, ["No!"]], { version: 1 }];
  const payloads = [new Uint8Array(0), Uint8Array.of(0xc1, 0xff), ...values.map((value) => encode(value))];
  for (const payload of payloads) expect(parseGossip(payload)).toBeUndefined();
});
