// Bytes from outside, in every codec: damaged, cut, invented or meant to harm. Each is read as what it is or refused
// with the error of its door; nothing else is thrown, nothing hostile is revived, and no few bytes cost much memory.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeUntrusted, encode } from "../../src/base/codec.ts";
import { AetherError } from "../../src/base/errors.ts";
import { parseNodeId, parseNodeUid } from "../../src/base/ids.ts";
import { decodeFrame as decodeClientFrame, messagesOf } from "../../src/api/frame.ts";
import {
  clientHelloFields, clientMessageFields, nodeHelloFields, nodeMessageFields, parseClientHello, parseClientMessage,
  parseNodeHello, parseNodeMessage, type ClientMessage,
} from "../../src/api/protocol.ts";
import { checkTxnCommand } from "../../src/api/core/txn-command.ts";
import { encodeGossip, parseGossip } from "../../src/cluster/membership/core/gossip.ts";
import { decodeRecord, encodeRecord } from "../../src/consensus/core/journal-record.ts";
import { decodeMessages } from "../../src/consensus/core/message-codec.ts";
import { decodeSnapshotMessage, encodeSnapshotMessage } from "../../src/consensus/core/snapshot-message.ts";
import { encodeCallMessage, parseCallMessage } from "../../src/invocation/core/call-codec.ts";
import { parseCommand } from "../../src/kvstore/core/command.ts";
import { parseKeyText } from "../../src/kvstore/core/key.ts";
import { decodeSnapshotChunk, encodeSnapshotChunk } from "../../src/kvstore/core/snapshot-chunk.ts";
import { encodeTxn } from "../../src/kvstore/core/txn.ts";
import { encodeFrame, decodeFrame as decodePeerFrame } from "../../src/net/core/frame.ts";
import { decodeHandshake, encodeHandshake } from "../../src/net/core/handshake-codec.ts";

const key = parseKeyText("data/a");
const put = encodeTxn({ compare: [], then: [{ kind: "put", key, value: { n: [1, "two"] } }], else: [] });
const guarded = encodeTxn({
  compare: [{ key, target: "value", op: "=", value: 7 }, { key, target: "exists", op: "!=", value: true }],
  then: [{ kind: "delete", key }, { kind: "put", key, value: 1, lease: 3 }],
  else: [{ kind: "get", key }],
}, { session: 9, id: 4 });

const CLIENT_MESSAGES: readonly ClientMessage[] = [
  { kind: "get", id: 1, timeoutMs: 100, key: "data/a", consistency: "local" },
  { kind: "list", id: 2, timeoutMs: 100, prefix: "data/", limit: 10, after: undefined, consistency: "linearizable" },
  { kind: "txn", id: 3, timeoutMs: 100, command: put },
  { kind: "watch", id: 4, prefix: "data/" },
  { kind: "cancel", id: 4 },
  { kind: "members", id: 5 },
];

const HELLO = {
  versions: { min: 1, max: 1 }, cluster: "test", node: parseNodeId("n1"), process: "0123456789abcdef01234567",
};

const GOSSIP = {
  incarnation: 3,
  suspects: [parseNodeId("n2")],
  applied: 4,
  catchUp: { kind: "log", slotsBehind: 1, bytesReceived: 2 },
  tallies: [{
    slice: "orders", rollout: 5,
    target: { calls: 2, errors: 1, buckets: [0, 2] }, previous: { calls: 1, errors: 0, buckets: [1] },
  }],
  wallMs: 1_700_000_000_000,
} as const;

const RECORD = {
  number: 1,
  proposeBelow: 10,
  promises: [{ node: parseNodeId("n2"), uid: parseNodeUid("0123456789abcdef"), startId: "s", writeNumber: 4 }],
  entries: [{ kind: "start", incarnation: 1, startId: "s" }],
} as const;

interface Door {
  readonly name: string;
  /** Good bytes. */
  readonly samples: readonly Uint8Array[];
  /** Whether the bytes were taken; throws only what its callers expect. */
  read(bytes: Uint8Array): boolean;
}

/** A door that throws AetherErrors, and only those. */
function throwing(name: string, samples: readonly Uint8Array[], read: (bytes: Uint8Array) => void): Door {
  const taken = (bytes: Uint8Array): boolean => {
    try {
      read(bytes);
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(AetherError);
      return false;
    }
  };
  return { name, samples, read: taken };
}

