// Owns: turning a blueprint document into a resolved blueprint: each artifact range and each use becomes one exact
// artifact, or a sentence that says what is missing.
// Uses may be mutual and form cycles: they are resolved to artifacts, not to live endpoints, and no slice waits for
// another one to load.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId } from "../../base/ids.ts";
import type { BlueprintDocument, SliceDocument } from "../../sdk/blueprint.ts";
import type { ResolvedBlueprint, ResolvedSlice } from "./blueprint.ts";
import { toCanonical } from "./canonical.ts";
import type { ResolvedUse } from "./instance-spec.ts";
import type { JsonSchema, Manifest, ManifestUse } from "./manifest.ts";
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

/** One thing that is wrong with a blueprint, and where. */
interface Issue {
  readonly path: readonly string[];
  readonly message: string;
}

const CANDIDATES_SHOWN = 10;

/**
 * Resolves everything, or names everything that cannot be.
 * @throws AetherError E_INVALID with `details.issues`: the path in the document, and what the candidates are.
 */
export function resolveBlueprint(request: ResolveRequest): ResolvedBlueprint {
  const issues: Issue[] = [];
  const chosen = chooseArtifacts(request, issues);
  const slices: [string, ResolvedSlice][] = [];
  for (const [slice, manifest] of chosen) {
    const document = request.document.slices[slice];
    if (document === undefined) continue;
    checkConfig(slice, document, manifest, issues);
    slices.push([slice, resolvedSlice(document, manifest, resolveUses(request, chosen, slice, issues))]);
  }
  if (issues.length > 0) throw refusal(request.name, issues);
  return { name: request.name, revision: request.revision, slices: Object.fromEntries(slices) };
}

function resolvedSlice(
  document: SliceDocument,
  manifest: Manifest,
  uses: Readonly<Record<string, ResolvedUse>>,
): ResolvedSlice {
  const { instances, heapBytesMax, concurrency, variables, labels } = document;
  return {
    artifact: manifest.artifact,
    instances,
    config: toCanonical(document.config ?? {}),
    uses,
    heapBytesMax,
    concurrency,
    variables,
    labels,
    minAvailable: document.minAvailable ?? Math.max(0, instances - 1),
  };
}

function chooseArtifacts(request: ResolveRequest, issues: Issue[]): Map<string, Manifest> {
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
      chosen.set(slice, manifest);
    }
  }
  return chosen;
}

function resolveUses(
  request: ResolveRequest,
  chosen: ReadonlyMap<string, Manifest>,
  slice: string,
  issues: Issue[],
): Readonly<Record<string, ResolvedUse>> {
  const uses: [string, ResolvedUse][] = [];
  for (const [alias, use] of Object.entries(chosen.get(slice)?.uses ?? {})) {
    const path = ["slices", slice, "uses", alias];
    const artifact = resolveUse(request, chosen, { use, path }, issues);
    if (artifact !== undefined) uses.push([alias, { slice: use.slice, artifact }]);
  }
  return Object.fromEntries(uses);
}

/** In this order: this blueprint's slice, another blueprint's, the newest artifact held (it may be started later). */
function resolveUse(
  request: ResolveRequest,
  chosen: ReadonlyMap<string, Manifest>,
  { use, path }: { readonly use: ManifestUse; readonly path: readonly string[] },
  issues: Issue[],
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

/**
 * A first check, so that most mistakes show when applying. What JSON Schema cannot say (refinements, transforms) is
 * checked by each instance with the slice's own schema when it is loaded.
 */
function checkConfig(slice: string, document: SliceDocument, manifest: Manifest, issues: Issue[]): void {
  const path = ["slices", slice, "config"];
  if (manifest.config === undefined) {
    const message = `${manifest.artifact} takes no config: leave it out`;
    if (document.config !== undefined) issues.push({ path, message });
    return;
  }
  const checked = importJsonSchema(manifest.config)?.safeParse(document.config ?? {});
  if (checked === undefined || checked.success) return;
  for (const issue of checked.error.issues) {
    issues.push({ path: [...path, ...issue.path.map(String)], message: issue.message });
  }
}

function importJsonSchema(schema: JsonSchema): z.ZodType | undefined {
  try {
    return z.fromJSONSchema(schema);
  } catch {
    // ignored: not every JSON Schema can be read back; then the instance's own check at load is the only one.
    return undefined;
  }
}

function readReference(text: string, path: readonly string[], issues: Issue[]): ArtifactReference | undefined {
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

function refusal(name: string, issues: readonly Issue[]): AetherError {
  const lines = issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  const message = `blueprint "${name}" cannot be applied: ${lines.join("; ")}`;
  return new AetherError("E_INVALID", message, { details: { issues } });
}
