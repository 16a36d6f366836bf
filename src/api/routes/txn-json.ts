// Owns: a transaction as JSON, both ways.
import { z } from "zod";
import { unreachable } from "../../base/assert.ts";
import { parseKeyText } from "../../kvstore/core/key.ts";
import { checkLimit, TXN_OPS_MAX } from "../../kvstore/core/limits.ts";
import type { Compare, Op, OpResult, Txn, TxnResult } from "../../kvstore/core/schema.ts";
import { entryJson } from "../json.ts";
import { parseInput } from "../parse-input.ts";

const keySchema = z.string().min(1);
const numberOpSchema = z.enum(["=", "!=", "<", ">"]);
const valueSchema = z.unknown().refine((value) => value !== undefined, { error: "a value is missing" });

const compareSchema = z.discriminatedUnion("target", [
  z.strictObject({ key: keySchema, target: z.literal("version"), op: numberOpSchema, value: z.int().min(0) }),
  z.strictObject({ key: keySchema, target: z.literal("modRevision"), op: numberOpSchema, value: z.int().min(0) }),
  z.strictObject({ key: keySchema, target: z.literal("value"), op: numberOpSchema, value: valueSchema }),
  z.strictObject({ key: keySchema, target: z.literal("exists"), op: z.enum(["=", "!="]), value: z.boolean() }),
]);

const opSchema = z.discriminatedUnion("op", [
  z.strictObject({ op: z.literal("put"), key: keySchema, value: valueSchema, lease: z.int().min(1).exactOptional() }),
  z.strictObject({ op: z.literal("delete"), key: keySchema }),
  z.strictObject({ op: z.literal("get"), key: keySchema }),
]);

export const txnSchema = z.strictObject({
  compare: z.array(compareSchema).default([]),
  then: z.array(opSchema).default([]),
  else: z.array(opSchema).default([]),
});

/** @throws AetherError E_INVALID for another shape or a bad key, E_TOO_LARGE for too many operations. */
export function parseTxnJson(body: unknown): Txn {
  checkLengths(body);
  const parsed = parseInput(txnSchema, body, "the transaction");
  return { compare: parsed.compare.map(parseCompare), then: parsed.then.map(parseOp), else: parsed.else.map(parseOp) };
}

/** First, because a schema looks at each of a hundred thousand operations, and says what is wrong with it. */
function checkLengths(body: unknown): void {
  if (typeof body !== "object" || body === null) return;
  const { compare, then, else: otherwise } = body as Partial<Record<"compare" | "then" | "else", unknown>>;
  checkLimit("compares of a transaction", TXN_OPS_MAX, lengthOf(compare));
  checkLimit("operations of a transaction", TXN_OPS_MAX, lengthOf(then) + lengthOf(otherwise));
}

function lengthOf(value: unknown): number {
  return Array.isArray(value) ? value.length : 0;
}

function parseCompare(compare: z.output<typeof compareSchema>): Compare {
  return { ...compare, key: parseKeyText(compare.key) };
}

function parseOp(op: z.output<typeof opSchema>): Op {
  const key = parseKeyText(op.key);
  if (op.op !== "put") return { kind: op.op, key };
  return { kind: "put", key, value: op.value, ...(op.lease === undefined ? {} : { lease: op.lease }) };
}

export function txnResultJson(result: TxnResult): unknown {
  const { succeeded, revision, results } = result;
  return { succeeded, revision, results: results.map(opResultJson) };
}

function opResultJson(result: OpResult): unknown {
  switch (result.kind) {
    case "put":
      return { op: "put" };
    case "delete":
      return { op: "delete", deleted: result.deleted };
    case "get":
      return { op: "get", entry: result.entry === undefined ? null : entryJson(result.entry) };
    default:
      return unreachable(result);
  }
}
