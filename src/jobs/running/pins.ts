// Owns: what exactly the jobs of an agent run: which slice of which blueprint has it now, written down once as a pin.
// Does not own: keeping the artifacts that pins name (pin-needs.ts), which counts on two things: a pin is written in a
// transaction that compares the artifact's row, and renewed whenever a job is about to be started with one that was not
// for half an hour.
import { sha256 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import { artifactParts, type ArtifactId, type Digest } from "../../base/ids.ts";
import { describeIssue } from "../../base/schema-issues.ts";
import { MINUTE_MS } from "../../base/units.ts";
import { storable } from "../../cluster/core/plain-value.ts";
import type { CallOptions } from "../../env/env.ts";
import type { Clock } from "../../env/clock.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, knownKey, prefixOf } from "../../kvstore/core/key.ts";
import type { KvEntry } from "../../kvstore/core/schema.ts";
import type { Kv, KvReadOptions } from "../../kvstore/kv.ts";
import { parseArtifactRow, type ArtifactRow } from "../../slices/core/artifact-row.ts";
import {
  parseCurrentBlueprint, parseResolvedBlueprint, type ResolvedBlueprint, type ResolvedSlice,
} from "../../slices/core/blueprint.ts";
import { toCanonical } from "../../slices/core/canonical.ts";
import { checkConfig, CONFIG_LOOKS_MAX } from "../../slices/core/config-check.ts";
import type { Manifest, ManifestAgent } from "../../slices/core/manifest.ts";
import { listRows } from "../../slices/list-rows.ts";
import { amountOf } from "../core/budget/amounts.ts";
import { joinedLabels } from "../core/flow/labels.ts";
import type { JobNeeds } from "../core/life/decide-start.ts";
import { parsePinRow, type PinRow } from "../core/rows.ts";

export interface PinsPorts {
  readonly kv: Kv;
  /** Current blueprints as this node has them; they may be a little older than what the store has. */
  readonly blueprints: () => readonly ResolvedBlueprint[];
}

/** Half of the time for which a pin that no live job has keeps its artifact. */
const RENEW_AFTER_MS = 30 * MINUTE_MS;
const ATTEMPTS_MAX = 5;
/** Pins that are remembered, and artifacts: of the agents that are in use. */
const REMEMBERED_MAX = 1_000;

/** What a worker is made from beside its code. */
type PinSettings = Pick<ResolvedSlice, "artifact" | "config" | "uses" | "heapBytesMax" | "variables"> &
  Partial<Pick<ResolvedSlice, "labels">>;

interface FoundAgent {
  readonly blueprint: string;
  readonly slice: string;
  readonly resolved: PinSettings;
  readonly row: ArtifactRow;
  /** Of the artifact's row. */
  readonly modRevision: number;
}

export class Pins {
  private readonly clock: Pick<Clock, "wallMs">;
  private readonly ports: PinsPorts;
  private readonly renewed = new Map<Digest, number>();
  private readonly rows = new Map<Digest, PinRow>();
  /** Of the artifacts of pins, which a pin keeps as they are. */
  private readonly agents = new Map<Digest, NonNullable<Manifest["agents"]>>();
  private readonly artifacts = new Map<ArtifactId, Pick<FoundAgent, "row" | "modRevision">>();

  constructor(env: { readonly clock: Pick<Clock, "wallMs"> }, ports: PinsPorts) {
    this.clock = env.clock;
    this.ports = ports;
  }

  /**
   * What a job of the agent that is started now runs. `isGone` names a pin that was found to be away.
   * @throws AetherError E_NOT_FOUND when no blueprint has the agent, E_CONFLICT when two have it
   */
  async resolve(agent: string, options: CallOptions & { readonly isGone?: Digest } = {}): Promise<Digest> {
    if (options.isGone !== undefined) this.forget(options.isGone);
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      options.signal?.throwIfAborted();
      const found = await this.find(agent, options);
      const digest = digestOfPin(found);
      if (this.isFresh(digest) || await this.write(digest, found, options)) return digest;
    }
    throw new AetherError("E_CONFLICT", `the artifact of agent "${agent}" was pushed or removed again and again ` +
      "while a job was to be started: start it again");
  }

  /**
   * What a job of this pin would run with another version of its package: with what a blueprint says of that version in
   * this slice now, or else with what the job has.
   * @throws AetherError E_NOT_FOUND when the cluster does not have the version, E_INVALID when it is one of another
   *   package or lacks the agent, E_CONFLICT when what the job has is not what the version needs
   */
  async otherVersion(
    pin: Digest,
    { agent, artifact }: { readonly agent: string; readonly artifact: ArtifactId },
    options: CallOptions = {},
  ): Promise<Digest> {
    const own = await this.read(pin, options);
    requireSamePackage(own.artifact, artifact);
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      const stored = await this.readArtifact(artifact, options);
      if (stored === undefined) {
        throw new AetherError("E_NOT_FOUND", `the cluster has no artifact ${artifact}: push it first`, {
          details: { artifact },
        });
      }
      const { manifest } = stored.row;
      if (!Object.hasOwn(manifest.agents ?? {}, agent)) {
        throw new AetherError("E_INVALID", `${artifact} has no agent "${agent}"`, { details: { artifact } });
      }
      const resolved = await this.settingsOf(artifact, own, options) ?? fitting(manifest, { ...own, artifact });
      const found = { slice: own.slice, resolved, ...stored };
      const digest = digestOfPin(found);
      if (this.isFresh(digest) || await this.write(digest, found, options)) return digest;
    }
    throw new AetherError("E_CONFLICT", `the artifact ${artifact} was pushed or removed again and again meanwhile: ` +
      "ask again");
  }

  /** What a blueprint says of this version; undefined when none has it in that slice. */
  private async settingsOf(
    artifact: ArtifactId, { slice }: PinRow, options: CallOptions,
  ): Promise<PinSettings | undefined> {
    const blueprints = await this.readBlueprints(options);
    return blueprints.map(({ slices }) => slices[slice]).find((resolved) => resolved?.artifact === artifact);
  }

  /** @throws AetherError E_NOT_FOUND */
  async read(digest: Digest, options: CallOptions = {}): Promise<PinRow> {
    const known = this.rows.get(digest);
    if (known !== undefined) return known;
    const { entry } = await this.ports.kv.get(formatKey({ kind: "job-pin", digest }), options);
    if (entry === undefined) throw new AetherError("E_NOT_FOUND", `there is no pin ${digest} to run a job with`);
    const row = parsePinRow(entry.value);
    this.remember(digest, row);
    return row;
  }

  /** Whether what the pin runs has the agent too; it is there while a live job has it. */
  async hasAgent(digest: Digest, agent: string, options: CallOptions = {}): Promise<boolean> {
    return await this.definitionOf(digest, agent, options) !== undefined;
  }

  /**
   * What the manifest says of an agent; undefined when the pin's artifact has no such agent, or is not there any more.
   * @throws AetherError E_NOT_FOUND when the pin is not there
   */
  async definitionOf(digest: Digest, agent: string, options: CallOptions = {}): Promise<ManifestAgent | undefined> {
    const agents = this.agents.get(digest) ?? await this.readAgents(digest, options);
    return agents !== undefined && Object.hasOwn(agents, agent) ? agents[agent] : undefined;
  }

  /** What jobs of the agent ask of the nodes, by its blueprint and by its definition. */
  async needsOf(digest: Digest, agent: string, options: CallOptions = {}): Promise<JobNeeds> {
    const { labels: ofSlice = {} } = await this.read(digest, options);
    // Of an artifact that was pushed anew since, the start finds out that its pin is gone.
    const found = await this.definitionOf(digest, agent, options);
    const labels = joinedLabels(ofSlice, found?.labels ?? {});
    if (labels === undefined) {
      throw new AetherError("E_CONFLICT", `the agent "${agent}" and the blueprint that has it ask for nodes with ` +
        "different values of one label: change one of them");
    }
    const budget = found?.budget && amountOf(found.budget);
    return {
      ...(budget !== undefined && { budget }),
      ...(Object.keys(labels).length > 0 && { labels }),
      ...(found?.concurrency !== undefined && { agentMax: found.concurrency }),
      ...(found?.maxDurationMs !== undefined && { maxDurationMs: found.maxDurationMs }),
    };
  }

  /**
   * Keeps a pin for a job that is about to be started with it, whatever its agent is by now.
   * @throws AetherError E_NOT_FOUND when it is not there any more
   */
  async renew(digest: Digest, options: CallOptions = {}): Promise<void> {
    const key = formatKey({ kind: "job-pin", digest });
    for (let attempt = 1; attempt <= ATTEMPTS_MAX && !this.isFresh(digest); attempt++) {
      const { entry } = await this.ports.kv.get(key, options);
      if (entry === undefined) throw new AetherError("E_NOT_FOUND", `there is no pin ${digest} to run a job with`);
      const row: PinRow = { ...parsePinRow(entry.value), renewedMs: this.clock.wallMs() };
      const { succeeded } = await this.ports.kv.transact({
        compare: [unchanged(key, entry.modRevision)], then: [{ kind: "put", key, value: storable(row) }], else: [],
      }, options);
      if (!succeeded) continue;
      this.remember(digest, row);
      this.renewed.set(digest, row.renewedMs);
    }
  }

  private isFresh(digest: Digest): boolean {
    const renewedMs = this.renewed.get(digest);
    return renewedMs !== undefined && this.clock.wallMs() - renewedMs < RENEW_AFTER_MS;
  }

  /** False when the artifact or the pin changed meanwhile. */
  private async write(
    digest: Digest, { row, slice, resolved, modRevision }: Omit<FoundAgent, "blueprint">, options: CallOptions,
  ): Promise<boolean> {
    const { kv } = this.ports;
    const key = formatKey({ kind: "job-pin", digest });
    const { entry } = await kv.get(key, options);
    const renewedMs = this.clock.wallMs();
    const pin: PinRow = { ...pinned({ row, slice, resolved }), renewedMs };
    const { succeeded } = await kv.transact({
      compare: [
        unchanged(formatKey({ kind: "artifact", artifact: resolved.artifact }), modRevision),
        unchanged(key, entry?.modRevision ?? 0),
      ],
      then: [{ kind: "put", key, value: storable(pin) }],
      else: [],
    }, options);
    if (succeeded) this.remember(digest, pin);
    if (succeeded) this.renewed.set(digest, renewedMs);
    return succeeded;
  }

  private async find(agent: string, options: CallOptions): Promise<FoundAgent> {
    const near = await this.search(agent, this.ports.blueprints(), { ...options, consistency: "local" });
    if (near !== undefined) return near;
    // Applied a moment ago, perhaps through another node.
    const stored = await this.search(agent, await this.readBlueprints(options), options);
    if (stored !== undefined) return stored;
    throw new AetherError("E_NOT_FOUND", `no blueprint has an agent "${agent}": push its package and apply a ` +
      "blueprint that names it", { details: { agent } });
  }

  private async search(agent: string, blueprints: readonly ResolvedBlueprint[], options: KvReadOptions):
    Promise<FoundAgent | undefined> {
    const found: FoundAgent[] = [];
    for (const { name: blueprint, slices } of blueprints) {
      for (const [slice, resolved] of Object.entries(slices)) {
        const stored = await this.readArtifact(resolved.artifact, options);
        if (stored === undefined || !Object.hasOwn(stored.row.manifest.agents ?? {}, agent)) continue;
        found.push({ blueprint, slice, resolved, ...stored });
      }
    }
    const [first, second] = found;
    if (first === undefined || second === undefined) return first;
    const places = [first, second].map((one) => `slice "${one.slice}" of blueprint "${one.blueprint}"`).join(" and ");
    throw new AetherError("E_CONFLICT", `an agent "${agent}" is in ${places}: take it out of one of them`);
  }

  private async readArtifact(artifact: ArtifactId, options: KvReadOptions):
    Promise<Pick<FoundAgent, "row" | "modRevision"> | undefined> {
    const { entry } = await this.ports.kv.get(formatKey({ kind: "artifact", artifact }), options);
    if (entry === undefined) return undefined;
    const { modRevision } = entry;
    const known = this.artifacts.get(artifact);
    // A manifest is large: it is parsed once, not at every start.
    if (known?.modRevision === modRevision) return known;
    const found = { row: parseArtifactRow(entry.key, entry.value), modRevision };
    if (this.artifacts.size >= REMEMBERED_MAX) this.artifacts.clear();
    this.artifacts.set(artifact, found);
    return found;
  }

  private async readAgents(digest: Digest, options: CallOptions): Promise<Manifest["agents"]> {
    const { artifact, archive } = await this.read(digest, options);
    const stored = await this.readArtifact(artifact, { ...options, consistency: "local" });
    if (stored?.row.digest !== archive) return undefined;
    const { agents = {} } = stored.row.manifest;
    if (this.agents.size >= REMEMBERED_MAX) this.agents.clear();
    this.agents.set(digest, agents);
    return agents;
  }

  private async readBlueprints(options: CallOptions): Promise<readonly ResolvedBlueprint[]> {
    const entries = await listRows(this.ports.kv, prefixOf({ kind: "blueprints" }), options);
    const byKey = new Map(entries.map((entry) => [entry.key, entry]));
    return entries.flatMap((entry) => currentOf(entry, byKey));
  }

  private remember(digest: Digest, row: PinRow): void {
    if (this.rows.size >= REMEMBERED_MAX) {
      this.rows.clear();
      this.renewed.clear();
    }
    this.rows.set(digest, row);
  }

  private forget(digest: Digest): void {
    this.rows.delete(digest);
    this.renewed.delete(digest);
    this.agents.delete(digest);
  }
}

