// Owns: reading the rows that name revisions of a blueprint: the revisions themselves, instances, rollouts. A damaged
// row hides no other.
import { knownKey, prefixOf } from "../../kvstore/core/key.ts";
import type { Kv, KvReadOptions } from "../../kvstore/kv.ts";
import { parseResolvedBlueprint, type ResolvedBlueprint } from "../core/blueprint.ts";
import type { StatusRow } from "../core/blueprint-status.ts";
import { readUndamaged } from "../core/damaged-row.ts";
import { parseInstanceRow } from "../core/instance-row.ts";
import { parseRolloutRow, type RolloutRow } from "../core/rollout-row.ts";
import { listRows } from "../list-rows.ts";

/** The revisions of a blueprint that are kept and can be read, oldest first. */
export async function readKeptRevisions(
  kv: Kv, name: string, options: KvReadOptions,
): Promise<readonly ResolvedBlueprint[]> {
  const rows = await listRows(kv, prefixOf({ kind: "blueprints", name }), options);
  return rows.flatMap(({ key, value }) => {
    if (knownKey(key)?.kind !== "blueprint") return [];
    return readUndamaged(() => parseResolvedBlueprint(value)) ?? [];
  });
}

/** Of the slices of a blueprint; `row` is undefined for one that is damaged. */
export async function readRolloutRows(
  kv: Kv, blueprint: string, options: KvReadOptions,
): Promise<readonly { readonly slice: string; readonly row: RolloutRow | undefined }[]> {
  const entries = await listRows(kv, prefixOf({ kind: "rollouts", blueprint }), options);
  return entries.flatMap(({ key, value }) => {
    const place = knownKey(key);
    return place?.kind === "rollout" ? { slice: place.slice, row: readUndamaged(() => parseRolloutRow(value)) } : [];
  });
}

/** Of all blueprints: only its row says which one an instance belongs to. */
export async function readInstanceRows(kv: Kv, options: KvReadOptions): Promise<readonly StatusRow[]> {
  const entries = await listRows(kv, prefixOf({ kind: "slices" }), options);
  return entries.flatMap(({ key, value }): StatusRow[] => {
    const place = knownKey(key);
    if (place?.kind !== "slice") return [];
    const { node, artifact, instance } = place;
    return [{ node, artifact, instance, row: readUndamaged(() => parseInstanceRow(value)) }];
  });
}
