import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseWorkerMessages, type WorkerMessage } from "../../../src/slices/core/worker-protocol.ts";

describe("messages of a worker", () => {
  const messages: readonly WorkerMessage[] = [
    { kind: "loaded", methods: [{ method: "run", effect: "read", timeoutMs: 1 }] },
    { kind: "activated" },
    { kind: "deactivated" },
    { kind: "step-failed", error: { code: "E_HANDLER", message: "x" } },
    { kind: "reply", id: 1, reply: { kind: "ok", output: undefined } },
    { kind: "reply", id: 1, reply: { kind: "failed", error: { code: "E_HANDLER", message: "x", outcome: "unknown" } } },
    { kind: "outgoing", id: 1, call: { slice: "a", method: "b", input: 1, timeoutMs: 5 } },
    { kind: "outgoing-cancel", id: 1 },
    { kind: "log", level: "info", text: "x" },
  ];

  test("every kind is understood", () => {
    expect(parseWorkerMessages(messages)).toEqual({ messages, refused: 0 });
  });

  test("anything else is refused and counted, and what stands beside it is still understood", () => {
    fc.assert(
      fc.property(fc.anything(), (garbage) => {
        const { messages: parsed } = parseWorkerMessages([garbage, { kind: "activated" }]);
        expect(parsed).toContainEqual({ kind: "activated" });
        parseWorkerMessages(garbage);
      }),
    );
    expect(parseWorkerMessages("hi").refused).toBe(1);
    const wrong = [
      { kind: "reply", id: "1", reply: {} },
      { kind: "step-failed", error: { code: "E_NEW", message: "" } },
    ];
    expect(parseWorkerMessages(wrong)).toEqual({ messages: [], refused: 2 });
  });
});
