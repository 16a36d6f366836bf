// Owns: answering HTTP routes that slices declare: from path, query and body to the input of one call.
// Does not own: which route a request has (cluster/endpoints/route-table.ts), what the call does, the API's own routes.
import { unreachable } from "../base/assert.ts";
import { AetherError } from "../base/errors.ts";
import { parseRoute } from "../sdk/route.ts";
import { hasBody, type RouteRow } from "../slices/core/route-row.ts";
import type { ApiRequest } from "./api-request.ts";
import type { Elsewhere } from "./http-app.ts";
import { answerCall } from "./routes/call.ts";
import type { ApiServices } from "./services.ts";

type Params = Readonly<Record<string, string>>;

type SliceRouteServices = Pick<ApiServices, "calls" | "sliceRoutes">;

/** In metrics: declared paths come and go, a label must not grow with them. */
const SLICE_ROUTE_LABEL = "slice-route";
const NUMBER = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** The slice's route for a request that is none of the API's. @throws AetherError E_UNAVAILABLE, E_INVALID */
export function findSliceRoute(services: SliceRouteServices, verb: string, path: string): Elsewhere {
  const match = services.sliceRoutes.find(verb, path);
  switch (match.kind) {
    case "found": {
      const { value: row, params } = match;
      return { kind: "route", route: {
        path: SLICE_ROUTE_LABEL,
        handle: (request) => answerSliceRoute(services, request, { row, params }),
      } };
    }
    case "wrong-verb":
      return { kind: "wrong-method", allowed: match.allowed };
    case "refused":
      throw new AetherError("E_INVALID", `this path cannot be read: ${match.reason}`);
    case "none":
      return match;
    default:
      return unreachable(match);
  }
}

/** @throws AetherError E_INVALID for what cannot be an input, and as the call failed */
function answerSliceRoute(
  services: SliceRouteServices,
  request: ApiRequest,
  { row, params }: { readonly row: RouteRow; readonly params: Params },
): Promise<Response> {
  const { slice, method } = row;
  return answerCall(services, request, { slice, method, readInput: () => readInput(request, row, params) });
}

/** Parameters of the path win over fields of the same name elsewhere: they chose the route. */
async function readInput(request: ApiRequest, row: RouteRow, params: Params): Promise<unknown> {
  const typed = Object.entries(params).map((pair) => typedField(row, pair));
  const query = request.queryPairs();
  if (!hasBody(parseRoute(row.route).verb)) {
    checkOnce(query);
    return Object.fromEntries([...query.map((pair) => typedField(row, pair)), ...typed]);
  }
  if (query.length > 0) {
    throw new AetherError("E_INVALID", `"${row.route}" takes its input in the body: leave the query out`);
  }
  const body = await request.readOptionalJson();
  if (typed.length === 0) return body ?? {};
  if (body !== undefined && (typeof body !== "object" || body === null || Array.isArray(body))) {
    throw new AetherError("E_INVALID", `the body of "${row.route}" is a JSON object: its path has fields of it too`);
  }
  return Object.fromEntries([...Object.entries(body ?? {}), ...typed]);
}

function checkOnce(query: readonly (readonly [string, string])[]): void {
  const names = new Set<string>();
  for (const [name] of query) {
    if (names.has(name)) throw new AetherError("E_INVALID", `the query has "${name}" more than once: give it once`);
    names.add(name);
  }
}

/** What the schema says is a number or a boolean becomes one if it reads like one; if not, the schema refuses it. */
function typedField(row: RouteRow, [name, text]: readonly [string, string]): readonly [string, unknown] {
  if (row.numbers.includes(name) && NUMBER.test(text)) {
    const value = Number(text);
    // Beyond these an integer would silently be another one.
    const isExact = Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
    return [name, isExact ? value : text];
  }
  if (row.booleans.includes(name) && (text === "true" || text === "false")) return [name, text === "true"];
  return [name, text];
}
