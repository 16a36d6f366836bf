// Owns: one running node: opens its parts in their order, closes them in reverse, stops when it must not go on.
// `startNode(config, env)` is the same code in production and in simulation; only `env` differs.
import { createDeferred } from "../base/deferred.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import { ResourceStack } from "../base/resource-stack.ts";
import { startCancelled } from "../consensus/replay-pace.ts";
import type { CallOptions, Env } from "../env/env.ts";
import type { Kv } from "../kvstore/kv.ts";
import type { GroupStatus } from "../consensus/group.ts";
import type { NodeConfig } from "./config.ts";
import { openNodeParts, type NodeParts } from "./wiring.ts";

export interface Node {
  /** Where clients reach it; the port that was really taken. */
  readonly apiUrl: string;
  readonly kv: Kv;
  status(): GroupStatus;
  /** Resolves when the node can serve; rejects when it stops before. */
  ready(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** Resolves with undefined after `stop`, with the reason when the node had to stop by itself. */
  readonly ended: Promise<AetherError | undefined>;
  /** Drains and stops. Idempotent. */
  stop(): Promise<void>;
}

const READY_POLL_MS = 10;

/**
 * Starts a node. It takes part as soon as its peers are there; `ready()` tells when it can serve.
 * An abort of the signal cancels the start; it means nothing afterwards.
 * @throws AetherError E_CONFIG, E_PORT_IN_USE, E_DATA_LOCKED, E_DATA_FOREIGN, E_DATA_CORRUPT, E_VERSION, E_DISK,
 * E_UNAVAILABLE when it was cancelled
 */
export async function startNode(config: NodeConfig, env: Env, { signal }: Partial<CallOptions> = {}): Promise<Node> {
  const node = new RunningNode(env);
  try {
    await node.open(config, signal ?? new AbortController().signal);
  } catch (error) {
    await node.release();
    throw toAetherError(error);
  }
  return node;
}

class RunningNode implements Node {
  private readonly env: Env;
  private readonly resources = new ResourceStack();
  private readonly end = createDeferred<AetherError | undefined>();
  private parts: NodeParts | undefined;
  private stopping: Promise<void> | undefined;
  /** Why it must not go on; the first reason counts. */
  private failure: AetherError | undefined;

  constructor(env: Env) {
    this.env = env;
  }

  get ended(): Promise<AetherError | undefined> {
    return this.end.promise;
  }

  get apiUrl(): string {
    return this.opened.api.url;
  }

  get kv(): Kv {
    return this.opened.kv;
  }

  async open(config: NodeConfig, signal: AbortSignal): Promise<void> {
    const { env, resources } = this;
    this.parts = await openNodeParts({ config, env, resources, signal, onFatal: (error) => this.fail(error) });
    // A part may have failed while the next ones were opened: what was opened since has no other owner.
    if (this.failure !== undefined) throw this.failure;
    if (signal.aborted) throw startCancelled();
    this.parts.start();
  }

  status(): GroupStatus {
    return this.opened.group.status();
  }

  async ready(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    while (!this.status().isReady) {
      if (this.stopping !== undefined)
        throw (await this.ended) ?? new AetherError("E_UNAVAILABLE", "the node was stopped");
      await this.env.clock.sleep(READY_POLL_MS, options.signal);
    }
  }

  async stop(): Promise<void> {
    this.stopping ??= this.shutDown("drain");
    await this.stopping;
  }

  async release(): Promise<void> {
    await this.resources.close();
  }

  /** Nothing may be promised any more: no draining, the parts close as they can. */
  private fail(thrown: unknown): void {
    const error = toAetherError(thrown);
    this.env.telemetry.log.error({ event: "node.failed", code: error.code, reason: error.message, error });
    this.failure ??= error;
    this.stopping ??= this.shutDown("at once");
  }

  /** Never rejects: what goes wrong on the way is why the node ended. */
  private async shutDown(how: "drain" | "at once"): Promise<void> {
    if (how === "drain") await this.attempt("drain", async () => this.parts?.drain());
    await this.attempt("close", () => this.release());
    this.end.resolve(this.failure);
  }

  private async attempt(what: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (thrown) {
      const error = toAetherError(thrown);
      this.env.telemetry.log.error({ event: "node.stop_failed", what, code: error.code, reason: error.message, error });
      this.failure ??= error;
    }
  }

  private get opened(): NodeParts {
    if (this.parts === undefined) throw new AetherError("E_UNAVAILABLE", "the node is starting");
    return this.parts;
  }
}
