// Owns: the client library's entry: one connection to one node of a cluster, and to the next one when that is lost.
import { AetherError } from "../base/errors.ts";
import type { Agent } from "../sdk/agent.ts";
import type { Client as SliceClient, Contract } from "../sdk/contract.ts";
import { createOtelTracing } from "../metrics/otel-tracing-adapter.ts";
import { createAgentClient, createJobHandle, type AgentClient, type JobHandle } from "./agent-client.ts";
import { createClientKv, type ClientKv } from "./client-kv.ts";
import { createClientClock } from "./clock-adapter.ts";
import { createClientRandom } from "./random-adapter.ts";
import { followEvents, type ClientEvent, type EventOptions, type EventQuery } from "./events-client.ts";
import { createJobsClient, type JobsClient } from "./jobs-client.ts";
import { Multiplexer } from "./multiplexer.ts";
import { sessionUrl } from "./session-url.ts";
import { callTraced, createSliceClient, type SliceAnswer, type SliceCall } from "./slice-client.ts";
import { dialNode } from "./ws-adapter.ts";

export interface ConnectOptions {
  /**
   * API addresses of some nodes, such as `http://127.0.0.1:7201` or `ws://127.0.0.1:7201`; any of them will do. The
   * client picks one at random and learns the others from it.
   */
  readonly nodes: readonly string[];
  /** Sent to the nodes as a bearer token. Nodes do not check it yet: they serve this machine only. */
  readonly token?: string;
  /** `off` keeps to `nodes`, where the addresses that the nodes give are not reached from here; default `members`. */
  readonly discovery?: "members" | "off";
}

export interface Client {
  readonly kv: ClientKv;
  /** The methods of a slice, typed by its contract. */
  slice<C extends Contract>(contract: C): SliceClient<C>;
  /** Calls a method by name. */
  call(call: SliceCall): Promise<SliceAnswer>;
  /** Jobs of an agent, typed by it. */
  agent<A extends Agent>(agent: A): AgentClient<A>;
  /** A job by its id, of whatever agent. Nothing is asked yet. */
  job(id: string): JobHandle;
  /** Many jobs, by what holds for them. */
  readonly jobs: JobsClient;
  /**
   * What happens in the cluster, one event after the other, over lost connections and nodes: each that a node holds, in
   * order and once. Where something may be missing, the event behind it says so (`gaps`).
   * @throws AetherError E_INVALID for a query that is none; the reason of `signal`
   * @example
   * for await (const event of client.events({ severity: "warning" })) console.log(event.text);
   */
  events(query?: EventQuery, options?: EventOptions): AsyncIterable<ClientEvent>;
  /** The name of the node that is asked now; undefined while there is no connection. */
  readonly node: string | undefined;
  /** Rejects what is under way and closes the connection. Idempotent. */
  close(): void;
}

/**
 * Connects to a cluster. Answers at once; requests wait for the connection within their deadlines. When a connection
 * is lost, reads, writes of the store and idempotent calls are sent again to another node; a write of the store is
 * applied at most once all the same. Calls of `write` methods that were under way fail with E_TIMEOUT, outcome unknown.
 * @throws AetherError E_CONFIG for an address that is none.
 * @example
 * const client = connect({ nodes: ["http://127.0.0.1:7201", "http://127.0.0.1:7202"] });
 * await client.kv.put("data/greeting", "hello");
 */
export function connect(options: ConnectOptions): Client {
  const urls = options.nodes.map(sessionUrl);
  if (urls.length === 0) throw new AetherError("E_CONFIG", "no nodes to connect to: give at least one address");
  const clock = createClientClock();
  const random = createClientRandom();
  const requests = new Multiplexer(
    {
      clock,
      random,
      discovery: options.discovery ?? "members",
      dial: (url) => dialNode(url, options.token),
    },
    urls,
  );
  const tracing = createOtelTracing();
  return {
    kv: createClientKv({ requests, clock, random }),
    slice: (contract) => createSliceClient(requests, contract, tracing),
    call: (call) => callTraced(requests, call, tracing),
    agent: (agent) => createAgentClient({ requests, clock, tracing }, agent),
    job: (id) => createJobHandle({ requests, clock }, id),
    jobs: createJobsClient(requests),
    events: (query, options) => followEvents({ requests, clock }, query, options),
    get node() {
      return requests.node;
    },
    close: () => requests.close(),
  };
}
