// Owns: which declared route answers a request: fixed words before parameters, from left to right.
// Paths are compared as they were sent, byte by byte: nothing is decoded or resolved before a route is found, so `..`
// and encoded slashes never lead anywhere else.
import { parseRoute, type Route } from "../../../sdk/route.ts";

export type RouteMatch<T> =
  | { readonly kind: "found"; readonly value: T; readonly params: Readonly<Record<string, string>> }
  | { readonly kind: "wrong-verb"; readonly allowed: readonly string[] }
  /** A route was found, and the request gives it a parameter that it must not have. */
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "none" };

interface Entry<T> {
  readonly route: Route;
  readonly value: T;
}

// A parameter is one name: who makes a path or a key of it must not be led elsewhere.
const UNFIT = /[/\\\p{Control}]/u;

/** Routes, ready to be looked up. */
export class RouteIndex<T> {
  /** By first word and number of segments. */
  private readonly entries = new Map<string, Entry<T>[]>();

  /** Each route is declared text, as `GET /shop/orders/:id`. @throws AetherError E_INVALID for what is no route */
  constructor(routes: readonly (readonly [string, T])[]) {
    for (const [text, value] of routes) {
      const route = parseRoute(text);
      const [first] = route.segments;
      const group = groupOf(first?.kind === "literal" ? first.text : "", route.segments.length);
      const entries = this.entries.get(group) ?? [];
      entries.push({ route, value });
      this.entries.set(group, entries);
    }
    for (const entries of this.entries.values()) entries.sort((a, b) => compareRoutes(a.route, b.route));
  }

  /** `path` begins with "/" and has no query; it is still percent-encoded. */
  match(verb: string, path: string): RouteMatch<T> {
    const segments = path.split("/").slice(1);
    const entries = this.entries.get(groupOf(segments[0] ?? "", segments.length)) ?? [];
    const fitting = entries.filter(({ route }) => isFitting(route, segments));
    if (fitting.length === 0) return { kind: "none" };
    const wanted = verb === "HEAD" ? "GET" : verb;
    const found = fitting.find(({ route }) => route.verb === wanted);
    if (found === undefined) return { kind: "wrong-verb", allowed: allowedOf(fitting.map(({ route }) => route.verb)) };
    return withParams(found, segments);
  }
}

function groupOf(first: string, length: number): string {
  return `${length}/${first}`;
}

function isFitting({ segments }: Route, found: readonly string[]): boolean {
  return segments.every((segment, index) =>
    segment.kind === "literal" ? segment.text === found[index] : found[index] !== "");
}

function withParams<T>({ route, value }: Entry<T>, found: readonly string[]): RouteMatch<T> {
  const params: [string, string][] = [];
  for (const [index, segment] of route.segments.entries()) {
    if (segment.kind === "literal") continue;
    const text = decoded(found[index] ?? "");
    if (text === undefined) return { kind: "refused", reason: `"${segment.name}" is not well percent-encoded UTF-8` };
    if (UNFIT.test(text) || text === "." || text === "..") {
      const reason = `"${segment.name}" is one segment: no slash, backslash, control character, "." or ".."`;
      return { kind: "refused", reason };
    }
    params.push([segment.name, text]);
  }
  return { kind: "found", value, params: Object.fromEntries(params) };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    // ignored: that it cannot be decoded is the answer.
    return undefined;
  }
}

/** The methods of HTTP that such verbs answer. */
export function allowedOf(verbs: readonly string[]): readonly string[] {
  return [...new Set(verbs.flatMap((verb) => (verb === "GET" ? ["GET", "HEAD"] : [verb])))];
}

/** A fixed word is more exact than a parameter; the first difference decides. */
function compareRoutes(a: Route, b: Route): number {
  for (const [index, segment] of a.segments.entries()) {
    const other = b.segments[index];
    if (other !== undefined && segment.kind !== other.kind) return segment.kind === "literal" ? -1 : 1;
  }
  return a.id < b.id ? -1 : 1;
}
