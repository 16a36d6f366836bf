// Owns: turning a blueprint document into a resolved blueprint: each artifact range and each use becomes one exact
// artifact, or a sentence that says what is missing.
// Uses may be mutual and form cycles: they are resolved to artifacts, not to live endpoints. What a slice waits for
// before it is activated (`loadAfter`) may not: such a circle would never come up, and is refused with its path.
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId } from "../../base/ids.ts";
import type { SchemaIssue } from "../../base/schema-issues.ts";
import type { BlueprintDocument, SliceDocument } from "../../sdk/blueprint.ts";
import { unavailableMax } from "../../sdk/rollout.ts";
import { parseRoute } from "../../sdk/route.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "./blueprint.ts";
import { toCanonical } from "./canonical.ts";
import { checkConfig, CONFIG_LOOKS_MAX, type CheckEffort } from "./config-check.ts";
import { isDeeperThan } from "./data-depth.ts";
import type { ResolvedUse } from "./instance-spec.ts";
import { findLoadCycle } from "./load-order.ts";
import type { Manifest, ManifestUse } from "./manifest.ts";
import { sdkIssueOf } from "./manifest-rules.ts";
import { resolveRoutes } from "./route-row.ts";
import { resolveAgentSchedules, resolveSchedules } from "./schedule-row.ts";
import { resolveTopics } from "./topic-row.ts";
import {
  isMatch, isSameFamily, parseArtifactReference, pickNewest, sortNewestFirst, type ArtifactReference,
} from "./version.ts";

export interface ResolveRequest {
  readonly name: string;
  readonly revision: number;
  readonly document: BlueprintDocument;
  /** Every artifact the cluster holds. */
  readonly artifacts: readonly Manifest[];
  /** Slices of other blueprints that run now, by name. */
  readonly elsewhere: ReadonlyMap<string, ArtifactId>;
}

const CANDIDATES_SHOWN = 10;
/** Levels of a config. A value of the store has 64, of which the rows around it take a few. */
const CONFIG_DEPTH_MAX = 32;

/**
 * Resolves everything, or names everything that cannot be.
 * @throws AetherError E_INVALID with `details.issues`: the path in the document, and what the candidates are.
 */
export function resolveBlueprint(request: ResolveRequest): ResolvedBlueprint {
  const issues: SchemaIssue[] = [];
  const chosen = chooseArtifacts(request, issues);
  const slices: [string, ResolvedSlice][] = [];
  const effort: CheckEffort = { looksLeft: CONFIG_LOOKS_MAX };
  for (const [slice, manifest] of chosen) {
    const document = request.document.slices[slice];
    if (document === undefined) continue;
    const config = configIssues(slice, { document, manifest }, effort);
    issues.push(...config, ...loadIssues(slice, manifest, request.document));
    const uses = resolveUses(request, chosen, slice, issues);
    if (issues.length === 0) slices.push([slice, resolvedSlice(document, manifest, uses)]);
  }
  issues.push(...cycleIssues(chosen), ...routeIssues(chosen));
  if (issues.length > 0) throw refusal(request.name, issues);
  return { name: request.name, revision: request.revision, slices: Object.fromEntries(slices) };
}

function resolvedSlice(
  document: SliceDocument,
  manifest: Manifest,
  uses: Readonly<Record<string, ResolvedUse>>,
): ResolvedSlice {
  const { instances, heapBytesMax, concurrency, variables, labels, rollout } = document;
  const { loadAfter } = manifest;
  const routes = resolveRoutes(manifest);
  const topics = resolveTopics(manifest);
  const schedules = resolveSchedules(manifest);
  const agentSchedules = resolveAgentSchedules(manifest);
  return {
    artifact: manifest.artifact,
    instances,
    config: toCanonical(document.config ?? {}),
    uses,
    ...(loadAfter === undefined ? {} : { loadAfter }),
    ...(routes.length === 0 ? {} : { routes }),
    ...(topics.length === 0 ? {} : { topics }),
    ...(schedules.length === 0 ? {} : { schedules }),
    ...(agentSchedules.length === 0 ? {} : { agentSchedules }),
    heapBytesMax,
    concurrency,
    variables,
    labels,
    minAvailable: document.minAvailable ?? Math.max(0, instances - Math.max(1, unavailableMax(rollout, instances))),
    ...(rollout === undefined ? {} : { rollout }),
  };
}

