// Owns: which rows `routes/…` a blueprint takes, keeps and gives back, as parts of the transaction that writes it.
// Does not own: that transaction. Every such transaction also compares the blueprint's `current`, so the rows of one
// blueprint do not change between reading and writing them.
import { AetherError } from "../../base/errors.ts";
import type { CallOptions } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, KvEntry, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { parseRoute } from "../../sdk/route.ts";
import type { ResolvedBlueprint } from "../core/blueprint.ts";
import { isSameData } from "../core/canonical.ts";
import { readUndamaged } from "../core/damaged-row.ts";
import { parseRouteRow, type RouteRow } from "../core/route-row.ts";
import { listRows } from "../list-rows.ts";

interface RouteParts {
  readonly compare: readonly Compare[];
  readonly then: readonly Op[];
}

/** @throws AetherError E_CONFLICT naming both slices when another blueprint has one of the routes */
export async function claimRoutes(kv: Kv, blueprint: ResolvedBlueprint, options: CallOptions): Promise<RouteParts> {
  const held = new Map((await readRoutes(kv, options)).map((entry) => [entry.key, entry]));
  const compare: Compare[] = [];
  const then: Op[] = [];
  const wanted = routesOf(blueprint);
  for (const [key, row] of wanted) {
    const entry = held.get(key);
    const owned = entry === undefined ? undefined : readRow(entry);
    if (owned !== undefined && owned.blueprint !== blueprint.name) throw takenBy(row, owned);
    compare.push(unchanged(key, entry?.modRevision ?? 0));
    if (owned === undefined || !isSameData(owned, row)) then.push({ kind: "put", key, value: row });
  }
  for (const entry of held.values()) {
    if (wanted.has(entry.key) || readRow(entry)?.blueprint !== blueprint.name) continue;
    then.push({ kind: "delete", key: entry.key });
  }
  return { compare, then };
}

/** The keys of the routes that a blueprint has. */
export async function ownedRoutes(kv: Kv, blueprint: string, options: CallOptions): Promise<readonly KeyText[]> {
  const rows = await readRoutes(kv, options);
  return rows.filter((entry) => readRow(entry)?.blueprint === blueprint).map(({ key }) => key);
}

function readRoutes(kv: Kv, options: CallOptions): Promise<readonly KvEntry[]> {
  return listRows(kv, prefixOf({ kind: "routes" }), options);
}

function routesOf({ name, slices }: ResolvedBlueprint): ReadonlyMap<KeyText, RouteRow> {
  return new Map(Object.entries(slices).flatMap(([slice, { routes = [] }]) => routes.map((route) => {
    const key = formatKey({ kind: "route", route: parseRoute(route.route).id });
    return [key, { ...route, blueprint: name, slice }] as const;
  })));
}

/** Undefined when it is damaged: then nobody is known to have it, and who wants it writes it anew. */
function readRow({ value }: KvEntry): RouteRow | undefined {
  return readUndamaged(() => parseRouteRow(value));
}

function takenBy(wanted: RouteRow, owned: RouteRow): AetherError {
  const message = `slice "${wanted.slice}" of blueprint "${wanted.blueprint}" cannot have the route ` +
    `"${wanted.route}": slice "${owned.slice}" of blueprint "${owned.blueprint}" has it as "${owned.route}". ` +
    "Change one of the two slices, or remove that blueprint first";
  return new AetherError("E_CONFLICT", message, {
    details: { route: wanted.route, slice: wanted.slice, owner: owned.blueprint, ownerSlice: owned.slice },
  });
}
