// Owns: the configuration of a node: composed from the areas, read from YAML, flags and AETHER_ variables, checked as a
// whole and frozen. Nobody else reads the environment.
import { readFileSync } from "node:fs";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { AlertsConfig } from "../alerts/alerts-config.ts";
import { ApiConfig } from "../api/config.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import { type NodeId, parseNodeId } from "../base/ids.ts";
import { LOG_LEVELS } from "../base/log-levels.ts";
import { MiB } from "../base/units.ts";
import { DeploymentConfig } from "../cluster/deployment/deployment-config.ts";
import { ConsensusConfig } from "../consensus/config.ts";
import { ArtifactsConfig } from "../cluster/leadership/artifact-collector.ts";
import { InvocationConfig } from "../invocation/invocation-config.ts";
import type { Log } from "../env/telemetry.ts";
import { JobsConfig } from "../jobs/config.ts";
import { SECRET_LENGTH_MIN } from "../jobs/core/tools/redact.ts";
import { MetricsConfig } from "../metrics/metrics-config.ts";
import { nameSchema } from "../sdk/name.ts";
import { RuntimeConfig } from "../slices/host/runtime-config.ts";
import { SourcesConfig } from "../slices/sources/sources-config.ts";
import { checkTimeLimits } from "./time-limits.ts";

const VOTERS_MAX = 7;
/** Addresses that are asked at once. */
const JOIN_MAX = 16;
const NUMBER = /^-?\d+(\.\d+)?$/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const LABEL = /^[a-z0-9][a-z0-9._/-]{0,62}$/;

const nodeId = z.string().transform((text, context): NodeId => {
  try {
    return parseNodeId(text);
  } catch (error) {
    context.issues.push({ code: "custom", message: toAetherError(error).message, input: text });
    return z.NEVER;
  }
});

const peerUrl = z
  .string()
  .refine((url) => URL.canParse(url) && new URL(url).protocol === "ws:", {
    error: "use a ws:// address, for example ws://127.0.0.1:7101",
  })
  .refine(isLoopback, {
    error: "only loopback addresses are used: without TLS everybody who reaches the port could pose as a peer",
  });

/** The configuration as it is written; `NodeConfig` is what it becomes. */
export const NodeConfigSchema = z.strictObject({
  cluster: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/, "use 1 to 32 of a-z, 0-9 and -")
    .describe("Name of the cluster; nodes of another cluster are refused."),
  node: nodeId.describe("Unique id of this node."),
  listen: peerUrl.describe("Address for peers."),
  advertise: peerUrl
    .exactOptional()
    .describe("Where peers reach this node when that is not `listen`, for example behind a forwarded port."),
  ...ApiConfig.shape,
  voters: z
    .record(nodeId, peerUrl)
    .default({})
    .describe("To begin a new cluster: all its first voters with their addresses, this node included."),
  join: z
    .array(peerUrl)
    .max(JOIN_MAX)
    .default([])
    .describe("To join a running cluster with an empty data directory: addresses of some of its nodes."),
  dataDir: z.string().min(1).describe("Directory of this node's data; created when absent, never shared."),
  durability: z
    .enum(["fsync", "memory"])
    .default("fsync")
    .describe("fsync, or memory for tests: then a node that stops has lost its data."),
  labels: z
    .record(z.string().regex(LABEL), z.string().regex(LABEL))
    .default({})
    .describe("Labels of this node; zone spreads instances."),
  logLevel: z
    .enum(LOG_LEVELS)
    .default("info")
    .describe("Least severe log lines written; `aether logs level` changes it while the node runs."),
  peerFrameBytesMax: z
    .int()
    .min(5 * MiB)
    .max(64 * MiB)
    .default(8 * MiB)
    .describe("Largest frame between nodes: a call of 4 MiB has to fit. Equal on all nodes."),
  consensus: ConsensusConfig.prefault({}),
  invocation: InvocationConfig.prefault({}),
  runtime: RuntimeConfig.prefault({}),
  artifacts: ArtifactsConfig.extend({ sources: SourcesConfig }).prefault({}),
  deployment: DeploymentConfig.prefault({}),
  jobs: JobsConfig.prefault({}),
  metrics: MetricsConfig.prefault({}),
  alerts: AlertsConfig.prefault({}),
  secrets: z
    .record(nameSchema, z.strictObject({ variable: z.string().regex(VARIABLE, "use the name of a variable") }))
    .default({})
    .describe("Secrets that tools and models of agents may ask for, each with the variable of this node's " +
      "environment that has it."),
});

