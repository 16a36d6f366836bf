// Owns: judging a chaos run: every history linearizable, nothing acknowledged lost, nothing refused there, all nodes
// equal.
import { isDeepStrictEqual } from "node:util";
import { connect } from "../../src/client/connect.ts";
import { ask, eventually, type NodeFleet } from "../support/node-fleet.ts";
import { checkRegister } from "../sim/checkers/register-checker.ts";
import { checkList } from "./checkers/list-checker.ts";
import type { History } from "./history.ts";
import { PREFIX } from "./workload.ts";

const PAGE_ENTRIES = 1_000;
const SETTLE_MS_MAX = 60_000;
const FINAL_READ_MS = 20_000;

export interface Verdict {
  readonly violations: readonly string[];
  readonly registers: number;
  readonly lists: number;
  readonly ledgerKeys: number;
  /** Histories whose search was given up: neither proved nor refuted. */
  readonly inconclusive: number;
  readonly entriesPerNode: number;
}

interface Entry {
  readonly key: string;
  readonly value: unknown;
  readonly modRevision: number;
  readonly version: number;
}

interface Page {
  readonly entries: readonly Entry[];
  readonly more: boolean;
  readonly revision: number;
}

type Copy = ReadonlyMap<string, Entry>;

/** When all faults are undone and all clients have stopped. */
export async function judge(fleet: NodeFleet, history: History): Promise<Verdict> {
  const copies = await readCopies(fleet);
  const [copy = new Map<string, Entry>()] = copies;
  const violations = [...differences(fleet.names, copies), ...ledgerViolations(history, copy)];
  for (const [key, operations] of history.lists) {
    const value = copy.get(key)?.value;
    const final = Array.isArray(value) ? value.map(String) : [];
    for (const wrong of checkList(operations, final)) violations.push(`${key}: ${wrong}`);
  }
  let inconclusive = 0;
  await readRegistersOnceMore(fleet, history);
  for (const [key, operations] of history.registers) {
    const found = checkRegister(operations);
    if (found.kind === "violation") violations.push(`${key} is not linearizable: ${found.message}`);
    if (found.kind === "inconclusive") inconclusive += 1;
  }
  return {
    violations,
    registers: history.registers.size,
    lists: history.lists.size,
    ledgerKeys: history.ledger.size,
    inconclusive,
    entriesPerNode: copy.size,
  };
}

/** A last linearizable read belongs to every history: an acknowledged write that is lost shows here. */
async function readRegistersOnceMore(fleet: NodeFleet, history: History): Promise<void> {
  const client = connect({ nodes: fleet.apis });
  try {
    for (const key of history.registers.keys()) {
      const call = history.call();
      const { entry } = await client.kv.get(key, { timeoutMs: FINAL_READ_MS });
      const saw = typeof entry?.value === "string" ? entry.value : undefined;
      history.addRegister(key, call, history.returned(call, "read", "ok"), { kind: "get", saw });
    }
  } finally {
    client.close();
  }
}

/** Each node's own copy, once it has applied everything that was acknowledged. */
async function readCopies(fleet: NodeFleet): Promise<readonly Copy[]> {
  const client = connect({ nodes: fleet.apis });
  const { revision } = await client.kv.put("data/settled", "yes", { timeoutMs: FINAL_READ_MS });
  client.close();
  return Promise.all(fleet.apis.map((api) => readCopy(api, revision)));
}

async function readCopy(api: string, revision: number): Promise<Copy> {
  const copy = new Map<string, Entry>();
  for (let after = ""; ; ) {
    const page = await eventually(`${api} has applied revision ${revision}`, async () => {
      const query = new URLSearchParams({ prefix: PREFIX, limit: String(PAGE_ENTRIES), consistency: "local" });
      if (after !== "") query.set("after", after);
      const found = (await ask(`${api}/v1/kv?${query}`)).body as Page;
      return found.revision >= revision ? found : undefined;
    }, SETTLE_MS_MAX);
    for (const entry of page.entries) copy.set(entry.key, entry);
    after = page.entries.at(-1)?.key ?? after;
    if (!page.more) return copy;
  }
}

function differences(names: readonly string[], copies: readonly Copy[]): readonly string[] {
  const [first = new Map<string, Entry>()] = copies;
  return copies.flatMap((copy, index) => {
    const keys = new Set([...first.keys(), ...copy.keys()]);
    const differing = [...keys].filter((key) => !isDeepStrictEqual(first.get(key), copy.get(key)));
    if (differing.length === 0) return [];
    return [`${names[0]} and ${names[index]} differ in ${differing.length} keys, for example ${differing[0]}`];
  });
}

function ledgerViolations(history: History, copy: Copy): readonly string[] {
  return [...history.ledger].flatMap(([key, outcome]) => {
    const entry = copy.get(key);
    if (outcome === "ok" && entry === undefined) return [`${key} was acknowledged and is lost`];
    if (outcome === "failed" && entry !== undefined) return [`${key} was refused and is there`];
    if (entry !== undefined && entry.version !== 1) return [`${key} was written once and has version ${entry.version}`];
    return [];
  });
}
