// Owns: transactions as bytes: the check of untrusted input, the replicated command, and reading it back.
// Does not own: what a transaction does (state-machine.ts).
//
// A command is [1, compares, then, else] in arrays and numbers, because every put carries it; one that names a request
// or a lease is [2, 0, session, request, compares, then, else]. Values travel as canonical bytes that the state machine
// stores without looking inside. Commands that are no transactions are in command.ts.
import { unreachable } from "../../base/assert.ts";
import { encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { KEY_BYTES_MAX, LEADER_KEY, parseKeyText, type KeyText } from "./key.ts";
import { checkLimit, TXN_BYTES_MAX, TXN_OPS_MAX } from "./limits.ts";
import type { Compare, CompareOp, LeaseId, Op, RequestRef, Txn } from "./schema.ts";
import { encodeValue } from "./value.ts";

/** The plain transaction: what most commands are. */
const PLAIN_FORMAT = 1;
/** Everything else; the second field says what it is. Replicas refuse other formats alike. */
export const COMMAND_FORMAT = 2;
const TXN_KIND = 0;
/** An array of four and the format; an array of seven, format, kind, and two zeros for no request. */
const PLAIN_HEAD_BYTES = 2;
const REQUESTLESS_HEAD_BYTES = 5;
const ARRAY_OF_SEVEN = 0x97;
/** An array of seven, format, kind, and two numbers of at most nine bytes. */
const NAMED_HEAD_BYTES_MAX = 21;

/** A compare as the state machine sees it: `value` of target "value" is canonical bytes. */
export type CommandCompare =
  | {
      readonly kind: "number";
      readonly key: KeyText;
      readonly target: "version" | "modRevision";
      readonly op: CompareOp;
      readonly value: number;
    }
  | { readonly kind: "value"; readonly key: KeyText; readonly op: CompareOp; readonly value: Uint8Array }
  | { readonly kind: "exists"; readonly key: KeyText; readonly op: CompareOp; readonly value: boolean };

export type CommandOp =
  | { readonly kind: "put"; readonly key: KeyText; readonly value: Uint8Array; readonly lease: LeaseId | undefined }
  | { readonly kind: "delete"; readonly key: KeyText }
  | { readonly kind: "get"; readonly key: KeyText };

export interface TxnCommand {
  readonly kind: "txn";
  readonly request: RequestRef | undefined;
  readonly compare: readonly CommandCompare[];
  readonly then: readonly CommandOp[];
  readonly else: readonly CommandOp[];
}

export interface MalformedCommand {
  readonly kind: "malformed";
  readonly reason: string;
}

// The numbers on the wire are the indexes of these lists; they only ever grow at the end.
const TARGETS = ["version", "modRevision", "value", "exists"] as const;
const COMPARE_OPS = ["=", "!=", "<", ">"] as const satisfies readonly CompareOp[];
const OP_KINDS = ["put", "delete", "get"] as const satisfies readonly Op["kind"][];

const ASCII_KEY = /^[\x20-\x7e]+$/;
const TEXT_KEY = /^[^\p{Surrogate}\p{Control}]+$/u;

const NOTHING: readonly never[] = [];

type WireCompare = readonly [target: number, op: number, key: string, value: unknown];
type WireOp = readonly [kind: number, key: string, value?: Uint8Array, lease?: LeaseId];

/**
 * Checks the counts of a transaction and what it may not do, before consensus. Sizes are checked by `encodeTxn`, which
 * knows them; keys were parsed by whoever made them a `KeyText`.
 * @throws AetherError E_TOO_LARGE {limit, actual}, E_INVALID
 */
export function checkTxn(txn: Txn): void {
  checkLimit("compares of a transaction", TXN_OPS_MAX, txn.compare.length);
  checkLimit("operations of a transaction", TXN_OPS_MAX, txn.then.length + txn.else.length);
  for (const op of txn.then) checkOp(op);
  for (const op of txn.else) checkOp(op);
}

/**
 * Checks a transaction and encodes it as a command: the one thing to do before proposing.
 * @throws AetherError E_TOO_LARGE {limit, actual}, E_INVALID
 */
export function encodeTxn(txn: Txn, request?: RequestRef): Uint8Array {
  checkTxn(txn);
  const body = [txn.compare.map(wireCompare), txn.then.map(wireOp), txn.else.map(wireOp)];
  const isPlain = request === undefined && !txn.then.some(hasLease) && !txn.else.some(hasLease);
  const head = isPlain ? [PLAIN_FORMAT] : [COMMAND_FORMAT, TXN_KIND, ...wireRequest(request)];
  const command = encode([...head, ...body]);
  checkLimit("bytes of a transaction", TXN_BYTES_MAX, command.byteLength);
  return command;
}

/**
 * The same command under a request: what is sent again under one name must be the same bytes, so it is encoded once.
 * `command` is what `encodeTxn` made without a request.
 */
export function nameRequest(command: Uint8Array, { session, id }: RequestRef): Uint8Array {
  const bodyAt = command[1] === PLAIN_FORMAT ? PLAIN_HEAD_BYTES : REQUESTLESS_HEAD_BYTES;
  // By hand: every write of every client comes along here.
  const named = Buffer.allocUnsafe(NAMED_HEAD_BYTES_MAX + command.byteLength - bodyAt);
  named[0] = ARRAY_OF_SEVEN;
  named[1] = COMMAND_FORMAT;
  named[2] = TXN_KIND;
  const end = writeNumber(named, id, writeNumber(named, session, 3));
  named.set(command.subarray(bodyAt), end);
  return named.subarray(0, end + command.byteLength - bodyAt);
}

/** Writes a number as `encode` does. Returns where it ends. */
function writeNumber(target: Buffer, value: number, at: number): number {
  if (value < 0x80) return target.writeUInt8(value, at);
  if (value < 0x100) return target.writeUInt8(value, target.writeUInt8(0xcc, at));
  if (value < 0x1_0000) return target.writeUInt16BE(value, target.writeUInt8(0xcd, at));
  if (value < 0x1_0000_0000) return target.writeUInt32BE(value, target.writeUInt8(0xce, at));
  const bytes = encode(value);
  target.set(bytes, at);
  return at + bytes.byteLength;
}

/**
 * Whether a client may use this number for a lease or a request of its own choice.
 * @throws AetherError E_INVALID
 */
export function checkNumber(what: string, value: number): void {
  if (isNumber(value)) return;
  throw new AetherError("E_INVALID", `the number of a ${what} is ${value}: use 1 or more`, {
    details: { [what]: value },
  });
}

/** Ids of leases and requests: 0 stands for none. */
export function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
}

