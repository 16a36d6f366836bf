// Owns: what the API needs from the node, as narrow ports. `node` wires the real services; tests wire what they need.
import type { Alerts } from "../alerts/alert-service.ts";
import type { AssertionError } from "../base/assert.ts";
import type { LogLevels } from "../base/log-levels.ts";
import type { ArtifactId, Digest, NodeId } from "../base/ids.ts";
import type { MembershipChange } from "../consensus/group.ts";
import type { SnapshotReader } from "../consensus/state-machine.ts";
import type { Env, CallOptions } from "../env/env.ts";
import type { EncodedTransactions } from "./encoded-transactions.ts";
import type { ClusterEvents } from "../metrics/events/event-hub.ts";
import type { Kv, KvCallOptions, KvReadOptions, Leases, StoreQuota } from "../kvstore/kv.ts";
import type { Jobs } from "../jobs/ports.ts";
import type { ControlService } from "../control/control-service.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";
import type { RouteMatch } from "../cluster/endpoints/core/match-route.ts";
import type { NumberedLine } from "../slices/core/recent-lines.ts";
import type { RouteRow } from "../slices/core/route-row.ts";
import type { ClusterLines } from "../slices/host/cluster-log.ts";
import type { OutgoingCalls } from "../slices/host/outgoing-calls.ts";

export type ApiEnv = Pick<Env, "clock" | "telemetry">;

export interface ArtifactService {
  /**
   * Verifies and stores an archive. The same bytes again are fine.
   * @throws AetherError E_CONFLICT for other bytes under the same coordinates, E_INVALID for a bad archive or another
   * artifact than `expect`.
   */
  push(
    archive: Uint8Array,
    options?: { readonly expect?: ArtifactId } & CallOptions,
  ): Promise<{ readonly artifact: ArtifactId; readonly digest: Digest }>;
  list(): Promise<readonly unknown[]>;
  /** @throws AetherError E_NOT_FOUND */
  manifest(artifact: ArtifactId): Promise<unknown>;
  /** @throws AetherError E_NOT_FOUND, or E_CONFLICT naming who needs it. */
  remove(artifact: ArtifactId, options?: CallOptions): Promise<void>;
}

export interface BlueprintService {
  /** @throws AetherError E_INVALID with the place, E_CONFLICT naming the blueprint that owns a slice. */
  apply(name: string, document: unknown): Promise<{ readonly name: string; readonly revision: number }>;
  /** @throws AetherError E_NOT_FOUND, or answers undefined, when there is none. */
  get(name: string): Promise<unknown>;
  list(options?: KvReadOptions): Promise<readonly unknown[]>;
  delete(name: string): Promise<unknown>;
  /**
   * Makes the slices of an earlier revision current again; without `to` the newest that differs from the current one.
   * @throws AetherError E_NOT_FOUND for what is not kept, E_CONFLICT naming the blueprint that owns a slice now.
   */
  rollback(
    name: string,
    to?: number,
  ): Promise<{ readonly name: string; readonly revision: number; readonly rolledBackTo: number }>;
  status(name: string, options?: KvReadOptions): Promise<unknown>;
  /** What runs by itself, of all blueprints. */
  schedules(): Promise<readonly unknown[]>;
}

export interface SliceService {
  /** What a slice's instances said on this node lately. @throws AetherError E_NOT_FOUND, E_INVALID for `after` */
  log(
    slice: string,
    query: { readonly linesMax: number; readonly after?: string },
    options?: CallOptions,
  ): Promise<{ readonly lines: readonly NumberedLine[]; readonly next: string; readonly isComplete: boolean }>;
  /** The same from all nodes, without those that do not answer. @throws AetherError E_NOT_FOUND, E_OVERLOADED */
  logOfAll(slice: string, linesMax: number, options?: CallOptions): Promise<Omit<ClusterLines, "isKnown">>;
  /** Another number of instances. @throws AetherError E_NOT_FOUND, E_INVALID */
  scale(slice: string, instances: number, options?: CallOptions): Promise<unknown>;
}

export interface HealthService {
  /** False only when the process should be restarted. */
  isLive(): boolean;
  /** Ready: in quorum, caught up, applying. Never derived from a role. */
  readiness(): { readonly isReady: boolean; readonly reason?: string };
}

export interface CatchUpView {
  readonly kind: "log" | "snapshot";
  readonly slotsBehind: number;
  readonly bytesReceived: number;
}

export interface ClusterNodeView {
  readonly id: string;
  readonly role: "voter" | "member";
  /** Its disk was declared lost: a new node of this name may take its place. */
  readonly isLost: boolean;
  readonly status: string;
  /** Instances that have a row there, whatever their state. */
  readonly instances: number;
  /** Jobs that it runs, as it has said within the last seconds; undefined when it has not. */
  readonly jobs: number | undefined;
  /** Where its API is reached, when it has said so. */
  readonly address: string | undefined;
  /** Names its data directory, for changes of the members; undefined while the name is only reserved. */
  readonly directory: string | undefined;
  /** Where its peers reach it. */
  readonly peerAddress: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly lastSeenMs: number | undefined;
  /** Slots that are decided, as the answering node knows, and not applied there; undefined when it has not said. */
  readonly slotsBehind: number | undefined;
  readonly catchUp: CatchUpView | undefined;
  /** The highest version of a cluster that its build can work with; undefined when it is not heard. */
  readonly supportedVersion: number | undefined;
}

