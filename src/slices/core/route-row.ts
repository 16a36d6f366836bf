// Owns: the HTTP routes of a resolved slice, the value of `routes/…`, and which texts of a request become numbers.
// Does not own: what a route looks like (sdk/route.ts), who takes one (route-rows.ts), matching requests (cluster).
import { z } from "zod";
import { parseStored } from "../../base/stored-row.ts";
import { nameSchema } from "../../sdk/name.ts";
import { parseRoute } from "../../sdk/route.ts";
import type { JsonSchema, Manifest } from "./manifest.ts";

/** One route of a slice, with what the input schema of its method says about fields that come as text. */
export interface ResolvedRoute {
  /** As the slice declares it: `GET /shop/orders/:id`. */
  readonly route: string;
  readonly method: string;
  /** Fields of the path and the query that are numbers. */
  readonly numbers: readonly string[];
  readonly booleans: readonly string[];
}

/** The value of `routes/…`. */
export interface RouteRow extends ResolvedRoute {
  readonly blueprint: string;
  readonly slice: string;
}

export const resolvedRouteSchema = z.object({
  route: z.string(),
  method: nameSchema,
  numbers: z.array(z.string()),
  booleans: z.array(z.string()),
});

const routeRowSchema = resolvedRouteSchema.extend({ blueprint: nameSchema, slice: nameSchema });

/** Parses the value of `routes/…`. @throws AetherError E_DATA_CORRUPT */
export function parseRouteRow(value: unknown): RouteRow {
  return parseStored(routeRowSchema, value, "a stored route");
}

/** The routes of a manifest in one order; a manifest without routes has none. */
export function resolveRoutes({ methods, routes = {} }: Manifest): readonly ResolvedRoute[] {
  return Object.entries(routes).sort(([a], [b]) => (a < b ? -1 : 1)).map(([route, method]) => {
    const { verb, segments } = parseRoute(route);
    const params = new Set(segments.flatMap((segment) => (segment.kind === "param" ? segment.name : [])));
    const fields = fieldTypes(methods[method]?.input ?? {})
      .filter(([name]) => !hasBody(verb) || params.has(name));
    return {
      route,
      method,
      numbers: fields.filter(([, type]) => type === "integer" || type === "number").map(([name]) => name),
      booleans: fields.filter(([, type]) => type === "boolean").map(([name]) => name),
    };
  });
}

/** Whether the input of such a route comes in the body; otherwise it comes in the query. */
export function hasBody(verb: string): boolean {
  return verb === "POST" || verb === "PUT" || verb === "PATCH";
}

const propertiesSchema = z.object({ properties: z.record(z.string(), z.unknown()) });
const typedSchema = z.object({ type: z.string() });

function fieldTypes(input: JsonSchema): readonly (readonly [string, string])[] {
  const parsed = propertiesSchema.safeParse(input);
  if (!parsed.success) return [];
  return Object.entries(parsed.data.properties).flatMap(([name, schema]) => {
    const typed = typedSchema.safeParse(schema);
    return typed.success ? [[name, typed.data.type] as const] : [];
  });
}
