// Owns: what clients do: registers (put, read, compare and set, delete), lists that grow by transactions, transfers
// between accounts. Does not own: when and where they do it (clients.ts).
//
// Every written value is unique, so that a checker can tell whose effect it sees. Guards and values come from what the
// client saw last, so that some fail: an else branch then refreshes what it knows.
import { present } from "../../../src/base/assert.ts";
import type { Random } from "../../../src/base/random.ts";
import { formatKey, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { KvEntry, Op, Txn } from "../../../src/kvstore/core/schema.ts";
import type { Action } from "../checkers/history.ts";

export type WorkloadName = "registers" | "lists" | "accounts" | "mixed";
export const WORKLOADS: readonly WorkloadName[] = ["registers", "lists", "accounts", "mixed"];

/** What a client saw of a key last; a key it never saw is not in the map. */
export type Seen = ReadonlyMap<KeyText, KvEntry | undefined>;

const REGISTERS = keysNamed("register", 5);
const LISTS = keysNamed("list", 3);
const ACCOUNTS = keysNamed("account", 4);
const OPENING_BALANCE = 100;

/** Keys that only single-key operations touch: the register checker judges these. */
export function isRegister(key: KeyText): boolean {
  return REGISTERS.includes(key);
}

export const ALL_KEYS: readonly KeyText[] = [...REGISTERS, ...LISTS, ...ACCOUNTS];

/** `tag` is unique in the run. */
export function drawAction(workload: WorkloadName, random: Random, seen: Seen, tag: string): Action {
  const kind = workload === "mixed" ? pickOf(random, ["registers", "lists", "accounts"] as const) : workload;
  // The checkers of registers judge every run: a share of each workload is theirs.
  if (kind === "registers" || random.below(4) === 0) return drawRegister(random, seen, tag);
  return kind === "lists" ? drawAppend(random, seen, tag) : drawTransfer(random, seen, tag);
}

function drawRegister(random: Random, seen: Seen, tag: string): Action {
  const key = pickOf(random, REGISTERS);
  const kind = random.below(10);
  if (kind <= 2) return { kind: "read", key };
  if (kind <= 5) return transaction({ then: [{ kind: "put", key, value: tag }] });
  if (kind === 6) return transaction({ then: [{ kind: "delete", key }] });
  const expected = seen.get(key)?.value ?? "never";
  return transaction({
    compare: [{ key, target: "value", op: "=", value: expected }],
    then: [{ kind: "put", key, value: tag }],
    else: [{ kind: "get", key }],
  });
}

function drawAppend(random: Random, seen: Seen, tag: string): Action {
  const key = pickOf(random, LISTS);
  if (!seen.has(key) || random.below(5) === 0) return { kind: "read", key };
  const entry = seen.get(key);
  const items = Array.isArray(entry?.value) ? entry.value : [];
  return transaction({
    compare: [{ key, target: "modRevision", op: "=", value: entry?.modRevision ?? 0 }],
    then: [{ kind: "put", key, value: [...items, tag] }],
    else: [{ kind: "get", key }],
  });
}

function drawTransfer(random: Random, seen: Seen, tag: string): Action {
  const all: readonly Op[] = ACCOUNTS.map((key) => ({ kind: "get", key }));
  const source = random.below(ACCOUNTS.length);
  const target = (source + 1 + random.below(ACCOUNTS.length - 1)) % ACCOUNTS.length;
  const [from, to] = [ACCOUNTS[source], ACCOUNTS[target]];
  if (from === undefined || to === undefined || !seen.has(from) || !seen.has(to) || random.below(6) === 0) {
    return transaction({ then: all });
  }
  const amount = 1 + random.below(10);
  return transaction({
    compare: [from, to].map((key) => {
      return { key, target: "modRevision", op: "=", value: seen.get(key)?.modRevision ?? 0 };
    }),
    then: [
      { kind: "put", key: from, value: { balance: balanceOf(seen.get(from)) - amount, tag } },
      { kind: "put", key: to, value: { balance: balanceOf(seen.get(to)) + amount, tag } },
    ],
    else: all,
  });
}

function balanceOf(entry: KvEntry | undefined): number {
  const value = entry?.value;
  if (typeof value !== "object" || value === null || !("balance" in value)) return OPENING_BALANCE;
  return typeof value.balance === "number" ? value.balance : OPENING_BALANCE;
}

function transaction(parts: Partial<Txn>): Action {
  return { kind: "txn", txn: { compare: parts.compare ?? [], then: parts.then ?? [], else: parts.else ?? [] } };
}

function keysNamed(name: string, count: number): readonly KeyText[] {
  return Array.from({ length: count }, (_, index) => formatKey({ kind: "data", path: `${name}/${index}` }));
}

function pickOf<T>(random: Random, items: readonly T[]): T {
  return present(items[random.below(items.length)], "there is something to pick from");
}
