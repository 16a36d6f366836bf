// Owns: what the manifest of a new artifact must keep to, beyond its form. What the cluster holds already was accepted
// by the rules of its time and stays readable.
import semver from "semver";
import { encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { describeIssue, type SchemaIssue } from "../../base/schema-issues.ts";
import { KiB } from "../../base/units.ts";
import { AGENT_SIGNALS_MAX, AGENT_TOOLS_MAX, AGENTS_MAX } from "../../sdk/agent.ts";
import { TIMEOUT_MS_MAX } from "../../sdk/call-timeouts.ts";
import { METHODS_MAX } from "../../sdk/contract.ts";
import { parseRoute, ROUTES_MAX, type Route } from "../../sdk/route.ts";
import { TOPICS_MAX } from "../../sdk/topic.ts";
import { SDK_VERSION } from "../../sdk/version.ts";
import { isDeeperThan } from "./data-depth.ts";
import type { JsonSchema, Manifest, ManifestTool } from "./manifest.ts";
import { parseArtifactReference } from "./version.ts";

/** As MessagePack. The artifact's row holds it, and is written together with the first chunk of the archive. */
export const MANIFEST_BYTES_MAX = 256 * KiB;
/** Levels of one JSON Schema. A value of the store has 64, of which its row takes a few. */
const SCHEMA_DEPTH_MAX = 32;
/** Slices that one slice calls, and slices that it waits for. */
const USES_MAX = 100;

/**
 * Checks what a builder or a pusher brings, before anything is written.
 * @throws AetherError E_TOO_LARGE with limit and actual; E_VERSION for another SDK; E_INVALID. Each but the first has
 *   the places in `details.issues`.
 */
export function checkNewManifest(manifest: Manifest): void {
  const actual = encode(manifest).byteLength;
  if (actual > MANIFEST_BYTES_MAX) {
    const message = `the manifest of ${manifest.artifact} has ${actual} bytes, the limit is ${MANIFEST_BYTES_MAX}: ` +
      "split the contract, or shorten its schemas";
    throw new AetherError("E_TOO_LARGE", message, { details: { limit: MANIFEST_BYTES_MAX, actual } });
  }
  const sdkIssue = sdkIssueOf(manifest.sdkVersion);
  if (sdkIssue !== undefined) throw refusal("E_VERSION", manifest, [sdkIssue]);
  const issues = [
    ...countIssues(manifest), ...methodIssues(manifest), ...depthIssues(manifest), ...selfIssues(manifest),
    ...referenceIssues(manifest), ...routeIssues(manifest), ...topicIssues(manifest), ...agentIssues(manifest),
  ];
  if (issues.length > 0) throw refusal("E_INVALID", manifest, issues);
}

/**
 * Why this version does not run what was built with that SDK; undefined when it does. Before 1.0 each minor version is
 * one of its own; from then on a slice may be older than the node, but not newer.
 */
export function sdkIssueOf(sdkVersion: string): SchemaIssue | undefined {
  const built = semver.parse(sdkVersion);
  const own = semver.parse(SDK_VERSION);
  if (built === null || own === null) return sdkIssue(`"${sdkVersion.slice(0, 64)}" is no version of the SDK`);
  const isSameLine = built.major === own.major && (own.major > 0 || built.minor === own.minor);
  if (isSameLine && built.minor <= own.minor) return undefined;
  const advice = semver.gt(built, own) ? "upgrade the nodes first, or build it with that one" : "build it again";
  return sdkIssue(`the slice was built with SDK ${sdkVersion}, this node has ${SDK_VERSION}: ${advice}`);
}

function sdkIssue(message: string): SchemaIssue {
  return { path: ["sdkVersion"], message };
}

function countIssues({ methods, uses, loadAfter = [] }: Manifest): readonly SchemaIssue[] {
  return [
    ...tooMany("methods", Object.keys(methods).length, METHODS_MAX),
    ...tooMany("uses", Object.keys(uses).length, USES_MAX),
    ...tooMany("loadAfter", loadAfter.length, USES_MAX),
  ];
}

function tooMany(
  place: string | readonly string[], actual: number, limit: number,
): readonly SchemaIssue[] {
  const path = typeof place === "string" ? [place] : place;
  return actual <= limit ? [] : [{ path, message: `it has ${actual}; the limit is ${limit}` }];
}

/** What the SDK refuses where a contract is written. */
function methodIssues({ methods }: Manifest): readonly SchemaIssue[] {
  const found = Object.entries(methods);
  // Each is looked at only when there are few.
  if (found.length > METHODS_MAX) return [];
  return found.flatMap(([name, { effect, timeoutMs, policy }]) => {
    const path = ["methods", name];
    const issues: SchemaIssue[] = [];
    if (timeoutMs > TIMEOUT_MS_MAX) {
      issues.push({ path: [...path, "timeoutMs"], message: `it is ${timeoutMs}; use 1 to ${TIMEOUT_MS_MAX}` });
    }
    if (policy?.cache !== undefined && effect !== "read") {
      issues.push({ path: [...path, "policy", "cache"], message: `only a "read" may have a cache, not a "${effect}"` });
    }
    return issues;
  });
}

function depthIssues({ methods, config, agents = {} }: Manifest): readonly SchemaIssue[] {
  const schemas: [readonly string[], JsonSchema][] = Object.entries(methods).flatMap(([name, { input, output }]) => [
    [["methods", name, "input"], input],
    [["methods", name, "output"], output],
  ]);
  if (config !== undefined) schemas.push([["config"], config]);
  for (const [name, { input, output, signals }] of Object.entries(agents)) {
    schemas.push([["agents", name, "input"], input], [["agents", name, "output"], output]);
    const ofSignals = Object.entries(signals);
    schemas.push(...ofSignals.map(([signal, schema]): [readonly string[], JsonSchema] =>
      [["agents", name, "signals", signal], schema]));
  }
  return schemas.filter(([, schema]) => isDeeperThan(schema, SCHEMA_DEPTH_MAX))
    .map(([path]) => ({ path, message: `its JSON Schema is deeper than ${SCHEMA_DEPTH_MAX} levels: name its parts` }));
}

/** A call to its own name would go to any of its instances, itself included. */
function selfIssues({ slice, uses, loadAfter = [] }: Manifest): readonly SchemaIssue[] {
  const called = Object.entries(uses).filter(([, use]) => use.slice === slice).map(([alias]) => ({
    path: ["uses", alias],
    message: "a slice does not call itself through the cluster: call the function",
  }));
  if (!loadAfter.includes(slice)) return called;
  const message = "a slice that waits for itself is never activated: leave it out";
  return [...called, { path: ["loadAfter"], message }];
}

/** Whoever applies it could do nothing about it. */
function referenceIssues({ uses }: Manifest): readonly SchemaIssue[] {
  const found = Object.entries(uses);
  // Each is looked at only when there are few.
  if (found.length > USES_MAX) return [];
  return found.flatMap(([alias, { artifact }]) => {
    const message = artifact === undefined ? undefined : messageOf(() => parseArtifactReference(artifact));
    return message === undefined ? [] : [{ path: ["uses", alias, "artifact"], message }];
  });
}

function routeIssues({ methods, routes = {} }: Manifest): readonly SchemaIssue[] {
  const found = Object.entries(routes);
  // Each is looked at only when there are few.
  if (found.length > ROUTES_MAX) return tooMany("routes", found.length, ROUTES_MAX);
  const first = new Map<string, string>();
  return found.flatMap(([route, method]) => {
    const message = routeIssueOf({ route, method, methods, first });
    return message === undefined ? [] : [{ path: ["routes", route.slice(0, ROUTE_SHOWN_CHARS)], message }];
  });
}

function routeIssueOf({ route, method, methods, first }: {
  readonly route: string;
  readonly method: string;
  readonly methods: Manifest["methods"];
  /** The routes seen before, by id. */
  readonly first: Map<string, string>;
}): string | undefined {
  let parsed: Route;
  try {
    parsed = parseRoute(route);
  } catch (error) {
    if (error instanceof AetherError) return error.message;
    throw error;
  }
  const same = first.get(parsed.id);
  if (same !== undefined) return `it answers the same requests as "${same}": leave one of them out`;
  first.set(parsed.id, route);
  const effect = Object.hasOwn(methods, method) ? methods[method]?.effect : undefined;
  if (effect === undefined) return `the contract has no method "${method}"`;
  // Browsers, caches and proxies repeat a GET as they like.
  if (parsed.verb !== "GET" || effect === "read") return undefined;
  return `a GET changes nothing, but the effect of "${method}" is ${effect}: use POST, PUT, PATCH or DELETE`;
}

function topicIssues({ methods, on = {} }: Manifest): readonly SchemaIssue[] {
  const found = Object.entries(on);
  if (found.length > TOPICS_MAX) return tooMany("on", found.length, TOPICS_MAX);
  return found.flatMap(([topic, method]) => {
    const path = ["on", topic];
    const effect = Object.hasOwn(methods, method) ? methods[method]?.effect : undefined;
    if (effect === undefined) return [{ path, message: `the contract has no method "${method}"` }];
    if (effect !== "read") return [];
    return [{ path, message: `the effect of "${method}" is read, but handling a message changes something` }];
  });
}

/** What the SDK refuses where an agent is written. */
function agentIssues({ agents = {} }: Manifest): readonly SchemaIssue[] {
  const found = Object.entries(agents);
  // Each is looked at only when there are few.
  if (found.length > AGENTS_MAX) return tooMany("agents", found.length, AGENTS_MAX);
  return found.flatMap(([name, { tools, signals }]) => {
    const path = ["agents", name];
    const ofTools = Object.entries(tools);
    return [
      ...tooMany([...path, "tools"], ofTools.length, AGENT_TOOLS_MAX),
      ...tooMany([...path, "signals"], Object.keys(signals).length, AGENT_SIGNALS_MAX),
      ...ofTools.slice(0, AGENT_TOOLS_MAX).flatMap(([tool, facts]) => toolIssues([...path, "tools", tool], facts)),
    ];
  });
}

function toolIssues(path: readonly string[], { effect, timeoutMs, hasReconcile }: ManifestTool): SchemaIssue[] {
  const issues: SchemaIssue[] = [];
  if (timeoutMs > TIMEOUT_MS_MAX) {
    issues.push({ path: [...path, "timeoutMs"], message: `it is ${timeoutMs}; use 1 to ${TIMEOUT_MS_MAX}` });
  }
  if (hasReconcile && effect !== "once") {
    issues.push({ path: [...path, "hasReconcile"], message: `nobody asks it of a tool whose effect is ${effect}` });
  }
  return issues;
}

function refusal(code: "E_VERSION" | "E_INVALID", manifest: Manifest, issues: readonly SchemaIssue[]): AetherError {
  const shown = issues.slice(0, ISSUES_SHOWN);
  const message = `${manifest.artifact} cannot be stored: ${shown.map(describeIssue).join("; ")}`;
  return new AetherError(code, message, { details: { issues: shown } });
}

/** Why it cannot be read, if so. */
function messageOf(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (error instanceof AetherError) return error.message;
    throw error;
  }
}

const ISSUES_SHOWN = 20;
const ROUTE_SHOWN_CHARS = 80;
