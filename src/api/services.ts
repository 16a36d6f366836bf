// Owns: what the API needs from the node, as narrow ports. `node` wires the real services; tests wire what they need.
import type { AssertionError } from "../base/assert.ts";
import type { ArtifactId, Digest } from "../base/ids.ts";
import type { Env, CallOptions } from "../env/env.ts";
import type { EncodedTransactions } from "./encoded-transactions.ts";
import type { Kv, Leases, StoreQuota } from "../kvstore/kv.ts";
import type { OutgoingCalls } from "../slices/outgoing-calls.ts";

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
}

export interface BlueprintService {
  /** @throws AetherError E_INVALID with the place, E_CONFLICT naming the blueprint that owns a slice. */
  apply(name: string, document: unknown): Promise<{ readonly name: string; readonly revision: number }>;
  /** @throws AetherError E_NOT_FOUND, or answers undefined, when there is none. */
  get(name: string): Promise<unknown>;
  list(): Promise<readonly unknown[]>;
  delete(name: string): Promise<unknown>;
  status(name: string): Promise<unknown>;
}

export interface HealthService {
  /** False only when the process should be restarted. */
  isLive(): boolean;
  /** Ready: in quorum, caught up, applying. Never derived from a role. */
  readiness(): { readonly isReady: boolean; readonly reason?: string };
}

export interface ClusterNodeView {
  readonly id: string;
  readonly role: "voter" | "member";
  readonly status: string;
  /** Where its API is reached, when it has said so. */
  readonly address: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly lastSeenMs: number | undefined;
}

/** The answer of `GET /v1/cluster`, as this node sees the cluster. */
export interface ClusterView {
  readonly cluster: string;
  readonly node: string;
  readonly nodes: readonly ClusterNodeView[];
  /** Who proposes now, as this node sees it: a hint for speed, not an authority. */
  readonly convener: string | undefined;
  readonly leader: { readonly node: string; readonly epoch: number } | undefined;
  readonly quorum: { readonly need: number; readonly have: number };
  readonly slots: { readonly decided: number; readonly applied: number };
  readonly revision: number;
}

export interface ApiServices {
  readonly kv: Kv & Leases & StoreQuota & EncodedTransactions;
  readonly artifacts: ArtifactService;
  readonly blueprints: BlueprintService;
  readonly calls: OutgoingCalls;
  readonly health: HealthService;
  cluster(): ClusterView;
  metricsText(): Promise<string>;
  /** A broken invariant was met while serving a request: the node must flush and stop. */
  onBroken(failure: AssertionError): void;
}