export type NodeConfig = Readonly<z.output<typeof NodeConfigSchema>>;

export interface ConfigSources {
  /** Path of a YAML file. */
  readonly file?: string;
  /** Values that win over everything else, for example flags. */
  readonly overrides?: Readonly<Record<string, unknown>>;
  /** AETHER_ variables win over the file. Default: those of the process. */
  readonly variables?: Readonly<Record<string, string | undefined>>;
}

/** @throws AetherError E_CONFIG naming every field that is wrong and why. */
export function loadNodeConfig(sources: ConfigSources): NodeConfig {
  const fromFile = sources.file === undefined ? {} : readConfigFile(sources.file);
  const fromVariables = readVariables(sources.variables ?? process.env);
  return parseNodeConfig(merge(merge(fromFile, fromVariables), sources.overrides ?? {}), sources.file);
}

/** @throws AetherError E_CONFIG */
export function parseNodeConfig(input: unknown, origin = "the configuration"): NodeConfig {
  const parsed = NodeConfigSchema.safeParse(input);
  if (!parsed.success) {
    throw new AetherError("E_CONFIG", `${origin} is not usable: ${oneLine(parsed.error)}`, {
      details: { issues: parsed.error.issues },
    });
  }
  checkRelations(parsed.data);
  return Object.freeze(parsed.data);
}

/**
 * The values of this node's secrets, by name. One without a usable value is left out, with a line in the log: whoever
 * asks for it is told that the node does not have it.
 */
export function readSecrets(
  { secrets }: Pick<NodeConfig, "secrets">,
  log: Pick<Log, "warn">,
  variables: Readonly<Record<string, string | undefined>> = process.env,
): Readonly<Record<string, string>> {
  const usable = Object.entries(secrets).flatMap(([name, { variable }]): [string, string][] => {
    const value = variables[variable] ?? "";
    if (value.length >= SECRET_LENGTH_MIN) return [[name, value]];
    const reason = value === "" ? "the variable is not set" : `it has less than ${SECRET_LENGTH_MIN} characters`;
    log.warn({ event: "node.secret-unusable", secret: name, variable, reason });
    return [];
  });
  return Object.fromEntries(usable);
}

/** Voters in the one order that all nodes use. */
export function voterOrder(config: Pick<NodeConfig, "voters">): readonly NodeId[] {
  return Object.keys(config.voters).sort().map(parseNodeId);
}

function checkRelations(config: NodeConfig): void {
  checkOrigin(config);
  if (new URL(config.api).host === new URL(config.listen).host && new URL(config.api).port !== "0") {
    throw new AetherError("E_CONFIG", `api: is ${config.api}, where peers are listened for: give each its own port`);
  }
  if (config.consensus.pipelineSlots > config.consensus.windowSlots) {
    throw new AetherError("E_CONFIG", "consensus.pipelineSlots: is above consensus.windowSlots: lower it");
  }
  checkTimeLimits(config);
}