/**
 * Reads untrusted plain data of the shape of `Txn`; `else` may be absent.
 * @throws AetherError E_INVALID naming the place.
 */
export function parseTxn(input: unknown): Txn {
  if (!isRecord(input)) throw invalid("the transaction", "an object with compare, then and else");
  return {
    compare: listOf(input["compare"], "compare").map((item, index) => parseCompare(item, `compare[${index}]`)),
    then: listOf(input["then"], "then").map((item, index) => parseOp(item, `then[${index}]`)),
    else: listOf(input["else"], "else").map((item, index) => parseOp(item, `else[${index}]`)),
  };
}

/** Reads what `encodeTxn` made. Total: anything else is "malformed", alike on every replica. */
export function parseTxnCommand(decoded: unknown): TxnCommand | MalformedCommand {
  const fields = listOrNone(decoded) ?? NOTHING;
  if (fields[0] === PLAIN_FORMAT && fields.length === 4) return readTxn(fields, 1, readPlainOp, undefined);
  if (fields[0] !== COMMAND_FORMAT || fields[1] !== TXN_KIND || fields.length !== 7) {
    return malformed(`it is not a transaction of format ${PLAIN_FORMAT} or ${COMMAND_FORMAT}`);
  }
  const session = fields[2];
  const id = fields[3];
  if (session === 0 && id === 0) return readTxn(fields, 4, readOp, undefined);
  if (!isNumber(session) || !isNumber(id)) return malformed("its request has a wrong form");
  return readTxn(fields, 4, readOp, { session, id });
}

