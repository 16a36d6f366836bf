import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encode } from "../../../src/base/codec.ts";
import { encodeCallMessage, parseCallMessage, type CallMessage } from "../../../src/invocation/core/call-codec.ts";

const REQUEST: CallMessage = {
  kind: "request", id: 7, instance: "a:b:1.0.0/0", method: "m", timeoutMs: 10, input: { a: 1 },
};
const OVERLOADED = { code: "E_OVERLOADED", message: "full", outcome: "not-applied" } as const;
const THROWN = { code: "E_HANDLER", message: "x", details: { name: "N" } } as const;

describe("calls as bytes", () => {
  const messages: readonly CallMessage[] = [
    REQUEST,
    { ...REQUEST, input: undefined },
    { ...REQUEST, input: null },
    { ...REQUEST, input: [1, "é", new Uint8Array([1, 2]), { deep: [true, null] }] },
    { ...REQUEST, idempotencyKey: "k", traceparent: "t" },
    { ...REQUEST, idempotencyKey: "k", lostWhen: "suspected" },
    { ...REQUEST, input: null, lostWhen: "suspected" },
    { kind: "reply", id: 7, reply: { kind: "ok", output: undefined } },
    { kind: "reply", id: 7, reply: { kind: "ok", output: null } },
    { kind: "reply", id: 7, reply: { kind: "ok", output: [1], isReplayed: true } },
    { kind: "reply", id: 7, reply: { kind: "ok", output: undefined, isReplayed: true } },
    { kind: "reply", id: 7, reply: { kind: "not-started", error: OVERLOADED } },
    { kind: "reply", id: 7, reply: { kind: "failed", error: THROWN } },
    { kind: "cancel", id: 7 },
  ];
  for (const message of messages) {
    test(`${JSON.stringify(message)} survives the way there`, () => {
      const parsed = parseCallMessage(encodeCallMessage(message));
      expect(plain(parsed)).toEqual(plain(message));
    });
  }

  test("no cut of a message is taken for a message that says something else", () => {
    const bytes = encodeCallMessage(REQUEST);
    for (let length = 0; length < bytes.byteLength; length += 1) {
      expect(parseCallMessage(bytes.subarray(0, length)).kind).toBe("refused");
    }
  });

  test("garbage of every kind is refused, never thrown", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void parseCallMessage(bytes)));
    fc.assert(fc.property(fc.anything({ maxDepth: 2 }), fc.anything(), (a, b) => void parseAnything([a, b])));
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 3), fc.array(fc.jsonValue(), { maxLength: 8 }), (type, rest) => {
        void parseCallMessage(encode([type, ...rest]));
      }),
    );
  });

  test("an error of a later release is still a reply", () => {
    const parsed = parseCallMessage(encode([2, 1, 2, { code: "E_OF_TOMORROW", message: "?" }]));
    expect(parsed).toMatchObject({ kind: "reply", reply: { kind: "failed", error: { code: "E_INTERNAL" } } });
  });
});

function parseAnything(value: unknown): void {
  let bytes: Uint8Array;
  try {
    bytes = encode(value);
  } catch {
    // ignored: what cannot be encoded cannot arrive.
    return;
  }
  parseCallMessage(bytes);
}

/** Buffers and byte arrays of the same content are the same to a receiver. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}
