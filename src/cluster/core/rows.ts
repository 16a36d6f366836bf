// Owns: the values of the rows `nodes/{node}/state` and `…/intent`, `leader`, `leader/beat` and `endpoints/…`, and
// their parsing.
// Does not own: the rows of instances (slices/core/instance-row.ts) and who may write what (the services).
import { z } from "zod";
import { digestSchema, parseStored } from "../../base/stored-row.ts";
import { methodPolicySchema, type MethodPolicy } from "../../sdk/method-policy.ts";
import { parseNodeId, parseNodeUid, type Digest, type NodeId, type NodeUid } from "../../base/ids.ts";

const nodeIdSchema = z.string().transform((text): NodeId => parseNodeId(text));
const nodeUidSchema = z.string().transform((text): NodeUid => parseNodeUid(text));

export const NODE_STATES = ["joining", "on-duty", "draining", "drained", "gone"] as const;
export type NodeDutyState = (typeof NODE_STATES)[number];

/** What a node says of itself; only `gone` is written by the leader. */
export interface NodeStateRow {
  readonly state: NodeDutyState;
  /** `draining` because its process ends: calls go elsewhere at once, and what it has waits for its return. */
  readonly isStopping?: boolean | undefined;
  readonly uid: NodeUid;
  /** Grows with every start of the node. */
  readonly incarnation: number;
  /** Where its peers reach it. */
  readonly peerAddress: string;
  /** Where clients reach it. */
  readonly apiAddress: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly capacity: NodeCapacity;
  /** What has to be equal on all nodes, by the name of the setting; builds before this field did not say. */
  readonly settings?: Readonly<Record<string, number>>;
  /** Wall time at which `state` was entered; for people. */
  readonly sinceMs: number;
}

export interface NodeCapacity {
  readonly cpus: number;
  readonly memoryBytes: number;
}

const nodeStateRowSchema = z.object({
  state: z.enum(NODE_STATES),
  isStopping: z.boolean().optional(),
  uid: nodeUidSchema,
  incarnation: z.int().min(0),
  peerAddress: z.string(),
  apiAddress: z.string(),
  labels: z.record(z.string(), z.string()),
  capacity: z.object({ cpus: z.number(), memoryBytes: z.number() }),
  settings: z.record(z.string(), z.number()).exactOptional(),
  sinceMs: z.number(),
});

/** What people want of a node; it outlives its process. A node without such a row is wanted on duty. */
export interface NodeIntentRow {
  readonly want: "on-duty" | "drained";
}

const nodeIntentRowSchema = z.object({ want: z.enum(["on-duty", "drained"]) });

/** One life of one node's process. Another incarnation of the same node is another holder. */
export interface NodeLife {
  readonly node: NodeId;
  readonly uid: NodeUid;
  readonly incarnation: number;
}

/** Changes only with the epoch, so that comparing its modRevision fences exactly. */
export interface LeaderRow {
  readonly epoch: number;
  readonly holder: NodeLife;
}

export interface LeaderBeatRow {
  readonly epoch: number;
  readonly count: number;
}

export const nodeLifeSchema: z.ZodType<NodeLife> = z.object({
  node: nodeIdSchema, uid: nodeUidSchema, incarnation: z.int().min(0),
});
const leaderRowSchema = z.object({
  epoch: z.int().min(1),
  holder: nodeLifeSchema,
});
const leaderBeatRowSchema = z.object({ epoch: z.int().min(1), count: z.int().min(0) });

/** The value of one endpoint; its slice, method, node, artifact and instance are in the key. */
export interface EndpointRow {
  readonly effect: "read" | "idempotent" | "write";
  readonly timeoutMs: number;
  /** How calls of it are made, as its contract says. */
  readonly policy?: MethodPolicy;
  /** What its instance was made from, see `specDigestOf`; builds before this field did not say. */
  readonly specDigest?: Digest;
}

const endpointRowSchema = z.object({
  effect: z.enum(["read", "idempotent", "write"]),
  timeoutMs: z.number().min(1),
  policy: methodPolicySchema.exactOptional(),
  specDigest: digestSchema.exactOptional(),
});

/** @throws AetherError E_DATA_CORRUPT */
export function parseNodeStateRow(value: unknown): NodeStateRow {
  return parseStored(nodeStateRowSchema, value, "the row of a node's state");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseNodeIntentRow(value: unknown): NodeIntentRow {
  return parseStored(nodeIntentRowSchema, value, "the row of what is wanted of a node");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseLeaderRow(value: unknown): LeaderRow {
  return parseStored(leaderRowSchema, value, "the row of the leader");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseLeaderBeatRow(value: unknown): LeaderBeatRow {
  return parseStored(leaderBeatRowSchema, value, "the row of the leader's beat");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseEndpointRow(value: unknown): EndpointRow {
  return parseStored(endpointRowSchema, value, "the row of an endpoint");
}
