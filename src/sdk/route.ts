// Owns: what an HTTP route of a slice looks like, as `GET /shop/orders/:id`, and which paths a slice may have.
// Does not own: which method answers it, and who has it in a cluster.
import { AetherError } from "../base/errors.ts";

/** Verbs a route may have. HEAD is answered by the route for GET. */
export const ROUTE_VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;
export type RouteVerb = (typeof ROUTE_VERBS)[number];

/** How a slice writes a route. */
export type RouteText = `${RouteVerb} /${string}`;

export type RouteSegment =
  | { readonly kind: "literal"; readonly text: string }
  | { readonly kind: "param"; readonly name: string };

export interface Route {
  readonly verb: RouteVerb;
  readonly segments: readonly RouteSegment[];
  /** The same for every route that answers the same requests: the names of its parameters do not count. */
  readonly id: string;
}

/** Of one slice. */
export const ROUTES_MAX = 16;
/** Of a route with its verb. Escaped, it must fit into a key of the store. */
export const ROUTE_CHARS_MAX = 128;

const LITERAL = /^[A-Za-z0-9._~-]+$/;
const PARAM = /^:[A-Za-z][A-Za-z0-9_]*$/;
/** The runtime's own paths, `/v1` and later versions of it. */
const RESERVED = /^(?:v\d+|livez|readyz|metrics|\..*)$/i;

/** @throws AetherError E_INVALID saying what is wrong with it */
export function parseRoute(text: string): Route {
  if (text.length > ROUTE_CHARS_MAX) {
    throw refusal(text, `it has ${text.length} characters, the limit is ${ROUTE_CHARS_MAX}`);
  }
  const [verbText = "", path = "", ...rest] = text.split(" ");
  const verb = ROUTE_VERBS.find((known) => known === verbText);
  if (verb === undefined || rest.length > 0 || !path.startsWith("/")) {
    throw refusal(text, `write a verb (${ROUTE_VERBS.join(", ")}), one space and a path`);
  }
  const segments = path.slice(1).split("/").map((segment) => parseSegment(text, segment));
  const [first] = segments;
  if (first?.kind !== "literal") throw refusal(text, "its first segment is a fixed word, not a parameter");
  if (RESERVED.test(first.text)) throw refusal(text, `/${first.text} is kept for the runtime: choose another word`);
  const names = segments.flatMap((segment) => (segment.kind === "param" ? segment.name : []));
  if (new Set(names).size < names.length) throw refusal(text, "two of its parameters have the same name");
  const shape = segments.map((segment) => (segment.kind === "literal" ? segment.text : ":"));
  return { verb, segments, id: `${verb} /${shape.join("/")}` };
}

function parseSegment(route: string, segment: string): RouteSegment {
  if (PARAM.test(segment)) return { kind: "param", name: segment.slice(1) };
  if (LITERAL.test(segment) && segment !== "." && segment !== "..") return { kind: "literal", text: segment };
  const reason = `a segment is a word of letters, digits and "-._~", or a parameter as ":id"; "${segment}" is not`;
  throw refusal(route, reason);
}

function refusal(route: string, reason: string): AetherError {
  const shown = route.length > ROUTE_CHARS_MAX ? `${route.slice(0, ROUTE_CHARS_MAX)}…` : route;
  return new AetherError("E_INVALID", `"${shown}" cannot be a route: ${reason}`, { details: { route: shown } });
}
