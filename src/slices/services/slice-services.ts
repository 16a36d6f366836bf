// Owns: what a node does for its running slices beside calls: the port that a worker's requests reach.
// Does not own: how requests travel (worker-protocol.ts), what each service does (the files beside this one).
import type { HostMessage } from "../core/worker-protocol.ts";
import type { InstanceKey } from "../host/running-instances.ts";

/** What a worker asks of a service of its node. `args` is plain data that nobody has looked at yet. */
export interface ServiceCall {
  readonly service: string;
  readonly op: string;
  readonly args: unknown;
  readonly timeoutMs: number;
}

/** Who asks. */
export interface ServiceCaller {
  readonly slice: string;
  readonly instance: InstanceKey;
}

export interface ServiceScope {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** One service as one instance sees it. */
export interface SliceService {
  /** @throws AetherError, also for an operation or arguments that there are not */
  run(op: string, args: unknown, scope: ServiceScope): Promise<unknown>;
  /** The instance has ended: gives back what it held. */
  close(): void;
}

/** Opens a service for one instance. What it says by itself goes to the worker through `post`. */
export type OpenService = (caller: ServiceCaller, post: (message: HostMessage) => void) => SliceService;

/** By the names that workers use. */
export type SliceServices = Readonly<Record<string, OpenService>>;