const DOORS: readonly Door[] = [
  throwing(
    "messages of a client",
    [Buffer.from(encode(CLIENT_MESSAGES.map(clientMessageFields)))],
    (bytes) => void messagesOf(bytes).map(parseClientMessage),
  ),
  throwing(
    "messages of a node",
    [encode([nodeMessageFields({ kind: "error", id: 1, error: { code: "E_TIMEOUT", message: "late" } })])],
    (bytes) => void messagesOf(bytes).map(parseNodeMessage),
  ),
  throwing(
    "the hello of a client",
    [encode(clientHelloFields({ versionMin: 1, versionMax: 2 }))],
    (bytes) => void parseClientHello(decodeClientFrame(bytes)),
  ),
  throwing(
    "the hello of a node",
    [encode(nodeHelloFields({ kind: "welcome", version: 2, node: "n1", isReady: true }))],
    (bytes) => void parseNodeHello(decodeClientFrame(bytes)),
  ),
  throwing("a transaction", [put, guarded], checkTxnCommand),
  {
    name: "a command of the log",
    samples: [put, guarded],
    read: (bytes) => {
      try {
        return parseCommand(decodeUntrusted(bytes, bytes.byteLength)).kind !== "malformed";
      } catch (error) {
        expect(error).toBeInstanceOf(AetherError);
        return false;
      }
    },
  },
  {
    name: "a call between nodes",
    samples: [
      encodeCallMessage({ kind: "request", id: 1, instance: "n1/a/0", method: "m", timeoutMs: 10, input: { a: [1] } }),
      encodeCallMessage({ kind: "cancel", id: 1 }),
    ],
    read: (bytes) => parseCallMessage(bytes).kind !== "refused",
  },
  {
    name: "gossip",
    samples: [encodeGossip(GOSSIP)],
    read: (bytes) => parseGossip(bytes) !== undefined,
  },
  {
    name: "messages of consensus",
    samples: [encode([1, [1, "u1", 1, 1, put]])],
    read: (bytes) => decodeMessages(bytes) !== undefined,
  },
  {
    name: "messages about a snapshot",
    samples: [
      encodeSnapshotMessage({ kind: "request", transfer: "t", from: 3 }),
      encodeSnapshotMessage({ kind: "chunk", transfer: "t", index: 3, isLast: false, bytes: put }),
    ],
    read: (bytes) => decodeSnapshotMessage(bytes) !== undefined,
  },
  {
    name: "a frame of a peer",
    samples: [encodeFrame(1, [{ channel: 1, payload: put }, { channel: 2, payload: guarded }])],
    read: (bytes) => decodePeerFrame(1, bytes).kind === "messages",
  },
  {
    name: "a handshake",
    samples: [encodeHandshake({ kind: "hello", hello: HELLO }), encodeHandshake({ kind: "ready" })],
    read: (bytes) => decodeHandshake(bytes).kind !== "malformed",
  },
  throwing("a record of the journal", [encodeRecord(RECORD, 0).bytes], (bytes) => void decodeRecord(bytes, 0)),
  throwing(
    "a chunk of a snapshot",
    [encodeSnapshotChunk({ kind: "rows", index: 0, rows: [[Buffer.from("k"), Buffer.from("v")]] })],
    (bytes) => void decodeSnapshotChunk(bytes),
  ),
];

/** What is guarded by a checksum: any damage is found, not only what makes no sense. */
const CHECKED = ["a frame of a peer", "a record of the journal", "a chunk of a snapshot"];