export interface SettingDifferenceView {
  readonly setting: string;
  readonly values: readonly { readonly node: string; readonly value: number }[];
}

/** The answer of `GET /v1/cluster`, as this node sees the cluster. */
export interface ClusterView {
  readonly cluster: string;
  readonly node: string;
  /** The replicated version: what every node must be able to work with. */
  readonly version: number;
  readonly nodes: readonly ClusterNodeView[];
  /** Settings that have to be equal on all nodes and are not. */
  readonly differences: readonly SettingDifferenceView[];
  /** The voters that count now. */
  readonly voters: readonly string[];
  /** A list of voters that is decided and does not rule yet. */
  readonly pending: { readonly voters: readonly string[]; readonly rulesFromSlot: number } | undefined;
  /** Who proposes now, as this node sees it: a hint for speed, not an authority. */
  readonly convener: string | undefined;
  readonly leader: { readonly node: string; readonly epoch: number } | undefined;
  /** `canLose`: how many of the voters seen now may fail before writes stop. */
  readonly quorum: { readonly need: number; readonly have: number; readonly canLose: number };
  readonly slots: { readonly decided: number; readonly applied: number };
  readonly revision: number;
}

export interface MemberService {
  /** Resolves once the change rules. @throws AetherError as consensus refuses it; E_TIMEOUT when that is not known. */
  change(change: MembershipChange, timeoutMs: number): Promise<void>;
}

export interface NodeService {
  /** @throws AetherError E_NOT_FOUND; E_CONFLICT when no other node is on duty and it is not forced. */
  drain(node: NodeId, options: { readonly isForced: boolean; readonly timeoutMs: number }): Promise<void>;
  /** @throws AetherError E_NOT_FOUND */
  cancelDrain(node: NodeId, options: { readonly timeoutMs: number }): Promise<void>;
}

/** Ends this process as a crash would, once the answer to who asked for it has left. */
export type KillSelf = () => void;

export interface BackupService {
  /** A view of the whole store that its caller closes. @throws AetherError E_OVERLOADED, E_NO_QUORUM, E_UNAVAILABLE */
  begin(): Promise<SnapshotReader>;
}

export interface TopicAdministration {
  /** @throws AetherError E_UNAVAILABLE while this node has not read them */
  list(): readonly TopicView[];
  dead(topic: string, choice: DeadChoice, options: KvCallOptions): Promise<readonly unknown[]>;
  /** How many are handed out again. @throws AetherError E_NOT_FOUND when nobody handles them, E_CONFLICT */
  retry(topic: string, choice: DeadChoice, options: KvCallOptions): Promise<number>;
  /** How many are deleted. @throws AetherError E_CONFLICT */
  drop(topic: string, choice: DeadChoice, options: KvCallOptions): Promise<number>;
}

export interface TopicView {
  readonly topic: string;
  readonly groups: readonly {
    readonly group: string;
    readonly method: string | undefined;
    readonly waiting: number;
    readonly waitingBytes: number;
    readonly dead: number;
  }[];
}

/** Which of the messages that were put aside; all of the topic where nothing is said. */
export interface DeadChoice {
  readonly group?: string;
  readonly id?: string;
}

/** The HTTP routes that slices declare. */
export interface SliceRoutes {
  /** `path` as it was sent, without query. @throws AetherError E_UNAVAILABLE while they are not known here */
  find(verb: string, path: string): RouteMatch<RouteRow>;
}

/** What was looked for, or why that was not possible. */
export type Looked<T> = { readonly value: T } | { readonly couldNot: string };

/** What a process knows of its machine. */
export interface MachineFacts {
  readonly nodeVersion: string;
  /** How long a write takes to be safe on the disk of the data. */
  readonly sync: Looked<{ readonly medianMs: number; readonly maxMs: number }>;
  readonly space: Looked<{ readonly freeBytes: number; readonly totalBytes: number }>;
  /** File descriptors of the process. */
  readonly descriptors: Looked<{ readonly open: number; readonly limit: number }>;
}

export interface ApiServices {
  readonly kv: Kv & Leases & StoreQuota & EncodedTransactions;
  readonly artifacts: ArtifactService;
  readonly blueprints: BlueprintService;
  readonly slices: SliceService;
  readonly topics: TopicAdministration;
  readonly calls: OutgoingCalls;
  readonly jobs: Jobs;
  readonly events: ClusterEvents;
  readonly sliceRoutes: SliceRoutes;
  readonly health: HealthService;
  readonly members: MemberService;
  readonly nodes: NodeService;
  /** Absent unless the node was started with that permission. */
  readonly killSelf?: KillSelf;
  cluster(): ClusterView;
  readonly backups: BackupService;
  readonly metrics: ClusterMetrics;
  /** Looks now. Never rejects. */
  machine(): Promise<MachineFacts>;
  wallMs(): number;
  readonly logLevels: Pick<LogLevels, "view" | "set" | "reset">;
  readonly alerts: Alerts;
  readonly control: ControlService;
  metricsText(): Promise<string>;
  /** A broken invariant was met while serving a request: the node must flush and stop. */
  onBroken(failure: AssertionError): void;
}