/** The compares, then and else are the fields from `at` on. */
function readTxn(
  fields: readonly unknown[],
  at: number,
  read: (item: unknown) => CommandOp | undefined,
  request: RequestRef | undefined,
): TxnCommand | MalformedCommand {
  const compare = readAll(fields[at], readCompare);
  const thenOps = readAll(fields[at + 1], read);
  const elseOps = readAll(fields[at + 2], read);
  if (compare === undefined || thenOps === undefined || elseOps === undefined) {
    return malformed("one of its compares or operations has a wrong form");
  }
  return { kind: "txn", request, compare, then: thenOps, else: elseOps };
}

export function malformed(reason: string): MalformedCommand {
  return { kind: "malformed", reason: `not a command: ${reason}` };
}

function checkOp(op: Op): void {
  if (op.kind === "put" && op.lease !== undefined) {
    checkNumber("lease", op.lease);
    if (op.key === LEADER_KEY) throw new AetherError("E_INVALID", `the key "${LEADER_KEY}" cannot have a lease`);
  }
  if (op.kind === "delete" && op.key === LEADER_KEY) {
    throw new AetherError("E_INVALID", `the key "${LEADER_KEY}" can never be deleted: its epoch must not start again`);
  }
}

function wireCompare(compare: Compare): WireCompare {
  const value = compare.target === "value" ? encodeValue(compare.value) : compare.value;
  return [TARGETS.indexOf(compare.target), COMPARE_OPS.indexOf(compare.op), compare.key, value];
}

function wireRequest(request: RequestRef | undefined): readonly [session: number, id: number] {
  if (request === undefined) return [0, 0];
  checkNumber("session", request.session);
  checkNumber("request", request.id);
  return [request.session, request.id];
}

function hasLease(op: Op): boolean {
  return op.kind === "put" && op.lease !== undefined;
}

function wireOp(op: Op): WireOp {
  switch (op.kind) {
    case "put": {
      const value = encodeValue(op.value);
      return op.lease === undefined ? [0, op.key, value] : [0, op.key, value, op.lease];
    }
    case "delete":
      return [1, op.key];
    case "get":
      return [2, op.key];
    default:
      return unreachable(op);
  }
}

function readAll<T>(items: unknown, read: (item: unknown) => T | undefined): readonly T[] | undefined {
  if (!Array.isArray(items)) return undefined;
  // Most transactions have no compares and no else: these lists are one and the same.
  if (items.length === 0) return NOTHING;
  const result: T[] = [];
  for (const item of items) {
    const parsed = read(item);
    if (parsed === undefined) return undefined;
    result.push(parsed);
  }
  return result;
}

function readCompare(item: unknown): CommandCompare | undefined {
  const fields = listOrNone(item);
  if (fields?.length !== 4) return undefined;
  const [targetNumber, opNumber, key, value] = fields;
  const target = pick(TARGETS, targetNumber);
  const op = pick(COMPARE_OPS, opNumber);
  if (target === undefined || op === undefined || !isStorableKey(key)) return undefined;
  switch (target) {
    case "version":
    case "modRevision":
      return typeof value === "number" ? { kind: "number", key, target, op, value } : undefined;
    case "value":
      return value instanceof Uint8Array ? { kind: "value", key, op, value } : undefined;
    case "exists":
      return typeof value === "boolean" && (op === "=" || op === "!=") ? { kind: "exists", key, op, value } : undefined;
    default:
      return unreachable(target);
  }
}

function readPlainOp(item: unknown): CommandOp | undefined {
  const op = readOp(item);
  return op?.kind === "put" && op.lease !== undefined ? undefined : op;
}

