import { expect, test } from "vitest";
import type { HostMessage } from "../../../src/slices/core/worker-protocol.ts";
import { packHostTurn, unpackHostTurn } from "../../../src/slices/core/worker-rows.ts";

const error = { code: "E_HANDLER", message: "x" } as const;
const messages: readonly HostMessage[] = [
  { kind: "activate" },
  { kind: "deactivate" },
  { kind: "call", id: 1, method: "quote", input: { sku: "a" }, timeoutMs: 5 },
  { kind: "call", id: 2, method: "quote", input: undefined, timeoutMs: 0.5, idempotencyKey: "k", traceparent: "t" },
  { kind: "cancel", id: 2, reason: "over" },
  { kind: "ping", collect: true },
  { kind: "answer", id: 1, reply: { kind: "ok", output: [{ price: 1 }], attempts: 2 } },
  { kind: "answer", id: 2, reply: { kind: "ok", output: undefined, attempts: 1, isReplayed: true } },
  { kind: "answer", id: 3, reply: { kind: "error", error, attempts: 1 } },
  { kind: "service-answer", id: 1, reply: { kind: "ok", value: 1 } },
  { kind: "lease-lost", token: 1, error },
];

test("a worker reads what its node has packed: each message, in its order", () => {
  const packed = packHostTurn(messages);
  expect(packed.filter(Array.isArray)).toHaveLength(4);
  expect(unpackHostTurn(structuredClone(packed))).toEqual(messages);
});
