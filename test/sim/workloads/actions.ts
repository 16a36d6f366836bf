// Owns: what clients do: registers (put, read, compare and set, delete), lists that grow by transactions, transfers
// between accounts. Does not own: when and where they do it (clients.ts).
//
// Every written value is unique, so that a checker can tell whose effect it sees. Guards and values come from what the
// client saw last, so that some fail: an else branch then refreshes what it knows.
import { present, unreachable } from "../../../src/base/assert.ts";
import { formatKey, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { KvEntry, Op, Txn } from "../../../src/kvstore/core/schema.ts";
import type { Action } from "../checkers/history.ts";

export type Act =
  /** Of registers. */
  | "read"
  | "put"
  | "delete"
  | "swap"
  /** Of lists. */
  | "read-list"
  | "append"
  /** Of accounts. */
  | "read-all"
  | "transfer";

export type WorkloadName = "registers" | "lists" | "accounts" | "mixed";
export const WORKLOADS: readonly WorkloadName[] = ["registers", "lists", "accounts", "mixed"];

/** What a client does next, after it waited; `key` is a number that its kind of keys is chosen by. */
export interface Step {
  readonly waitMs: number;
  readonly act: Act;
  readonly key: number;
  /** Goes to another node first. */
  readonly moves?: true;
}

/** The steps of one client, in order: the next begins when the one before was answered or given up. */
export type ClientScript = readonly Step[];

/** What a client saw of a key last; a key it never saw is not in the map. */
export type Seen = ReadonlyMap<KeyText, KvEntry | undefined>;

const REGISTERS = keysNamed("register", 5);
const LISTS = keysNamed("list", 3);
const ACCOUNTS = keysNamed("account", 4);
const OPENING_BALANCE = 100;
const AMOUNT_MAX = 10;

/** Keys that only single-key operations touch: the register checker judges these. */
export function isRegister(key: KeyText): boolean {
  return REGISTERS.includes(key);
}

export const ALL_KEYS: readonly KeyText[] = [...REGISTERS, ...LISTS, ...ACCOUNTS];

/** `tag` is unique in the run. */
export function actionOf({ act, key }: Step, seen: Seen, tag: string): Action {
  const register = keyAt(REGISTERS, key);
  const list = keyAt(LISTS, key);
  switch (act) {
    case "read":
      return { kind: "read", key: register };
    case "put":
      return transaction({ then: [{ kind: "put", key: register, value: tag }] });
    case "delete":
      return transaction({ then: [{ kind: "delete", key: register }] });
    case "swap":
      return transaction({
        compare: [{ key: register, target: "value", op: "=", value: seen.get(register)?.value ?? "never" }],
        then: [{ kind: "put", key: register, value: tag }],
        else: [{ kind: "get", key: register }],
      });
    case "read-list":
      return { kind: "read", key: list };
    case "append":
      return seen.has(list) ? append(list, seen.get(list), tag) : { kind: "read", key: list };
    case "read-all":
      return transaction({ then: READ_ALL });
    case "transfer":
      return transfer(key, seen, tag);
    default:
      return unreachable(act);
  }
}

const READ_ALL: readonly Op[] = ACCOUNTS.map((key) => ({ kind: "get", key }));

function append(list: KeyText, entry: KvEntry | undefined, tag: string): Action {
  const items = Array.isArray(entry?.value) ? entry.value : [];
  return transaction({
    compare: [{ key: list, target: "modRevision", op: "=", value: entry?.modRevision ?? 0 }],
    then: [{ kind: "put", key: list, value: [...items, tag] }],
    else: [{ kind: "get", key: list }],
  });
}

function transfer(number: number, seen: Seen, tag: string): Action {
  const source = number % ACCOUNTS.length;
  const target = (source + 1 + (Math.floor(number / ACCOUNTS.length) % (ACCOUNTS.length - 1))) % ACCOUNTS.length;
  const [from, to] = [keyAt(ACCOUNTS, source), keyAt(ACCOUNTS, target)];
  if (!seen.has(from) || !seen.has(to)) return transaction({ then: READ_ALL });
  const amount = 1 + (number % AMOUNT_MAX);
  return transaction({
    compare: [from, to].map((key) => {
      return { key, target: "modRevision", op: "=", value: seen.get(key)?.modRevision ?? 0 };
    }),
    then: [
      { kind: "put", key: from, value: { balance: balanceOf(seen.get(from)) - amount, tag } },
      { kind: "put", key: to, value: { balance: balanceOf(seen.get(to)) + amount, tag } },
    ],
    else: READ_ALL,
  });
}

function balanceOf(entry: KvEntry | undefined): number {
  const value = entry?.value;
  if (typeof value !== "object" || value === null || !("balance" in value)) return OPENING_BALANCE;
  return typeof value.balance === "number" ? value.balance : OPENING_BALANCE;
}

/** A read of all accounts at one revision shows that nothing was made or lost by transfers. */
export function totalOf(entries: readonly (KvEntry | undefined)[]): number {
  return entries.reduce((sum, entry) => sum + balanceOf(entry), 0);
}

export const TOTAL_BALANCE = ACCOUNTS.length * OPENING_BALANCE;

export function isReadOfAll(ops: readonly Op[]): boolean {
  return ops === READ_ALL;
}

function transaction(parts: Partial<Txn>): Action {
  return { kind: "txn", txn: { compare: parts.compare ?? [], then: parts.then ?? [], else: parts.else ?? [] } };
}

function keysNamed(name: string, count: number): readonly KeyText[] {
  return Array.from({ length: count }, (_, index) => formatKey({ kind: "data", path: `${name}/${index}` }));
}

function keyAt(keys: readonly KeyText[], number: number): KeyText {
  return present(keys[number % keys.length], "there are keys of each kind");
}