describe.each(DOORS)("$name", ({ name, samples, read }) => {
  const sample = fc.constantFrom(...samples);

  test("good bytes are taken", () => {
    for (const bytes of samples) expect(read(bytes)).toBe(true);
  });

  test("flipped bits are read or refused", () => {
    const flips = fc.array(fc.tuple(fc.nat(), fc.nat(7)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(sample, flips, (good, places) => {
        const bytes = Buffer.from(good);
        for (const [at, bit] of places) bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ (1 << bit);
        const isTaken = read(bytes);
        if (CHECKED.includes(name)) expect(isTaken && !bytes.equals(good)).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });

  test("cut and stretched bytes are refused", () => {
    fc.assert(
      fc.property(sample, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 8 }), (good, at, more) => {
        expect(read(good.subarray(0, at % good.length))).toBe(false);
        const stretched = Buffer.concat([good, more]);
        // A handshake of a later version may say more than we know.
        if (name !== "a handshake") expect(read(stretched)).toBe(false);
        else read(stretched);
      }),
      { numRuns: 300 },
    );
  });

  test("random bytes, and data of any shape, are read or refused", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => void read(bytes)),
      { numRuns: 500 },
    );
    const shape = fc.anything({ maxDepth: 3, withBigInt: false, withDate: false, withNullPrototype: false });
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.nat(20), shape), { maxLength: 8 }), (items) => {
        let bytes: Uint8Array;
        try {
          bytes = encode(items);
        } catch {
          // ignored: what cannot be encoded does not come
          return;
        }
        read(bytes);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ["an array", [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ["an array that memory could hold", [0xdd, 0x01, 0xff, 0xff, 0xff]],
    ["a map", [0xdf, 0xff, 0xff, 0xff, 0xff]],
    ["bytes", [0xc6, 0xff, 0xff, 0xff, 0xff]],
    ["text", [0xdb, 0xff, 0xff, 0xff, 0xff]],
  ])("%s that promises gigabytes costs nothing", (_what, head) => {
    const wraps = [[], [0x92, 0x01], [0x94, 1, 0x90]];
    const hostile = wraps.map((wrap) => Buffer.from([...wrap, ...head]));
    const before = process.memoryUsage();
    for (let round = 0; round < 50; round++) for (const bytes of hostile) expect(read(bytes)).toBe(false);
    const after = process.memoryUsage();
    expect(after.heapTotal + after.external - before.heapTotal - before.external).toBeLessThan(64 * 1024 * 1024);
  });
});

test("a name that is an object, and no text, is no name: turning it into one could throw", () => {
  expect(parseGossip(encode([1, 1, [{ toString: 1, valueOf: 2 }]]))).toBeUndefined();
});

describe("what msgpack could revive", () => {
  const EXTENSIONS: readonly (readonly [string, readonly number[]])[] = [
    ["a date", [0xd6, 0xff, 0, 0, 0, 1]],
    ["an error", [0xc7, 1, 0x65, 0x90]],
    ["a set", [0xc7, 1, 0x73, 0x90]],
    ["a regular expression", [0xc7, 3, 0x78, 0x92, 0xa0, 0xa0]],
    ["a buffer of numbers", [0xc7, 2, 0x74, 0x06, 0x01]],
    ["a pointer to itself", [0xd6, 0x70, 0, 0, 0, 1]],
    ["a record of its own making", [0xd4, 0x72, 0x40]],
  ];

  test.each(EXTENSIONS)("%s passes no door", (_what, extension) => {
    const value = Buffer.from(extension);
    const call = Buffer.concat([Buffer.from([0x98, 1, 1, 0xa1, 0x61, 0xa1, 0x6d, 10, 0xc0, 0xc0]), value]);
    expect(parseCallMessage(call).kind).toBe("refused");
    const head = Buffer.from([0x91, 0x98, 5, 1, 10, 0xa1, 0x61, 0xa1, 0x6d]);
    const inFrame = Buffer.concat([head, value, Buffer.from([0xc0, 0xc0])]);
    expect(() => messagesOf(inFrame)).toThrow(expect.objectContaining({ code: "E_INVALID" }));
    const command = encode([1, [], [[0, "data/a", value]], []]);
    expect(() => checkTxnCommand(command)).toThrow(expect.objectContaining({ code: "E_INVALID" }));
  });

  test.each(["__proto__", "constructor", "prototype"])("a key %s is data like any other, and nothing else", (name) => {
    // Written by hand: an encoder might refuse to.
    const text = Buffer.from(name);
    const admin = Buffer.concat([Buffer.from([0x81, 0xa5]), Buffer.from("admin"), Buffer.from([0xc3])]);
    const value = Buffer.concat([Buffer.from([0x81, 0xa0 | text.length]), text, admin]);
    const call = Buffer.concat([Buffer.from([0x98, 1, 1, 0xa1, 0x61, 0xa1, 0x6d, 10, 0xc0, 0xc0]), value]);
    const parsed = parseCallMessage(call);
    expect(parsed.kind).toBe("request");
    const input: unknown = parsed.kind === "request" ? parsed.input : undefined;
    expect(Object.getPrototypeOf(input)).toBe(Object.prototype);
    expect((input as { admin?: boolean }).admin).toBeUndefined();
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });
});