function readOp(item: unknown): CommandOp | undefined {
  const fields = listOrNone(item);
  if (fields === undefined) return undefined;
  const key = fields[1];
  const value = fields[2];
  const lease = fields[3];
  const kind = pick(OP_KINDS, fields[0]);
  if (kind === undefined || !isStorableKey(key)) return undefined;
  switch (kind) {
    case "put":
      if (!(value instanceof Uint8Array)) return undefined;
      if (fields.length === 3) return { kind, key, value, lease: undefined };
      return fields.length === 4 && isNumber(lease) && key !== LEADER_KEY ? { kind, key, value, lease } : undefined;
    case "delete":
      return fields.length === 2 && key !== LEADER_KEY ? { kind, key } : undefined;
    case "get":
      return fields.length === 2 ? { kind, key } : undefined;
    default:
      return unreachable(kind);
  }
}

// Replicas must not judge kinds of keys: one that a newer version added would diverge an older one. They only refuse
// what their tables cannot hold: text without UTF-8, and control characters, which begin the store's own rows.
function isStorableKey(key: unknown): key is KeyText {
  if (typeof key !== "string" || key.length > KEY_BYTES_MAX) return false;
  return ASCII_KEY.test(key) || TEXT_KEY.test(key);
}

function listOrNone(value: unknown): readonly unknown[] | undefined {
  return Array.isArray(value) ? value : undefined;
}

function pick<T>(names: readonly T[], index: unknown): T | undefined {
  return typeof index === "number" ? names[index] : undefined;
}

function parseCompare(item: unknown, place: string): Compare {
  if (!isRecord(item)) throw invalid(place, "an object");
  const { key, target, op, value } = readFields(item, place);
  const isOp = COMPARE_OPS.find((known) => known === op);
  if (isOp === undefined) throw invalid(`${place}.op`, 'one of "=", "!=", "<", ">"');
  switch (target) {
    case "version":
    case "modRevision":
      if (typeof value !== "number") throw invalid(`${place}.value`, "a number");
      return { key, target, op: isOp, value };
    case "exists":
      if (typeof value !== "boolean") throw invalid(`${place}.value`, "true or false");
      if (isOp !== "=" && isOp !== "!=") throw invalid(`${place}.op`, '"=" or "!="');
      return { key, target, op: isOp, value };
    case "value":
      if (value === undefined) throw invalid(`${place}.value`, "a value");
      return { key, target, op: isOp, value };
    default:
      throw invalid(`${place}.target`, 'one of "version", "modRevision", "value", "exists"');
  }
}

function parseOp(item: unknown, place: string): Op {
  if (!isRecord(item)) throw invalid(place, "an object");
  const { key, kind, value } = readFields(item, place);
  switch (kind) {
    case "put":
      if (value === undefined) throw invalid(`${place}.value`, "a value");
      return { kind, key, value, ...parseLease(item["lease"], place) };
    case "delete":
    case "get":
      return { kind, key };
    default:
      throw invalid(`${place}.kind`, 'one of "put", "delete", "get"');
  }
}

function parseLease(lease: unknown, place: string): { readonly lease?: LeaseId } {
  if (lease === undefined) return {};
  if (!isNumber(lease)) throw invalid(`${place}.lease`, "the number of a lease");
  return { lease };
}

interface TxnFields {
  readonly key: KeyText;
  readonly kind: unknown;
  readonly target: unknown;
  readonly op: unknown;
  readonly value: unknown;
}

function readFields(item: Readonly<Record<string, unknown>>, place: string): TxnFields {
  const key = item["key"];
  if (typeof key !== "string") throw invalid(`${place}.key`, "a key");
  return { key: parseKeyText(key), kind: item["kind"], target: item["target"], op: item["op"], value: item["value"] };
}

function listOf(value: unknown, place: string): readonly unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw invalid(place, "a list");
  return value;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(place: string, expected: string): AetherError {
  return new AetherError("E_INVALID", `${place} of a transaction must be ${expected}`, { details: { path: place } });
}
