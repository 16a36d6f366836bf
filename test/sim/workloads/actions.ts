// Owns: what clients do: registers (put, read, compare and set, delete), lists that grow by transactions, transfers
// between accounts, keys that go with a lease. Does not own: when and where they do it (clients.ts).
//
// Every written value is unique, so that a checker can tell whose effect it sees. Guards and values come from what the
// client saw last, so that some fail: an else branch then refreshes what it knows.
import { present, unreachable } from "../../../src/base/assert.ts";
import { LEASE_TTL_MS_MIN } from "../../../src/kvstore/core/command.ts";
import { formatKey, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { KvEntry, LeaseId, Op, Txn } from "../../../src/kvstore/core/schema.ts";
import type { Action } from "../checkers/history.ts";
import { CLIENT_LEADER_KEY, lead, LED_KEYS, OFFICE_KEYS, parseTerm, take } from "./leading.ts";

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
  | "transfer"
  /** Of leases: put a key that goes with the client's lease, or one of these keys without; read one. */
  | "attach"
  | "keep"
  | "read-attached"
  /** Nobody renews the lease any more; or it is revoked. */
  | "leave"
  | "revoke"
  /** Of the leader: take the leadership, or read who has it; write as the leader, or take. */
  | "take"
  | "lead";

export type WorkloadName = "registers" | "lists" | "accounts" | "leases" | "leaders" | "mixed";
export const WORKLOADS: readonly WorkloadName[] = ["registers", "lists", "accounts", "leases", "leaders", "mixed"];

/** What a client does next, after it waited; `key` is a number that its kind of keys is chosen by. */
export interface Step {
  readonly waitMs: number;
  readonly act: Act;
  readonly key: number;
  /** Goes to another node first. */
  readonly moves?: true;
}

/** What one client does. */
export interface ClientScript {
  /** In order: the next begins when the one before was answered or given up. */
  readonly steps: readonly Step[];
  /** Writes are requests of a session with this time to live; without one, each is sent once. */
  readonly sessionMs?: number;
}

/** What a client saw of a key last; a key it never saw is not in the map. */
export type Seen = ReadonlyMap<KeyText, KvEntry | undefined>;

/** What the next action of a client depends on. */
export interface ClientView {
  readonly seen: Seen;
  /** The lease that it renews. */
  readonly held: { readonly lease: LeaseId } | undefined;
  readonly name: string;
}

const REGISTERS = keysNamed("register", 5);
const LISTS = keysNamed("list", 3);
const ACCOUNTS = keysNamed("account", 4);
const TAKE_EVERY = 6;
const ATTACHED = keysNamed("attached", 4);
/** Leases of the shortest time there is, and of up to as much again. */
const LEASE_MS_STEP = 20;
const OPENING_BALANCE = 100;
const AMOUNT_MAX = 10;

/** Keys that only single-key operations touch: the register checker judges these. */
export function isRegister(key: KeyText): boolean {
  return REGISTERS.includes(key);
}

export const ALL_KEYS: readonly KeyText[] = [
  ...REGISTERS, ...LISTS, ...ACCOUNTS, ...ATTACHED, ...LED_KEYS, CLIENT_LEADER_KEY, ...OFFICE_KEYS,
];

/** `tag` is unique in the run. */
export function actionOf(step: Step, view: ClientView, tag: string): Action | { readonly kind: "leave" } {
  const { act, key } = step;
  const { seen, held, name } = view;
  switch (act) {
    case "attach":
    case "keep":
    case "read-attached":
    case "leave":
    case "revoke":
      return leaseAction({ ...step, act }, held?.lease, tag);
    case "take":
    case "lead":
      return leaderAction({ ...step, act }, seen, { name, tag });
    case "read-list":
    case "append":
      return listAction(act, keyAt(LISTS, key), seen, tag);
    case "read-all":
      return transaction({ then: READ_ALL });
    case "transfer":
      return transfer(key, seen, tag);
    default:
      return registerAction(act, keyAt(REGISTERS, key), seen, tag);
  }
}

type LeaseAct = Extract<Act, "attach" | "keep" | "read-attached" | "leave" | "revoke">;

function leaseAction(
  { act, key: number }: Step & { readonly act: LeaseAct },
  lease: LeaseId | undefined,
  tag: string,
): Action | { readonly kind: "leave" } {
  const key = keyAt(ATTACHED, number);
  switch (act) {
    case "attach":
      if (lease !== undefined) return transaction({ then: [{ kind: "put", key, value: tag, lease }] });
      return { kind: "grant", ttlMs: LEASE_TTL_MS_MIN + number * LEASE_MS_STEP, requests: false };
    case "keep":
      return transaction({ then: [{ kind: "put", key, value: tag }] });
    case "read-attached":
      return { kind: "read", key };
    case "leave":
      return { kind: "leave" };
    case "revoke":
      return lease === undefined ? { kind: "leave" } : { kind: "revoke", lease };
    default:
      return unreachable(act);
  }
}

function leaderAction(
  { act, key }: Step & { readonly act: "take" | "lead" },
  seen: Seen,
  { name, tag }: { readonly name: string; readonly tag: string },
): Action {
  const leader = seen.get(CLIENT_LEADER_KEY);
  if (!seen.has(CLIENT_LEADER_KEY)) return { kind: "read", key: CLIENT_LEADER_KEY };
  const isOwn = leader !== undefined && parseTerm(leader.value)?.holder === name;
  if (act === "lead" && isOwn) return { kind: "txn", txn: lead(leader, keyAt(LED_KEYS, key), tag) };
  // Mostly patient: who takes over all the time never writes.
  return key % TAKE_EVERY === 0 || leader === undefined
    ? { kind: "txn", txn: take(leader, name, tag) }
    : { kind: "read", key: keyAt(LED_KEYS, key) };
}

function listAction(act: "read-list" | "append", list: KeyText, seen: Seen, tag: string): Action {
  return act === "append" && seen.has(list) ? append(list, seen.get(list), tag) : { kind: "read", key: list };
}

function registerAction(
  act: Extract<Act, "read" | "put" | "delete" | "swap">,
  register: KeyText,
  seen: Seen,
  tag: string,
): Action {
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

/** What is unique in what an operation wrote. */
export function tagOf(value: unknown): unknown {
  if (Array.isArray(value)) return (value as readonly unknown[]).at(-1);
  return typeof value === "object" && value !== null && "tag" in value ? value.tag : value;
}

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