/** A node is one of the first voters of a cluster, or joins one. Once its disk knows, neither has to be said again. */
function checkOrigin(config: NodeConfig): void {
  const voters = voterOrder(config);
  if (voters.length > 0 && config.join.length > 0) {
    throw new AetherError(
      "E_CONFIG",
      "voters, join: a node begins a new cluster with `voters` or joins a running one with `join`: remove one of both",
    );
  }
  if (voters.length === 0) return;
  if (voters.length > VOTERS_MAX) {
    throw new AetherError("E_CONFIG", `voters: has ${voters.length} entries: name 1 to ${VOTERS_MAX} nodes`);
  }
  const own = config.voters[config.node];
  if (own === undefined) {
    throw new AetherError(
      "E_CONFIG",
      `voters: does not name this node "${config.node}" (has ${voters.join(", ")}): add it, or use \`join\` if the ` +
        "cluster runs already",
    );
  }
  if (new URL(own).host !== new URL(config.listen).host) {
    throw new AetherError(
      "E_CONFIG",
      `listen: is ${config.listen}, but voters say ${own} for ${config.node}: make them the same`,
    );
  }
  const addresses = Object.values(config.voters).map((url) => new URL(url).host);
  if (new Set(addresses).size !== addresses.length) {
    throw new AetherError("E_CONFIG", "voters: two nodes have the same address: give each its own port");
  }
}

function readConfigFile(file: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new AetherError("E_CONFIG", `cannot read ${file}: ${toAetherError(error).message}`, { cause: error });
  }
  let parsed: unknown;
  try {
    parsed = parseYaml(text);
  } catch (error) {
    throw new AetherError("E_CONFIG", `${file} is not YAML: ${firstLine(toAetherError(error).message)}`, {
      cause: error,
    });
  }
  if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return { ...parsed };
  throw new AetherError("E_CONFIG", `${file} does not contain a mapping: start with "cluster: NAME"`);
}

/** `AETHER_DATA_DIR=…` sets `dataDir`, `AETHER_CONSENSUS_WINDOW_SLOTS=…` sets `consensus.windowSlots`. */
function readVariables(variables: Readonly<Record<string, string | undefined>>): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(NodeConfigSchema.shape)) {
    const section = sectionShape(schema);
    if (section === undefined) {
      const text = variables[variableName([name])];
      if (text !== undefined) values[name] = parseVariable(name, schema, text);
      continue;
    }
    const inner: Record<string, unknown> = {};
    for (const [field, fieldSchema] of Object.entries(section)) {
      const text = variables[variableName([name, field])];
      if (text !== undefined) inner[field] = parseVariable(field, fieldSchema, text);
    }
    if (Object.keys(inner).length > 0) values[name] = inner;
  }
  return values;
}

function sectionShape(schema: z.ZodType): z.ZodRawShape | undefined {
  const inner = schema instanceof z.ZodPrefault ? schema.unwrap() : schema;
  return inner instanceof z.ZodObject ? inner.shape : undefined;
}

function variableName(path: readonly string[]): string {
  return `AETHER_${path
    .map((part) => part.replace(/[A-Z]/g, (letter) => `_${letter}`))
    .join("_")
    .toUpperCase()}`;
}

/** Maps are `a=b,c=d`, lists `a,b`; everything else is a text, or a number where the field wants one. */
function parseVariable(field: string, schema: z.core.$ZodType, text: string): unknown {
  if (field === "voters" || field === "labels" || field === "secrets") {
    const pairs = text
      .split(",")
      .filter((part) => part !== "")
      .map((part): [string, string] => {
        const at = part.indexOf("=");
        return [part.slice(0, at).trim(), part.slice(at + 1).trim()];
      });
    if (field === "secrets") return Object.fromEntries(pairs.map(([name, variable]) => [name, { variable }]));
    return Object.fromEntries(pairs);
  }
  if (field === "join") return text.split(",");
  // A cluster may well be called 2024.
  if (!NUMBER.test(text) || z.safeParse(schema, text).success) return text;
  return Number(text);
}

function merge(
  base: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...base };
  for (const [name, value] of Object.entries(over)) {
    if (value === undefined) continue;
    const before = merged[name];
    const isSection = name !== "voters" && name !== "labels" && isMapping(before) && isMapping(value);
    merged[name] = isSection ? { ...before, ...value } : value;
  }
  return merged;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isLoopback(url: string): boolean {
  const host = URL.canParse(url) ? new URL(url).hostname : "";
  return host === "localhost" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function oneLine(error: z.ZodError): string {
  return error.issues.map((issue) => `${issue.path.join(".") || "the mapping"}: ${issue.message}`).join("; ");
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? text;
}
