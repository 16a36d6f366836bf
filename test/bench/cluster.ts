// Ports only: what the comparison needs of a cluster of any kind.

/** A way to reach a cluster; several may lead to the same one. */
export interface Target {
  /** As in tables, for example "etcd, via the leader". */
  readonly name: string;
  readonly cluster: BenchCluster;
  /** `client` says over which connection. Rejects when the write was not acknowledged. */
  put(client: number, key: string, value: string): Promise<unknown>;
  /** Linearizable. Undefined when there is no such key. */
  get(client: number, key: string): Promise<string | undefined>;
  close(): void;
}

export type ConnectMode = "pinned" | "roaming";

/** What nodes have sent each other so far, all together; what a system does not count is absent. */
export interface PeerTraffic {
  readonly messages?: number;
  readonly frames?: number;
  readonly bytes: number;
}

export interface BenchCluster {
  readonly system: "Aether" | "etcd";
  readonly size: number;
  readonly pids: readonly number[];
  /**
   * New connections, one per node, clients spread over them. `pinned` keeps each to its node; `roaming` lets it go on
   * at another node when its own is gone.
   */
  connect(mode: ConnectMode): Target;
  /** The node that everything waits for when it dies, if the system has such a node. */
  leader(): Promise<number | undefined>;
  /** SIGKILL; resolves when the process is gone. */
  kill(node: number): Promise<void>;
  /** Starts a node that was killed; resolves when it serves. */
  start(node: number): Promise<void>;
  traffic(): Promise<PeerTraffic>;
  close(): Promise<void>;
}
