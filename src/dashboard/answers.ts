// Owns: the answers of the HTTP API as the page reads them, see docs/reference/http-api.md. Only what is shown.

export interface ClusterNode {
  readonly id: string;
  readonly role: "voter" | "member";
  readonly isLost: boolean;
  readonly status: string;
  readonly instances: number;
  readonly address: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly lastSeenMs: number | null;
  readonly slotsBehind: number | null;
  readonly catchUp: { readonly kind: "log" | "snapshot"; readonly slotsBehind: number } | null;
}

/** As the node sees it that is asked. */
export interface Cluster {
  readonly cluster: string;
  readonly node: string;
  readonly nodes: readonly ClusterNode[];
  readonly differences: readonly {
    readonly setting: string;
    readonly values: readonly { readonly node: string; readonly value: number }[];
  }[];
  readonly voters: readonly string[];
  readonly leader: { readonly node: string; readonly epoch: number } | null;
  readonly quorum: { readonly need: number; readonly have: number; readonly canLose: number };
  readonly slots: { readonly decided: number; readonly applied: number };
  readonly revision: number;
  /** Whether this node was started with the permission to be killed. */
  readonly canBeKilled: boolean;
}

export interface InstanceAnswer {
  readonly node: string;
  readonly state: string;
  readonly since?: number;
  readonly instance: number;
  readonly artifact: string;
  readonly error?: { readonly message?: string };
}

export interface RolloutAnswer {
  readonly strategy: string;
  readonly stage: string;
  readonly from: { readonly artifact: string; readonly revision: number };
  readonly to: { readonly artifact: string; readonly revision: number };
  readonly targetPercent?: number;
  readonly since: number;
  readonly reason?: string;
  readonly waitsFor?: { readonly message: string; readonly isLate: boolean };
}

export interface SliceAnswer {
  readonly artifact: string;
  readonly want: number;
  readonly active: number;
  readonly instances: readonly InstanceAnswer[];
  readonly unplaced?: { readonly count: number; readonly reason: string };
  readonly waitsFor?: readonly string[];
  readonly rollout?: RolloutAnswer;
  readonly schedules?: Readonly<Record<string, { readonly cron: string; readonly method: string }>>;
}

export interface BlueprintAnswer {
  readonly name: string;
  readonly revision: number;
  readonly slices: Readonly<Record<string, SliceAnswer>>;
}

/** Of all nodes. */
export interface LogAnswer {
  readonly lines: readonly {
    readonly node: string; readonly at: number; readonly instance: string; readonly level: string;
    readonly text: string; readonly fields?: Readonly<Record<string, unknown>>;
  }[];
  /** Nodes that did not answer. */
  readonly silent: readonly string[];
}

export type JobStatus = "pending" | "running" | "waiting" | "completed" | "failed" | "cancelled";

export interface JobAnswer {
  readonly job: string;
  readonly agent: string;
  readonly status: JobStatus;
  readonly waiting?: {
    readonly reason: string; readonly on: readonly string[]; readonly untilMs?: number; readonly why?: string;
  };
  readonly owner?: string;
  readonly epoch: number;
  readonly run: number;
  readonly attributes: Readonly<Record<string, string>>;
  readonly createdMs: number;
  readonly sinceMs: number;
  readonly parent?: string;
}

export type Amounts = Readonly<Record<string, unknown>>;

export interface ToolAnswer {
  readonly effectId: string;
  readonly call: string;
  readonly tool: string;
  readonly effect: string;
  readonly state: "granted" | "succeeded" | "failed" | "unknown";
  readonly attempt: number;
  readonly canReconcile: boolean;
  readonly externalId?: string;
  readonly reason?: string;
  readonly usage?: { readonly model: string; readonly inputTokens: number; readonly outputTokens: number };
  readonly cost?: Amounts;
}

export interface ApprovalAnswer {
  readonly job: string;
  readonly approval: string;
  readonly agent: string;
  readonly name: string;
  readonly summary: string;
  readonly data: unknown;
  readonly shown: string;
  readonly tool?: string;
  readonly requestedMs: number;
  readonly untilMs?: number;
}

export interface ApprovalsAnswer {
  readonly approvals: readonly ApprovalAnswer[];
  readonly more: boolean;
}

export interface JobDetail extends JobAnswer {
  readonly pending?: string;
  readonly artifact?: string;
  readonly input: unknown;
  readonly inputBlob?: unknown;
  readonly events: number;
  readonly steps: number;
  readonly tools: readonly ToolAnswer[];
  readonly children: readonly { readonly job: string; readonly agent: string; readonly status: JobStatus }[];
  readonly approvals?: readonly ApprovalAnswer[];
  readonly budget?: { readonly limit: Amounts; readonly reserved: Amounts; readonly spent: Amounts };
  readonly result?:
    | { readonly kind: "completed"; readonly output?: unknown; readonly blob?: unknown }
    | { readonly kind: "failed"; readonly error: { readonly code?: string; readonly message: string } }
    | { readonly kind: "cancelled" };
  readonly repeatedBy?: string;
  readonly collectedMs?: number;
}

export interface JobEventAnswer {
  readonly run: number;
  readonly seq: number;
  readonly type: string;
  readonly atMs: number;
  readonly epoch: number;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface EntryAnswer {
  readonly key: string;
  readonly value: unknown;
  readonly modRevision: number;
  readonly createRevision: number;
  readonly version: number;
  readonly lease?: number;
}

export interface EntryPage {
  readonly entries: readonly EntryAnswer[];
  readonly revision: number;
  readonly more: boolean;
}

/** What `GET /v1/metrics` says of one method in one second. */
export interface MethodAnswer {
  readonly slice: string;
  readonly method: string;
  readonly direction: "made" | "handled";
  readonly callsPerSecond: number;
  readonly errorsPerSecond: number;
  readonly p50Ms: number | null;
  readonly p95Ms: number | null;
  readonly p99Ms: number | null;
  /** How many took up to so long, and longer than what stands before. */
  readonly durations: readonly (readonly [upToMs: number, count: number])[];
}

export interface SnapshotAnswer {
  readonly epoch: number;
  readonly seq: number;
  readonly isStale: boolean;
  readonly cluster: Readonly<Record<string, number>>;
  readonly methods: readonly MethodAnswer[];
}

export interface ClusterEventAnswer {
  readonly id: string;
  readonly kind: string;
  readonly area: string;
  readonly severity: string;
  readonly atMs: number;
  readonly subject: string;
  readonly text: string;
}

export interface AlertsAnswer {
  readonly alerts: readonly {
    readonly id: string;
    readonly severity: string;
    readonly subject: string;
    readonly sinceMs: number;
    readonly text: string;
    readonly action: string;
  }[];
  /** By whom the cluster was judged last, if by anybody. */
  readonly judged: { readonly by: string; readonly ageMs: number; readonly isStale: boolean } | null;
}
