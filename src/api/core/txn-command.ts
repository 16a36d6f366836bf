// Owns: the check of an encoded transaction from a client, after which its bytes are proposed as they are.
// Whether a value's bytes are the canonical ones of its data is left to the client: others would only compare unequal.
import { decode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { parseKeyText } from "../../kvstore/core/key.ts";
import { checkLimit, TXN_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX } from "../../kvstore/core/limits.ts";
import { parseTxnCommand, type CommandOp } from "../../kvstore/core/txn.ts";
import { checkShape } from "../../base/message-shape.ts";
import { checkWritable } from "./kv-keys.ts";

/** @throws AetherError E_INVALID, E_TOO_LARGE, E_FORBIDDEN for writes outside data/ */
export function checkTxnCommand(bytes: Uint8Array): void {
  checkLimit("bytes of a transaction", TXN_BYTES_MAX, bytes.byteLength);
  checkShape(bytes);
  const command = parseTxnCommand(decode(bytes, TXN_BYTES_MAX));
  if (command.kind === "malformed") throw new AetherError("E_INVALID", command.reason);
  checkLimit("compares of a transaction", TXN_OPS_MAX, command.compare.length);
  checkLimit("operations of a transaction", TXN_OPS_MAX, command.then.length + command.else.length);
  for (const compare of command.compare) {
    parseKeyText(compare.key);
    if (compare.kind === "value") checkValue(compare.value);
  }
  for (const op of command.then) checkOp(op);
  for (const op of command.else) checkOp(op);
}

function checkOp(op: CommandOp): void {
  const key = parseKeyText(op.key);
  if (op.kind === "get") return;
  checkWritable(key);
  if (op.kind === "put") checkValue(op.value);
}

function checkValue(value: Uint8Array): void {
  checkLimit("bytes of a value", VALUE_BYTES_MAX, value.byteLength);
  // Deeper than what anybody may store, its answers could not be sent.
  checkShape(value, VALUE_DEPTH_MAX);
}
