import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encode } from "../../../src/base/codec.ts";
import { MiB } from "../../../src/base/units.ts";
import {
  AGENT_PAYLOAD_BYTES_MAX, MESSAGES_PER_TURN_MAX, readWorkerTurn,
} from "../../../src/slices/core/worker-content.ts";
import type { WorkerMessage } from "../../../src/slices/core/worker-protocol.ts";
import { packWorkerTurn } from "../../../src/slices/core/worker-rows.ts";

function cycle(): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  value["self"] = [value, value];
  return value;
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level += 1) value = [value];
  return value;
}

function read(...received: readonly unknown[]): readonly WorkerMessage[] {
  const turn = readWorkerTurn(received);
  return turn.kind === "messages" ? turn.messages : [];
}

describe("messages of a worker", () => {
  const messages: readonly WorkerMessage[] = [
    { kind: "loaded", methods: [{ method: "run", effect: "read", timeoutMs: 1 }] },
    { kind: "activated" },
    { kind: "deactivated" },
    { kind: "alive", memory: { heapUsedBytes: 1, heapTotalBytes: 2, externalBytes: 3, isCollected: true } },
    { kind: "step-failed", error: { code: "E_HANDLER", message: "x" } },
    { kind: "reply", id: 1, reply: { kind: "ok", output: undefined } },
    { kind: "reply", id: 2, reply: { kind: "ok", output: { list: [1, "a", null], bytes: new Uint8Array([1, 2]) } } },
    { kind: "reply", id: 1, reply: { kind: "failed", error: { code: "E_HANDLER", message: "x", outcome: "unknown" } } },
    { kind: "outgoing", id: 1, call: { slice: "a", method: "b", input: 1, timeoutMs: 5 } },
    { kind: "outgoing-cancel", id: 1 },
    { kind: "agent", payload: { run: 1, bytes: new Uint8Array([1]) } },
    { kind: "service", id: 3, call: { service: "kv", op: "get", args: { key: "a" }, timeoutMs: 5 } },
    { kind: "service-cancel", id: 3 },
    { kind: "log", level: "info", text: "x" },
    { kind: "log", level: "info", text: "x", fields: { linesLeftOut: 4, fields: { a: 1 } } },
  ];

  test("every kind is understood", () => {
    expect(readWorkerTurn(messages)).toEqual({ kind: "messages", messages: messages.map(measured), refused: 0 });
  });

  /** As it is read: with the size of what it carries. */
  function measured(message: WorkerMessage): WorkerMessage {
    if (message.kind !== "outgoing") return message;
    const inputBytes = Array.isArray(message.call.input) ? 14 : 9;
    return { ...message, call: { ...message.call, inputBytes } };
  }

  test("so are those of calls as rows, which say the same", () => {
    const call = { slice: "a", method: "b", input: [1], timeoutMs: 5, artifact: "g:a:1.0.0", range: "^1.0.0" };
    const full = { ...call, idempotencyKey: "k", traceparent: "t" };
    const all: readonly WorkerMessage[] = [...messages, { kind: "outgoing", id: 2, call: full }];
    const packed = packWorkerTurn(all);
    expect(packed.filter(Array.isArray)).toHaveLength(4);
    const found = { kind: "messages", messages: all.map(measured), refused: 0 };
    expect(readWorkerTurn(structuredClone(packed))).toEqual(found);
  });

  test("a method with a policy that nobody can keep to is why its slice is not loaded", () => {
    const spec = { method: "run", effect: "read", timeoutMs: 1 } as const;
    const policy = { rateLimit: { perSecond: 5, burst: 5 } };
    expect(read({ kind: "loaded", methods: [{ ...spec, policy }] })).toMatchObject([{ methods: [{ policy }] }]);
    const [refusal] = read({ kind: "loaded", methods: [spec, { ...spec, policy: { rateLimit: { perSecond: -1 } } }] });
    const message = expect.stringMatching(/^this bundle is not a slice: .*"run" has an unusable policy/);
    expect(refusal).toMatchObject({ kind: "step-failed", error: { code: "E_INVALID", message } });
  });

  test("rows of other kinds, too short or of wrong types are refused", () => {
    const replies = [[], [0], [0, "1", {}], ["0", 1], [2, 1, {}]];
    const calls = [[1, 1, "a"], [1, 1, "a", 2, {}, 5], [1, 1, "a", "b", cycle(), 5]];
    const rows = [...replies, ...calls];
    expect(readWorkerTurn(rows)).toEqual({ kind: "messages", messages: [], refused: rows.length });
  });

  test("anything else is refused and counted, and what stands beside it is still understood", () => {
    fc.assert(
      fc.property(fc.anything(), (garbage) => {
        expect(read(garbage, { kind: "activated" })).toContainEqual({ kind: "activated" });
        readWorkerTurn(garbage);
      }),
    );
    expect(readWorkerTurn("hi")).toMatchObject({ refused: 1 });
    const wrong = [
      { kind: "reply", id: "1", reply: {} },
      { kind: "step-failed", error: { code: "E_NEW", message: "" } },
      { kind: "alive", memory: { heapUsedBytes: Number.NaN, heapTotalBytes: 2, externalBytes: 3, isCollected: true } },
      { kind: "alive" },
      { kind: "service", id: 1, call: { service: "kv", op: "get", args: cycle(), timeoutMs: 5 } },
      { kind: "service", id: 1, call: { service: "kv", op: "get", args: {}, timeoutMs: Number.NaN } },
      { kind: "service", id: 1, call: { service: "kv", op: ["get"], args: {}, timeoutMs: 5 } },
      { kind: "loaded", methods: [{ method: "a/b", effect: "read", timeoutMs: 1 }] },
      { kind: "loaded", methods: [{ method: "run", effect: "read", timeoutMs: Number.POSITIVE_INFINITY }] },
      { kind: "loaded", methods: new Array(1e9) },
      { kind: "outgoing", id: 1, call: { slice: "a", method: "b", input: cycle(), timeoutMs: 5 } },
      { kind: "agent", payload: cycle() },
      { kind: "agent", payload: "a".repeat(AGENT_PAYLOAD_BYTES_MAX) },
      { kind: "outgoing", id: 1, call: { slice: "a".repeat(2_000), method: "b", input: 1, timeoutMs: 5 } },
    ];
    expect(readWorkerTurn(wrong)).toEqual({ kind: "messages", messages: [], refused: wrong.length });
  });

  test("whatever a reply carries, what is kept of it can be encoded for another node", () => {
    fc.assert(
      fc.property(fc.anything(), fc.anything(), (output, details) => {
        const kept = read(
          { kind: "reply", id: 1, reply: { kind: "ok", output } },
          { kind: "reply", id: 2, reply: { kind: "failed", error: { code: "E_HANDLER", message: "x", details } } },
        );
        for (const message of kept) encode(message);
      }),
    );
  });

  test.each([
    ["a cycle", cycle(), "OutputInvalid"],
    ["data deeper than may travel", nested(200), "OutputInvalid"],
    ["a map", new Map(), "OutputInvalid"],
    ["more than 4 MiB", "x".repeat(4 * MiB + 1), "OutputTooLarge"],
  ])("an output with %s becomes a failure of its handler, with its outcome unknown", (_what, output, name) => {
    const error = { code: "E_HANDLER", outcome: "unknown", details: { name } };
    expect(read({ kind: "reply", id: 3, reply: { kind: "ok", output } })).toMatchObject([
      { kind: "reply", id: 3, reply: { kind: "failed", error } },
    ]);
  });

  test("an error keeps its code and outcome; what is too long is cut, what cannot travel is left out", () => {
    const error = { code: "E_HANDLER", message: "m".repeat(1e6), outcome: "unknown", details: cycle(), more: cycle() };
    const [message] = read({ kind: "step-failed", error });
    const kept = { code: "E_HANDLER", message: "m".repeat(8 * 1_024), outcome: "unknown" };
    expect(message).toEqual({ kind: "step-failed", error: { ...kept, details: { leftOut: "not-plain" } } });
  });

  test("a line of the log is cut, and its fields are plain and small or left out", () => {
    const [line] = read({ kind: "log", level: "warn", text: "t".repeat(1e6), fields: cycle() });
    expect(line).toEqual({ kind: "log", level: "warn", text: "t".repeat(8 * 1_024), fields: { leftOut: "not-plain" } });
    const [large] = read({ kind: "log", level: "warn", text: "", fields: { a: "x".repeat(1e6) } });
    expect(large).toMatchObject({ fields: { leftOut: "too-large" } });
  });

  test("more messages at once than a worker of ours ever sends are not even looked at", () => {
    expect(readWorkerTurn(new Array(1e9))).toEqual({ kind: "flood", count: 1e9 });
    expect(readWorkerTurn(new Array(MESSAGES_PER_TURN_MAX))).toMatchObject({ kind: "messages" });
  });
});