/** @throws AetherError E_INVALID */
function requireSamePackage(own: ArtifactId, other: ArtifactId): void {
  const [before, after] = [artifactParts(own), artifactParts(other)];
  if (before.group === after.group && before.name === after.name) return;
  throw new AetherError("E_INVALID", `${other} is no version of ${before.group}:${before.name}, which the job runs`, {
    details: { artifact: own },
  });
}

/** What a job has, when the version can do with it. @throws AetherError E_CONFLICT */
function fitting({ artifact, uses, config: schema }: Manifest, own: PinSettings): PinSettings {
  const missing = Object.keys(uses).filter((alias) => !Object.hasOwn(own.uses, alias));
  const advice = "apply a blueprint that has it in this slice first";
  if (missing.length > 0) {
    const found = `${artifact} uses ${missing.join(", ")}, which the job does not have`;
    throw new AetherError("E_CONFLICT", `${found}: ${advice}`);
  }
  const [issue] = schema === undefined ? [] : checkConfig(schema, own.config, { looksLeft: CONFIG_LOOKS_MAX });
  if (issue === undefined) return own;
  throw new AetherError("E_CONFLICT", `${artifact} does not take the config that the job has, at ` +
    `${describeIssue(issue)}: ${advice}`);
}

function currentOf({ key, value }: KvEntry, byKey: ReadonlyMap<string, KvEntry>): readonly ResolvedBlueprint[] {
  const parsed = knownKey(key);
  if (parsed?.kind !== "blueprint-current") return [];
  const { revision } = parseCurrentBlueprint(value);
  const entry = byKey.get(formatKey({ kind: "blueprint", name: parsed.name, revision }));
  return entry === undefined ? [] : [parseResolvedBlueprint(entry.value)];
}

/** Of everything that a worker is made from, and not of when. */
function digestOfPin({ slice, resolved, row }: Pinned): Digest {
  return sha256(`aether-pin\n${JSON.stringify(toCanonical(pinned({ slice, resolved, row })))}`);
}

type Pinned = Pick<FoundAgent, "slice" | "resolved" | "row">;

function pinned({ slice, resolved, row }: Pinned): Omit<PinRow, "renewedMs"> {
  const { artifact, config, uses, heapBytesMax, variables, labels = {} } = resolved;
  const ofNodes = Object.keys(labels).length === 0 ? {} : { labels };
  return { artifact, archive: row.digest, slice, config, uses, heapBytesMax, variables, ...ofNodes };
}
