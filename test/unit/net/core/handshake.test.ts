import { describe, expect, test } from "vitest";
import { encode } from "../../../../src/base/codec.ts";
import { parseNodeId } from "../../../../src/base/ids.ts";
import {
  type ConnectedPeer,
  type Hello,
  type HelloContext,
  judgeHello,
  type Judgement,
} from "../../../../src/net/core/handshake.ts";
import { decodeHandshake, encodeHandshake, HANDSHAKE_BYTES_MAX } from "../../../../src/net/core/handshake-codec.ts";

const n1 = parseNodeId("n1");
const n2 = parseNodeId("n2");
const n3 = parseNodeId("n3");
const own: Hello = { versions: { min: 1, max: 1 }, cluster: "demo", node: n2, process: "own" };
const theirs: Hello = { versions: { min: 1, max: 1 }, cluster: "demo", node: n1, process: "theirs" };
const accepting: HelloContext = {
  own,
  isKnown: (node) => [n1, n2, n3].includes(node),
  hasRoomForGuest: true,
  dialed: undefined,
  connected: () => undefined,
};

function refusalOf(judgement: Judgement): string {
  return judgement.kind === "refused" ? judgement.refusal.kind : "none";
}

describe("a hello", () => {
  test("of a known peer is accepted with the highest version both speak", () => {
    const context = { ...accepting, own: { ...own, versions: { min: 2, max: 5 } } };
    const hello = { ...theirs, versions: { min: 1, max: 4 } };
    expect(judgeHello(hello, context)).toEqual({ kind: "accepted", version: 4 });
  });

  test("without a version in common is refused with E_VERSION, naming both ranges", () => {
    const judgement = judgeHello({ ...theirs, versions: { min: 2, max: 3 } }, accepting);
    expect(judgement).toEqual({
      kind: "refused",
      refusal: {
        kind: "version",
        text:
          "E_VERSION: n2 speaks protocol versions 1 and n1 speaks 2 to 3; " +
          "run releases on both that have one in common",
      },
    });
  });

  test("of another cluster is refused", () => {
    expect(refusalOf(judgeHello({ ...theirs, cluster: "prod" }, accepting))).toBe("cluster");
  });

  test("of a node that is not known is accepted while there is room: consensus says what it is", () => {
    const hello = { ...theirs, node: parseNodeId("n0") };
    expect(judgeHello(hello, accepting).kind).toBe("accepted");
    expect(refusalOf(judgeHello(hello, { ...accepting, hasRoomForGuest: false }))).toBe("too-many-guests");
  });

  test("from the own process is a node that dialed itself", () => {
    expect(refusalOf(judgeHello(own, accepting))).toBe("self");
  });

  test("with the own id from another process is a second node of that id", () => {
    expect(refusalOf(judgeHello({ ...own, process: "else" }, accepting))).toBe("same-id");
  });

  test("from a second process is refused while the first one of that id is connected", () => {
    const context = { ...accepting, connected: () => ({ process: "first", isRegular: true }) };
    expect(refusalOf(judgeHello(theirs, context))).toBe("same-id");
  });

  test("from the connected process itself is a newer connection, and accepted", () => {
    const context = { ...accepting, connected: () => ({ process: theirs.process, isRegular: true }) };
    expect(judgeHello(theirs, context).kind).toBe("accepted");
  });

  test("of another node than the one dialed is refused", () => {
    const context: HelloContext = { ...accepting, dialed: { kind: "node", node: n3 } };
    expect(refusalOf(judgeHello({ ...theirs, node: n1 }, context))).toBe("other-node");
  });

  test("of a guest is accepted whichever id is lower", () => {
    for (const node of [parseNodeId("n0"), n3, parseNodeId("n9")]) {
      expect(judgeHello({ ...theirs, node, isGuest: true }, accepting).kind).toBe("accepted");
    }
  });

  test("of a guest that dialed downwards never replaces the connection of the regular direction", () => {
    const hello = { ...theirs, node: n3, isGuest: true };
    const connected = (): ConnectedPeer => ({ process: hello.process, isRegular: true });
    expect(refusalOf(judgeHello(hello, { ...accepting, connected }))).toBe("already-connected");
  });

  test("of a higher id that dialed is refused: the lower id dials", () => {
    expect(refusalOf(judgeHello({ ...theirs, node: n3 }, accepting))).toBe("direction");
  });
});

describe("handshake frames", () => {
  test("round trip a hello", () => {
    const hello = { ...theirs, isGuest: true };
    expect(decodeHandshake(encodeHandshake({ kind: "hello", hello }))).toEqual({ kind: "hello", hello });
  });

  test("round trip ready and refusals", () => {
    const refusal = { kind: "cluster", text: "another cluster" } as const;
    expect(decodeHandshake(encodeHandshake({ kind: "ready" }))).toEqual({ kind: "ready" });
    expect(decodeHandshake(encodeHandshake({ kind: "refusal", refusal }))).toEqual({ kind: "refusal", refusal });
  });

  test("keep a peer's sentence to one bounded line of our log", () => {
    const text = `first\nsecond\u001b[31m${"x".repeat(2_000)}`;
    const decoded = decodeHandshake(encodeHandshake({ kind: "refusal", refusal: { kind: "self", text } }));
    expect(decoded.kind === "refusal" && decoded.refusal.text).toMatch(/^first\?second\?\[31mx{1,600}$/);
  });

  test("carry a refusal whose reason is newer than this build", () => {
    const body = encode({ kind: "refusal", reason: "banned", text: "you are banned" });
    const frame = Buffer.concat([Uint8Array.of(0x41, 0x45, 0x54, 0x48, 1), body]);
    expect(decodeHandshake(frame)).toEqual({ kind: "refusal", refusal: { kind: "malformed", text: "you are banned" } });
  });

  test("with a bad id, an empty range, no fields, or too many bytes are malformed", () => {
    const wire = { kind: "hello", versionMin: 1, versionMax: 1, cluster: "demo", node: "n1", process: "p" };
    const magic = Uint8Array.of(0x41, 0x45, 0x54, 0x48, 1);
    const frameOf = (body: unknown): Uint8Array => Buffer.concat([magic, encode(body)]);
    expect(decodeHandshake(frameOf(wire)).kind).toBe("hello");
    for (const bad of [{ ...wire, node: "N 1" }, { ...wire, versionMin: 2 }, { ...wire, cluster: 7 }, {}, null, 5]) {
      expect(decodeHandshake(frameOf(bad)).kind).toBe("malformed");
    }
    expect(decodeHandshake(frameOf({ ...wire, more: "x".repeat(HANDSHAKE_BYTES_MAX) })).kind).toBe("malformed");
  });
});
