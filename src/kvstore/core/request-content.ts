// Owns: a checksum of what a request asks for, by which another write under the same number is told from a repetition.
// It follows what is meant, not the bytes of the command, which another build may put differently.
import { crc32 } from "../../base/digest.ts";
import type { CommandCompare, CommandOp, TxnCommand } from "./txn.ts";

type Asked = Pick<TxnCommand, "compare" | "then" | "else">;

export function contentOf({ compare, then, else: otherwise }: Asked): number {
  let sum = 0;
  for (const one of compare) sum = addCompare(sum, one);
  for (const op of then) sum = addOp(sum, "then", op);
  for (const op of otherwise) sum = addOp(sum, "else", op);
  return sum;
}

function addCompare(sum: number, compare: CommandCompare): number {
  const { kind, op, value, key } = compare;
  if (kind === "value") return crc32(compare.value, addText(sum, `if value ${op} ${compare.value.length} ${key}`));
  return addText(sum, `if ${kind === "number" ? compare.target : kind} ${op} ${String(value)} ${key}`);
}

function addOp(sum: number, branch: "then" | "else", op: CommandOp): number {
  if (op.kind !== "put") return addText(sum, `${branch} ${op.kind} ${op.key}`);
  return crc32(op.value, addText(sum, `${branch} put ${op.value.length} ${op.lease ?? 0} ${op.key}`));
}

function addText(sum: number, text: string): number {
  return crc32(Buffer.from(text), sum);
}
