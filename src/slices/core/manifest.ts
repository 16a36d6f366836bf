// Owns: the manifest of an artifact: what the cluster knows of a slice without running its code.
// Does not own: what a new artifact must keep to besides (manifest-rules.ts).
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import type { ArtifactId, Digest } from "../../base/ids.ts";
import { describeIssue, plainIssues } from "../../base/schema-issues.ts";
import { digestSchema } from "../../base/stored-row.ts";
import { AGENT_CONCURRENCY_MAX } from "../../sdk/agent.ts";
import { labelsSchema } from "../../sdk/blueprint.ts";
import { budgetSchema, type Budget } from "../../sdk/budget.ts";
import { DURATION_MS_MAX } from "../../sdk/duration.ts";
import { methodPolicySchema, type MethodPolicy } from "../../sdk/method-policy.ts";
import { nameSchema } from "../../sdk/name.ts";
import { agentScheduleSchema, scheduleSchema } from "../../sdk/schedule.ts";
import { artifactIdSchema } from "./instance-spec.ts";

/** Format version of manifests; readers refuse what they do not know. */
export const MANIFEST_FORMAT = 1;

/** JSON Schema (draft 2020-12) of what callers send and get, or of what a blueprint may configure. */
export type JsonSchema = Readonly<Record<string, unknown>>;

export interface ManifestMethod {
  readonly effect: "read" | "idempotent" | "write";
  readonly timeoutMs: number;
  /** How calls of it are made, as its contract says. */
  readonly policy?: MethodPolicy;
  readonly input: JsonSchema;
  readonly output: JsonSchema;
}

/** A slice that this one calls. */
export interface ManifestUse {
  /** The name of the contract, which is the name of the slice. */
  readonly slice: string;
  /** Which artifacts will do, as `group:name@range`. Absent: whichever provides a slice of that name. */
  readonly artifact?: string;
}

/** When a method runs by itself. */
export interface ManifestSchedule {
  readonly cron: string;
  readonly method: string;
  readonly timeZone: string;
}

/** When a job of an agent starts by itself. */
export interface ManifestAgentSchedule {
  readonly cron: string;
  readonly timeZone: string;
  readonly input?: unknown;
  readonly overlap: "skip" | "allow";
}

/** A tool of an agent. */
export interface ManifestTool {
  readonly effect: "read" | "idempotent" | "once";
  /** Of one attempt. */
  readonly timeoutMs: number;
  /** Whether it can be asked what became of a call. */
  readonly hasReconcile: boolean;
}

/** An agent, whose jobs are started by its name. */
export interface ManifestAgent {
  readonly input: JsonSchema;
  readonly output: JsonSchema;
  /** By name. */
  readonly tools: Readonly<Record<string, ManifestTool>>;
  /** Schemas of the payloads, by the signals' names. */
  readonly signals: Readonly<Record<string, JsonSchema>>;
  /** Of the nodes that run its jobs; absent for any node. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Its jobs that run at once in the cluster; absent for any number. */
  readonly concurrency?: number;
  /** Of a job, from its start on; absent for any. */
  readonly maxDurationMs?: number;
  /** By name; absent when it has none. */
  readonly schedules?: Readonly<Record<string, ManifestAgentSchedule>>;
  /** Of a job, unless whoever starts it says something else. */
  readonly budget?: Budget;
}

export interface Manifest {
  readonly format: typeof MANIFEST_FORMAT;
  readonly artifact: ArtifactId;
  readonly slice: string;
  readonly methods: Readonly<Record<string, ManifestMethod>>;
  readonly uses: Readonly<Record<string, ManifestUse>>;
  /** Names of the slices that must serve before this one is activated; absent when it waits for none. */
  readonly loadAfter?: readonly string[];
  /** Method by HTTP route, as `GET /shop/orders/:id`; absent when it has none. */
  readonly routes?: Readonly<Record<string, string>>;
  /** Method by topic; absent when it handles none. */
  readonly on?: Readonly<Record<string, string>>;
  /** By name; absent when it has none. */
  readonly schedules?: Readonly<Record<string, ManifestSchedule>>;
  /** By name; absent when it has none. */
  readonly agents?: Readonly<Record<string, ManifestAgent>>;
  /** Absent when the slice takes no config. */
  readonly config?: JsonSchema;
  readonly sdkVersion: string;
  /** sha-256 of the bundle. */
  readonly digest: Digest;
  readonly bundleBytes: number;
}

const jsonSchemaSchema = z.record(z.string(), z.unknown());

const manifestSchema = z.object({
  format: z.literal(MANIFEST_FORMAT),
  artifact: artifactIdSchema,
  slice: nameSchema,
  methods: z.record(nameSchema, z.object({
    effect: z.enum(["read", "idempotent", "write"]),
    timeoutMs: z.int().min(1),
    policy: methodPolicySchema.exactOptional(),
    input: jsonSchemaSchema,
    output: jsonSchemaSchema,
  })),
  uses: z.record(z.string(), z.object({ slice: nameSchema, artifact: z.string().exactOptional() })),
  loadAfter: z.array(nameSchema).exactOptional(),
  routes: z.record(z.string(), nameSchema).exactOptional(),
  on: z.record(nameSchema, nameSchema).exactOptional(),
  schedules: z.record(nameSchema, scheduleSchema).exactOptional(),
  agents: z.record(nameSchema, z.object({
    input: jsonSchemaSchema,
    output: jsonSchemaSchema,
    tools: z.record(nameSchema, z.object({
      effect: z.enum(["read", "idempotent", "once"]),
      timeoutMs: z.int().min(1),
      hasReconcile: z.boolean(),
    })),
    signals: z.record(nameSchema, jsonSchemaSchema),
    labels: labelsSchema.exactOptional(),
    concurrency: z.int().min(1).max(AGENT_CONCURRENCY_MAX).exactOptional(),
    maxDurationMs: z.int().min(1).max(DURATION_MS_MAX).exactOptional(),
    schedules: z.record(nameSchema, agentScheduleSchema).exactOptional(),
    budget: budgetSchema.exactOptional(),
  })).exactOptional(),
  config: jsonSchemaSchema.exactOptional(),
  sdkVersion: z.string(),
  digest: digestSchema,
  bundleBytes: z.int().min(1),
});

/**
 * @throws AetherError E_VERSION for a format this version does not know; E_INVALID for anything else that is wrong,
 *   with the places in `details.issues`.
 */
export function parseManifest(value: unknown): Manifest {
  const format = z.object({ format: z.number() }).safeParse(value);
  if (format.success && format.data.format !== MANIFEST_FORMAT) {
    throw new AetherError("E_VERSION", `a manifest has format ${format.data.format}, but this version reads ` +
      `${MANIFEST_FORMAT} only: build the slice with this version of aether`);
  }
  const parsed = manifestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = plainIssues(parsed.error.issues);
  const message = `this is not a manifest: ${issues.map(describeIssue).join("; ")}; build the slice again`;
  throw new AetherError("E_INVALID", message, { details: { issues } });
}
