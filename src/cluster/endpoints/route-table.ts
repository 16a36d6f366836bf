// Owns: this node's live copy of the HTTP routes of all slices, and finding the one for a request.
// Does not own: the rows (slices/blueprints/route-rows.ts), answering the request (api).
import { AetherError } from "../../base/errors.ts";
import { prefixOf, type AetherKey } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { parseRoute } from "../../sdk/route.ts";
import { parseRouteRow, type RouteRow } from "../../slices/core/route-row.ts";
import { RouteIndex, type RouteMatch } from "./core/match-route.ts";
import { RowView, type RowViewEnv } from "../row-view.ts";

export class RouteTable {
  private readonly view: RowView<RouteRow>;
  private index: RouteIndex<RouteRow> | undefined;

  constructor(env: RowViewEnv, kv: Kv) {
    this.view = new RowView(env, kv, prefixOf({ kind: "routes" }), parseRow);
    this.view.subscribe(() => {
      this.index = undefined;
    });
  }

  open(): void {
    this.view.open();
  }

  async close(): Promise<void> {
    await this.view.close();
  }

  /** `path` as it was sent, without query. @throws AetherError E_UNAVAILABLE before this node has read the routes */
  find(verb: string, path: string): RouteMatch<RouteRow> {
    if (!this.view.isComplete) {
      throw new AetherError("E_UNAVAILABLE", "this node has not read the routes of slices yet: ask again, or another");
    }
    this.index ??= new RouteIndex(this.view.rowsInKeyOrder().map(({ value }) => [value.route, value]));
    return this.index.match(verb, path);
  }
}

function parseRow(key: AetherKey, value: unknown): RouteRow | undefined {
  if (key.kind !== "route") return undefined;
  const row = parseRouteRow(value);
  if (parseRoute(row.route).id === key.route) return row;
  throw new AetherError("E_DATA_CORRUPT", `the row says it is "${row.route}"`);
}
