// Owns: which rows `slice-owners/…` a blueprint takes, keeps and gives back, as parts of the transaction that writes
// it. Does not own: that transaction. Every such transaction also compares the blueprint's `current`, so the rows of
// one blueprint do not change between reading and writing them.
// Read from the rows, and not from the revision before: that may be damaged, and what it had would never be free again.
import { AetherError } from "../../base/errors.ts";
import type { CallOptions } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { parseSliceOwner, type ResolvedBlueprint } from "../core/blueprint.ts";
import { readUndamaged } from "../core/damaged-row.ts";
import { listRows } from "../list-rows.ts";

interface OwnerParts {
  readonly compare: readonly Compare[];
  readonly then: readonly Op[];
}

interface OwnerEntry {
  readonly key: KeyText;
  readonly modRevision: number;
  /** Undefined when the row is damaged: then nobody is known to have the slice, and who wants it writes it anew. */
  readonly owner: string | undefined;
}

/** @throws AetherError E_CONFLICT naming the owner of a slice when that is another blueprint */
export async function claimSlices(
  kv: Kv, { name, slices }: ResolvedBlueprint, options: CallOptions,
): Promise<OwnerParts> {
  const held = await readOwners(kv, options);
  const compare: Compare[] = [];
  const then: Op[] = [];
  for (const slice of Object.keys(slices)) {
    const entry = held.get(slice);
    const owner = entry?.owner;
    if (owner !== undefined && owner !== name) throw takenBy(name, slice, owner);
    const key = formatKey({ kind: "slice-owner", slice });
    compare.push(unchanged(key, entry?.modRevision ?? 0));
    if (owner === undefined) then.push({ kind: "put", key, value: { blueprint: name } });
  }
  for (const [slice, { key, owner }] of held) {
    if (owner === name && !Object.hasOwn(slices, slice)) then.push({ kind: "delete", key });
  }
  return { compare, then };
}

/** The keys of the rows of the slices that a blueprint has. */
export async function ownedSlices(kv: Kv, blueprint: string, options: CallOptions): Promise<readonly KeyText[]> {
  const entries = [...(await readOwners(kv, options)).values()];
  return entries.filter(({ owner }) => owner === blueprint).map(({ key }) => key);
}

async function readOwners(kv: Kv, options: CallOptions): Promise<ReadonlyMap<string, OwnerEntry>> {
  const rows = await listRows(kv, prefixOf({ kind: "slice-owners" }), options);
  return new Map(rows.flatMap(({ key, modRevision, value }) => {
    const parsed = knownKey(key);
    if (parsed?.kind !== "slice-owner") return [];
    const owner = readUndamaged(() => parseSliceOwner(value))?.blueprint;
    return [[parsed.slice, { key, modRevision, owner }] as const];
  }));
}

function takenBy(name: string, slice: string, owner: string): AetherError {
  const found = `blueprint "${name}" cannot have the slice "${slice}": it belongs to "${owner}"`;
  const message = `${found}. Rename it, or remove it there first`;
  const issues = [{ path: ["slices", slice], message }];
  return new AetherError("E_CONFLICT", message, { details: { slice, owner, issues } });
}
