// Owns: this node's live copy of the HTTP routes of all slices, and finding the one for a request. Of a slice whose
// version changes it has those of the version that leads: no request is sent to a method that nobody serves yet.
// Does not own: the rows, by which a route belongs to one slice (slices/blueprints/route-rows.ts), which version leads
// (rollouts/leading-versions.ts), answering the request (api).
import { AetherError } from "../../base/errors.ts";
import { formatKey, prefixOf, type AetherKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { parseRoute } from "../../sdk/route.ts";
import { parseRouteRow, type RouteRow } from "../../slices/core/route-row.ts";
import { RouteIndex, type RouteMatch } from "./core/match-route.ts";
import type { LeadingSlice, LeadingVersions } from "../rollouts/leading-versions.ts";
import { RowView, type RowViewEnv } from "../row-view.ts";

export class RouteTable {
  private readonly view: RowView<RouteRow>;
  private readonly leading: Pick<LeadingVersions, "isComplete" | "all">;
  private index: RouteIndex<RouteRow> | undefined;

  constructor(env: RowViewEnv, kv: Kv, leading: Pick<LeadingVersions, "isComplete" | "all" | "subscribe">) {
    this.view = new RowView(env, kv, prefixOf({ kind: "routes" }), parseRow);
    this.leading = leading;
    const forget = (): void => {
      this.index = undefined;
    };
    this.view.subscribe(forget);
    leading.subscribe(forget);
  }

  open(): void {
    this.view.open();
  }

  async close(): Promise<void> {
    await this.view.close();
  }

  /** `path` as it was sent, without query. @throws AetherError E_UNAVAILABLE before this node has read the routes */
  find(verb: string, path: string): RouteMatch<RouteRow> {
    if (!this.view.isComplete || !this.leading.isComplete) {
      throw new AetherError("E_UNAVAILABLE", "this node has not read the routes of slices yet: ask again, or another");
    }
    this.index ??= new RouteIndex([...this.routes().values()].map((row) => [row.route, row]));
    return this.index.match(verb, path);
  }

  private routes(): ReadonlyMap<KeyText, RouteRow> {
    const leading = this.leading.all();
    const [current, earlier] = [leading.filter((one) => one.isCurrent), leading.filter((one) => !one.isCurrent)];
    const read = new Set(leading.map(({ blueprint }) => blueprint));
    // Of a blueprint that cannot be read the rows still say what it had.
    const unread = this.view.rowsInKeyOrder().map(({ value }) => value).filter(({ blueprint }) => !read.has(blueprint));
    const routes = new Map<KeyText, RouteRow>();
    // A route that the newer revision has given up may have become another slice's: that one has it.
    for (const row of [...current.flatMap(routesOf), ...unread, ...earlier.flatMap(routesOf)]) {
      const key = formatKey({ kind: "route", route: parseRoute(row.route).id });
      if (!routes.has(key)) routes.set(key, row);
    }
    return routes;
  }
}

function routesOf({ blueprint, slice, resolved: { routes = [] } }: LeadingSlice): readonly RouteRow[] {
  return routes.map((route) => ({ ...route, blueprint, slice }));
}

function parseRow(key: AetherKey, value: unknown): RouteRow | undefined {
  if (key.kind !== "route") return undefined;
  const row = parseRouteRow(value);
  if (parseRoute(row.route).id === key.route) return row;
  throw new AetherError("E_DATA_CORRUPT", `the row says it is "${row.route}"`);
}
