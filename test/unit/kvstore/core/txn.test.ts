import { describe, expect, test } from "vitest";
import { decode } from "../../../../src/base/codec.ts";
import { parseKeyText } from "../../../../src/kvstore/core/key.ts";
import { TXN_BYTES_MAX, TXN_OPS_MAX } from "../../../../src/kvstore/core/limits.ts";
import type { Op, Txn } from "../../../../src/kvstore/core/schema.ts";
import { parseCommand } from "../../../../src/kvstore/core/command.ts";
import { checkTxn, encodeTxn, nameRequest, parseTxn } from "../../../../src/kvstore/core/txn.ts";
import { encodeValue } from "../../../../src/kvstore/core/value.ts";

const key = parseKeyText("data/a");
const put = (value: unknown = 1): Op => ({ kind: "put", key, value });
const txn = (...then: Op[]): Txn => ({ compare: [], then, else: [] });
const commandOf = (bytes: Uint8Array): unknown => decode(bytes, bytes.byteLength);

describe("a transaction", () => {
  test("becomes a command that reads back the same", () => {
    const command = parseCommand(
      commandOf(
        encodeTxn({
          compare: [
            { key, target: "version", op: ">", value: 3 },
            { key, target: "modRevision", op: "!=", value: 9 },
            { key, target: "value", op: "=", value: { b: 1, a: 2 } },
            { key, target: "exists", op: "!=", value: true },
          ],
          then: [put("x"), { kind: "delete", key }],
          else: [{ kind: "get", key }],
        }),
      ),
    );
    expect(command).toEqual({
      kind: "txn",
      request: undefined,
      compare: [
        { kind: "number", key, target: "version", op: ">", value: 3 },
        { kind: "number", key, target: "modRevision", op: "!=", value: 9 },
        { kind: "value", key, op: "=", value: encodeValue({ a: 2, b: 1 }) },
        { kind: "exists", key, op: "!=", value: true },
      ],
      then: [
        { kind: "put", key, value: encodeValue("x"), lease: undefined },
        { kind: "delete", key },
      ],
      else: [{ kind: "get", key }],
    });
  });

  test("may have 128 operations and 128 compares, and no more", () => {
    const ops = Array.from({ length: TXN_OPS_MAX }, () => put());
    const compare = Array.from({ length: TXN_OPS_MAX }, () => ({ key, target: "version", op: "=", value: 1 }) as const);
    checkTxn({ compare, then: ops.slice(0, 100), else: ops.slice(100) });
    const tooLarge = expect.objectContaining({ code: "E_TOO_LARGE", details: { limit: 128, actual: 129 } });
    expect(() => checkTxn({ compare: [], then: ops, else: [put()] })).toThrow(tooLarge);
    expect(() => encodeTxn({ compare: [...compare, compare[0]!], then: [], else: [] })).toThrow(tooLarge);
  });

  test("may be 1 MiB in all", () => {
    const large = put("x".repeat(500_000));
    encodeTxn(txn(large, large));
    expect(() => encodeTxn(txn(large, large, large))).toThrow(
      expect.objectContaining({ code: "E_TOO_LARGE", details: expect.objectContaining({ limit: TXN_BYTES_MAX }) }),
    );
  });

  test("cannot delete the leader key", () => {
    const leader = parseKeyText("leader");
    expect(() => encodeTxn(txn({ kind: "delete", key: leader }))).toThrow(/never be deleted/);
    expect(parseCommand([1, [], [[1, "leader"]], []])).toMatchObject({ kind: "malformed" });
  });
});

describe("untrusted input", () => {
  test("is read when it has the shape of a transaction", () => {
    const input = { compare: [{ key: "data/a", target: "exists", op: "=", value: false }], then: [put({ a: 1 })] };
    expect(parseTxn(input)).toEqual({ ...input, else: [] });
    expect(parseTxn({})).toEqual({ compare: [], then: [], else: [] });
  });

  test.each([
    [null, "the transaction"],
    [[], "the transaction"],
    [{ then: {} }, "then"],
    [{ then: [1] }, "then[0]"],
    [{ then: [{ kind: "put", key: "data/a" }] }, "then[0].value"],
    [{ then: [{ kind: "drop", key: "data/a" }] }, "then[0].kind"],
    [{ else: [{ kind: "get" }] }, "else[0].key"],
    [{ compare: [{ key: "data/a", target: "exists", op: "<", value: true }] }, "compare[0].op"],
    [{ compare: [{ key: "data/a", target: "exists", op: "=", value: 1 }] }, "compare[0].value"],
    [{ compare: [{ key: "data/a", target: "version", op: "=", value: "1" }] }, "compare[0].value"],
    [{ compare: [{ key: "data/a", target: "size", op: "=", value: 1 }] }, "compare[0].target"],
    [{ compare: [{ key: "data/a", target: "value", op: "~", value: 1 }] }, "compare[0].op"],
  ])("%j is refused at %s", (input, path) => {
    expect(() => parseTxn(input)).toThrow(expect.objectContaining({ code: "E_INVALID", details: { path } }));
  });

  test("is refused for a key that is none", () => {
    expect(() => parseTxn({ then: [{ kind: "get", key: "elsewhere/a" }] })).toThrow(/data\//);
  });
});

describe("a malformed command", () => {
  const bytes = Uint8Array.from([0xc0]);
  test.each([
    [undefined],
    [null],
    [{}],
    [[]],
    [[1, [], []]],
    [[2, [], [], []]],
    [["1", [], [], []]],
    [[1, {}, [], []]],
    [[1, [], [[9, "data/a"]], []]],
    [[1, [], [[0, "data/a"]], []]],
    [[1, [], [[0, "data/a", "text"]], []]],
    [[1, [], [[0, "", bytes]], []]],
    [[1, [], [[0, "\u0000a", bytes]], []]],
    [[1, [], [[0, "data/\ud800", bytes]], []]],
    [[1, [], [[0, "x".repeat(513), bytes]], []]],
    [[1, [], [[0, 7, bytes]], []]],
    [[1, [], [[1, "data/a", 1]], []]],
    [[1, [], [["put", "data/a", bytes]], []]],
    [[1, [], [[1.5, "data/a"]], []]],
    [[1, [], [["length", "data/a"]], []]],
    [[1, [[3, 2, "data/a", true]], [], []]],
    [[1, [[2, 0, "data/a", "raw"]], [], []]],
    [[1, [[0, 0, "data/a", bytes]], [], []]],
    [[1, [[0, 9, "data/a", 1]], [], []]],
  ])("is named so and never thrown: %j", (decoded) => {
    expect(parseCommand(decoded)).toMatchObject({ kind: "malformed" });
  });
});

test.each([
  ["without a lease", put([1])],
  ["with a lease", { kind: "put", key, value: [1], lease: 7 }],
] as const)("a transaction %s gets its request without being encoded anew", (_what, op) => {
  const numbers = [1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 40, Number.MAX_SAFE_INTEGER];
  for (const [at, session] of numbers.entries()) {
    const request = { session, id: numbers.at(-1 - at) ?? 1 };
    expect(nameRequest(encodeTxn(txn(op)), request)).toEqual(encodeTxn(txn(op), request));
  }
});