function chooseArtifacts(request: ResolveRequest, issues: SchemaIssue[]): Map<string, Manifest> {
  const byArtifact = new Map(request.artifacts.map((manifest) => [manifest.artifact, manifest]));
  const chosen = new Map<string, Manifest>();
  for (const [slice, document] of Object.entries(request.document.slices)) {
    const path = ["slices", slice, "artifact"];
    const reference = readReference(document.artifact, path, issues);
    if (reference === undefined) continue;
    const held = [...byArtifact.keys()];
    const artifact = pickNewest(held.filter((candidate) => isMatch(reference, candidate)));
    const manifest = artifact === undefined ? undefined : byArtifact.get(artifact);
    if (manifest === undefined) {
      issues.push({ path, message: missingArtifact(document.artifact, reference, held) });
    } else if (manifest.slice !== slice) {
      const message = `${manifest.artifact} is the slice "${manifest.slice}": give it that name in the blueprint`;
      issues.push({ path: ["slices", slice], message });
    } else {
      const outdated = sdkIssueOf(manifest.sdkVersion);
      if (outdated !== undefined) issues.push({ path, message: `${manifest.artifact}: ${outdated.message}` });
      chosen.set(slice, manifest);
    }
  }
  return chosen;
}

function resolveUses(
  request: ResolveRequest,
  chosen: ReadonlyMap<string, Manifest>,
  slice: string,
  issues: SchemaIssue[],
): Readonly<Record<string, ResolvedUse>> {
  const uses: [string, ResolvedUse][] = [];
  for (const [alias, use] of Object.entries(chosen.get(slice)?.uses ?? {})) {
    const path = ["slices", slice, "uses", alias];
    const artifact = resolveUse(request, chosen, { use, path }, issues);
    if (artifact !== undefined) uses.push([alias, { slice: use.slice, artifact, ...rangeOf(use) }]);
  }
  return Object.fromEntries(uses);
}

/** In this order: this blueprint's slice, another blueprint's, the newest artifact held (it may be started later). */
function resolveUse(
  request: ResolveRequest,
  chosen: ReadonlyMap<string, Manifest>,
  { use, path }: { readonly use: ManifestUse; readonly path: readonly string[] },
  issues: SchemaIssue[],
): ArtifactId | undefined {
  const reference = use.artifact === undefined ? undefined : readReference(use.artifact, path, issues);
  if (use.artifact !== undefined && reference === undefined) return undefined;
  const wanted = use.artifact ?? `a slice "${use.slice}"`;

  // This one has an issue of its own already: a second one about it would not help.
  if (Object.hasOwn(request.document.slices, use.slice) && !chosen.has(use.slice)) return undefined;
  const running = chosen.get(use.slice)?.artifact ?? request.elsewhere.get(use.slice);
  if (running !== undefined) {
    if (reference === undefined || isMatch(reference, running)) return running;
    issues.push({ path, message: `it needs ${wanted}, but the slice "${use.slice}" is ${running}` });
    return undefined;
  }

  const held = request.artifacts.filter(({ slice }) => slice === use.slice).map(({ artifact }) => artifact);
  const matching = held.filter((artifact) => reference === undefined || isMatch(reference, artifact));
  const newest = pickNewest(matching);
  if (newest === undefined) {
    issues.push({ path, message: `it needs ${wanted}, but no blueprint runs it and the cluster holds ${shown(held)}` });
  } else if (new Set(matching.map(familyOf)).size > 1) {
    issues.push({ path, message: `it needs ${wanted}, which is ambiguous: the cluster holds ${shown(matching)}; ` +
      `say which one under "uses" where the slice is built, or add the slice to this blueprint` });
    return undefined;
  }
  return newest;
}

