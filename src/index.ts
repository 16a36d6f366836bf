// Owns: the package entry `aether`: a node in this process, or a client of a cluster.
export { AetherError, type ErrorBody } from "./base/errors.ts";
export type { ErrorCode, Outcome } from "./base/error-catalog.ts";
export { connect, type Client, type ConnectOptions } from "./client/connect.ts";
export type {
  ClientCallOptions, ClientGetOptions, ClientKv, ClientOp, ClientReadOptions, ClientTxn, ClientWriteOptions,
} from "./client/client-kv.ts";
export type {
  AgentClient, JobCallOptions, JobDecisionOptions, JobFailure, JobHandle, JobMove, JobOutcome, JobRaiseOptions,
  JobReplay, JobSignalOptions, JobStartOptions, JobState,
} from "./client/agent-client.ts";
export type {
  JobBulk, JobBulkAction, JobBulkAnswer, JobFilter, JobPage, JobPlace, JobsClient,
} from "./client/jobs-client.ts";
export type { ClientEvent, EventOptions, EventQuery } from "./client/events-client.ts";
export type { ClientWatch, ClientWatchHandlers, ClientWatchOptions } from "./client/client-watch.ts";
export type { ClientLease } from "./client/lease-client.ts";
export type { SliceAnswer, SliceCall } from "./client/slice-client.ts";
export type { KvChange, KvChangeSet, KvEntry, TxnResult } from "./kvstore/core/schema.ts";
export type { KvListQuery, KvPage, KvRead } from "./kvstore/kv.ts";
export { parseNodeConfig, type NodeConfig } from "./node/config.ts";
export { startNode, type Node } from "./node/node.ts";
export { createRealEnv } from "./node/real-env.ts";
