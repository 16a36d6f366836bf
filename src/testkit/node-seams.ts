// Owns: where something may be put between the parts of a simulated node: to see what its jobs write, to crash there.
import type { z } from "zod";
import type { Alerts } from "../alerts/alert-service.ts";
import type { AlertsConfig } from "../alerts/alerts-config.ts";
import type { ProcessReading } from "../env/process-meter.ts";
import type { StorePort } from "../env/store.ts";
import type { WorkersPort } from "../env/workers.ts";
import type { JobsConfig } from "../jobs/config.ts";
import type { NoticeSender } from "../jobs/webhooks/notice-sender.ts";
import type { Txn, TxnResult } from "../kvstore/core/schema.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";
import type { KvStore } from "../kvstore/kv-store.ts";
import type { ClusterEvents } from "../metrics/events/event-hub.ts";
import type { JobsPorts } from "./ask-jobs.ts";
import type { Machine } from "./sim/machine.ts";
import type { SimNetwork } from "./sim/sim-network.ts";
import type { SimProcess } from "./sim/sim-process.ts";

/** What a cluster is made of: more of it can break, and be asked, than tests of slices need. */
export interface ClusterParts {
  readonly network: SimNetwork;
  readonly machines: readonly Machine[];
  /** Jobs, asked about through this node, or through any. */
  jobs(via?: string): JobsPorts;
  /** What a node that runs has read of what happened. */
  events(node: string): ClusterEvents;
  /** What a node that runs has of the cluster's metrics. */
  metrics(node: string): ClusterMetrics;
  alerts(node: string): Alerts;
  /** The chunks of a backup, through a node that runs. */
  backup(node: string): Promise<readonly Uint8Array[]>;
}

export interface NodeSeams {
  /** Settings of alerts. */
  readonly alerts?: z.input<typeof AlertsConfig>;
  /** Settings of jobs. */
  readonly jobs?: z.input<typeof JobsConfig>;
  /** What webhooks are reached by, and the values of their secrets. */
  readonly webhooks?: {
    readonly secrets: Readonly<Record<string, string>>;
    readonly sender: (process: SimProcess) => NoticeSender;
  };
  /** What a process measures of itself and its machine. */
  readonly measured?: (process: SimProcess) => Partial<ProcessReading>;
  /** Told before any node boots. */
  readonly parts?: (parts: ClusterParts) => void;
  /** What is done to the disk of a process before it opens it. */
  readonly plant?: (disk: StorePort) => Promise<void>;
  /** The store as everything above it sees it. */
  readonly kv?: (kv: KvStore, process: SimProcess) => KvStore;
  readonly workers?: (workers: WorkersPort, process: SimProcess) => WorkersPort;
}

/** What becomes of a transaction; `go` proposes it. */
export type Transact = (txn: Txn, go: (txn: Txn) => Promise<TxnResult>) => Promise<TxnResult>;

/** The same store with something in the way of its transactions. */
export function storeWith(kv: KvStore, transact: Transact): KvStore {
  const method: KvStore["transact"] = (txn, options) => transact(txn, (given) => kv.transact(given, options));
  return Object.create(kv, { transact: { value: method } }) as KvStore;
}
