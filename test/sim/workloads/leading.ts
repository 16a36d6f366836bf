// Owns: what clients that lead do: one takes the leadership when it believes that nobody else does, and every write of
// it compares that it still leads. Where the leader's services of the nodes write.
// Believing is not knowing: several clients do, and a partition keeps them from learning.
import { formatKey, type KeyText } from "../../../src/kvstore/core/key.ts";
import type { KvEntry, Op, Txn } from "../../../src/kvstore/core/schema.ts";
import type { Action } from "../checkers/history.ts";

export interface Term {
  readonly epoch: number;
  readonly holder: string;
}

/** The row of the clients' leader; that of the nodes' leader is `leader`. */
export const CLIENT_LEADER_KEY: KeyText = formatKey({ kind: "data", path: "leader" });
const LED_PREFIX = "data/led/";
const OFFICE_PREFIX = "data/office/";

/** What the nodes' leader writes. */
export const OFFICE_KEYS: readonly KeyText[] = [0, 1].map((index) =>
  formatKey({ kind: "data", path: `office/${index}` }));

export const LED_KEYS: readonly KeyText[] = [0, 1].map((index) => formatKey({ kind: "data", path: `led/${index}` }));

export function isLed(key: KeyText): boolean {
  return key.startsWith(LED_PREFIX);
}

export function isOfOffice(key: KeyText): boolean {
  return key.startsWith(OFFICE_PREFIX);
}

export function parseTerm(value: unknown): Term | undefined {
  if (typeof value !== "object" || value === null || !("epoch" in value) || !("holder" in value)) return undefined;
  const { epoch, holder } = value;
  return typeof epoch === "number" && typeof holder === "string" ? { epoch, holder } : undefined;
}

/** Begins the epoch after the one that was seen last. */
export function take(seen: KvEntry | undefined, holder: string, tag: string): Txn {
  const epoch = (parseTerm(seen?.value)?.epoch ?? 0) + 1;
  return {
    compare: [{ key: CLIENT_LEADER_KEY, target: "modRevision", op: "=", value: seen?.modRevision ?? 0 }],
    then: [{ kind: "put", key: CLIENT_LEADER_KEY, value: { epoch, holder, tag } }],
    else: LOOK,
  };
}

/** A write of the leader that `seen` names. */
export function lead(seen: KvEntry, key: KeyText, tag: string): Txn {
  return {
    compare: [{ key: CLIENT_LEADER_KEY, target: "modRevision", op: "=", value: seen.modRevision }],
    then: [{ kind: "put", key, value: { ...parseTerm(seen.value), tag } }],
    else: LOOK,
  };
}

/** A planted fault: a write of a leader without its compare. */
export function unfenced(action: Action): Action {
  if (action.kind !== "txn") return action;
  const isOfLeader = action.txn.then.some(({ kind, key }) => kind === "put" && isLed(key));
  return isOfLeader ? { ...action, txn: { ...action.txn, compare: [] } } : action;
}

const LOOK: readonly Op[] = [{ kind: "get", key: CLIENT_LEADER_KEY }];
