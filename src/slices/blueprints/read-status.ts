// Owns: reading all that says how a blueprint stands. Does not own: what follows from it (core/blueprint-status.ts).
import { formatKey, prefixOf } from "../../kvstore/core/key.ts";
import type { Kv, KvReadOptions } from "../../kvstore/kv.ts";
import type { ResolvedBlueprint } from "../core/blueprint.ts";
import { blueprintStatusOf, type BlueprintStatus, type Outlook } from "../core/blueprint-status.ts";
import { readUndamaged } from "../core/damaged-row.ts";
import { isOfWish, isTurnedBack, type RolloutRow } from "../core/rollout-row.ts";
import { parseScaleRow, withScales, type ScaleRow } from "../core/scale-row.ts";
import { parseScheduleRow, type ScheduleRow } from "../core/schedule-row.ts";
import { specDigestOf } from "../core/spec-digest.ts";
import { listRows } from "../list-rows.ts";
import { readInstanceRows, readKeptRevisions, readRolloutRows } from "./blueprint-rows.ts";

export async function readStatus(
  kv: Kv, blueprint: ResolvedBlueprint, outlook: Outlook, options: KvReadOptions,
): Promise<BlueprintStatus> {
  const rollouts = await rolloutsOfWish(kv, blueprint, options);
  const rows = await readInstanceRows(kv, options);
  const schedules = await scheduleRows(kv, options);
  const scales = await scaleRows(kv, options);
  const scaled = withScales(blueprint, (slice) => scales.get(formatKey({ kind: "scale", slice })));
  const scheduleRow = (slice: string, name: string): ScheduleRow | undefined =>
    schedules.get(formatKey({ kind: "schedule", slice, name }));
  return blueprintStatusOf(scaled, rows, { outlook, rollouts, scheduleRow });
}

/** The rollouts of what a blueprint wants now, by slice; those of what it wanted before say nothing about it. */
async function rolloutsOfWish(
  kv: Kv, { name, revision, slices }: ResolvedBlueprint, options: KvReadOptions,
): Promise<ReadonlyMap<string, RolloutRow>> {
  const found = await readRolloutRows(kv, name, options);
  const rows = found.flatMap(({ slice, row }) => (row === undefined ? [] : { slice, row }));
  const isOld = rows.some(({ row }) => isTurnedBack(row) && row.target.revision < revision);
  const kept = isOld ? await readKeptRevisions(kv, name, { ...options, consistency: "local" }) : [];
  const ofWish = rows.filter(({ slice, row }) => {
    const wanted = slices[slice];
    if (wanted === undefined) return false;
    return isOfWish(row, { specDigest: specDigestOf(wanted), revision }, digestsOf(kept, slice));
  });
  return new Map(ofWish.map(({ slice, row }) => [slice, row]));
}

/** What each revision that is kept wanted of a slice. */
function digestsOf(kept: readonly ResolvedBlueprint[], slice: string): Parameters<typeof isOfWish>[2] {
  return (revision) => {
    const then = kept.find((blueprint) => blueprint.revision === revision);
    if (then === undefined) return undefined;
    const resolved = then.slices[slice];
    return resolved === undefined ? "nothing" : specDigestOf(resolved);
  };
}

async function scheduleRows(kv: Kv, options: KvReadOptions): Promise<ReadonlyMap<string, ScheduleRow | undefined>> {
  const rows = await listRows(kv, prefixOf({ kind: "schedules" }), options);
  return new Map(rows.map(({ key, value }) => [key, readUndamaged(() => parseScheduleRow(value))]));
}

async function scaleRows(kv: Kv, options: KvReadOptions): Promise<ReadonlyMap<string, ScaleRow | undefined>> {
  const rows = await listRows(kv, prefixOf({ kind: "scales" }), options);
  return new Map(rows.map(({ key, value }) => [key, readUndamaged(() => parseScaleRow(value))]));
}