/** The versions that will do, also when the resolved one is not there to be called. */
function rangeOf(use: ManifestUse): { readonly range?: string } {
  return use.artifact === undefined ? {} : { range: parseArtifactReference(use.artifact).range };
}

function configIssues(
  slice: string,
  { document, manifest }: { readonly document: SliceDocument; readonly manifest: Manifest },
  effort: CheckEffort,
): readonly SchemaIssue[] {
  const path = ["slices", slice, "config"];
  if (manifest.config === undefined) {
    const message = `${manifest.artifact} takes no config: leave it out`;
    return document.config === undefined ? [] : [{ path, message }];
  }
  if (isDeeperThan(document.config, CONFIG_DEPTH_MAX)) {
    return [{ path, message: `it is deeper than ${CONFIG_DEPTH_MAX} levels: make it flatter` }];
  }
  return checkConfig(manifest.config, document.config ?? {}, effort)
    .map((issue) => ({ path: [...path, ...issue.path], message: issue.message }));
}

/** Only slices of the same blueprint: two blueprints, each applied alone, could otherwise close a circle. */
function loadIssues(slice: string, { loadAfter = [] }: Manifest, document: BlueprintDocument): readonly SchemaIssue[] {
  return loadAfter.filter((name) => !Object.hasOwn(document.slices, name)).map((name) => ({
    path: ["slices", slice, "loadAfter"],
    message: `it is loaded after "${name}", which is not in this blueprint: add that slice to it`,
  }));
}

function cycleIssues(chosen: ReadonlyMap<string, Manifest>): readonly SchemaIssue[] {
  const order = new Map([...chosen].map(([slice, { loadAfter = [] }]) => [slice, loadAfter]));
  const cycle = findLoadCycle(order);
  if (cycle === undefined) return [];
  const message = `${cycle.join(" -> ")}: each waits for the next to serve, so none would ever be activated; ` +
    "call later than in start(), and leave one out of loadAfter";
  return [{ path: ["slices", cycle[0] ?? "", "loadAfter"], message }];
}

/** Two slices of one blueprint that answer the same requests. */
function routeIssues(chosen: ReadonlyMap<string, Manifest>): readonly SchemaIssue[] {
  const first = new Map<string, string>();
  return [...chosen].flatMap(([slice, { routes = {} }]) => Object.keys(routes).flatMap((route) => {
    const { id } = parseRoute(route);
    const owner = first.get(id);
    first.set(id, owner ?? slice);
    if (owner === undefined || owner === slice) return [];
    return [{ path: ["slices", slice, "routes", route], message: `the slice "${owner}" has this route already` }];
  }));
}

function readReference(text: string, path: readonly string[], issues: SchemaIssue[]): ArtifactReference | undefined {
  try {
    return parseArtifactReference(text);
  } catch (error) {
    if (!(error instanceof AetherError)) throw error;
    issues.push({ path, message: error.message });
    return undefined;
  }
}

function missingArtifact(text: string, reference: ArtifactReference, held: readonly ArtifactId[]): string {
  const family = held.filter((candidate) => isSameFamily(reference, candidate));
  if (family.length > 0) return `the cluster holds no ${text}; of this name it holds ${shown(family)}`;
  return `the cluster holds no ${text}: push it first; it holds ${shown(held)}`;
}

function familyOf(artifact: ArtifactId): string {
  return artifact.slice(0, artifact.lastIndexOf(":"));
}

function shown(artifacts: readonly ArtifactId[]): string {
  if (artifacts.length === 0) return "none";
  const rest = artifacts.length - CANDIDATES_SHOWN;
  const list = sortNewestFirst(artifacts).slice(0, CANDIDATES_SHOWN).join(", ");
  return rest > 0 ? `${list} and ${rest} more` : list;
}

function refusal(name: string, issues: readonly SchemaIssue[]): AetherError {
  const lines = issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  const message = `blueprint "${name}" cannot be applied: ${lines.join("; ")}`;
  return new AetherError("E_INVALID", message, { details: { issues } });
}
