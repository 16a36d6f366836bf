// Owns: concurrent clients: bursts of operations with think time in between, on a node each, moving on when it fails
// them; and the history of what they were told. A client outlives every node.
import { present } from "../../../src/base/assert.ts";
import type { NodeId } from "../../../src/base/ids.ts";
import type { Random } from "../../../src/base/random.ts";
import type { KeyText } from "../../../src/kvstore/core/key.ts";
import type { KvEntry } from "../../../src/kvstore/core/schema.ts";
import type { World } from "../../../src/testkit/sim/world.ts";
import type { Action, Answer, Operation } from "../checkers/history.ts";
import { drawAction, type WorkloadName } from "./actions.ts";

export type Reply =
  | { readonly kind: "ok"; readonly answer: Answer }
  | { readonly kind: "failed" }
  | { readonly kind: "unknown" };

/** One node as clients reach it. */
export interface Service {
  /** `reply` comes at most once; never, when the node dies first. */
  perform(action: Action, reply: (reply: Reply) => void): void;
}

export interface ClientsConfig {
  readonly clientCount: number;
  readonly workload: WorkloadName;
  readonly nodes: readonly NodeId[];
  /** Undefined while the node is down. */
  readonly serviceOf: (node: NodeId) => Service | undefined;
  readonly isStopping: () => boolean;
}

/** An operation under way. */
interface Call {
  readonly id: number;
  readonly node: NodeId;
  readonly called: number;
  readonly action: Action;
  isSettled: boolean;
  readonly client: Client;
}

const TIMEOUT_MS_MIN = 300;
const TIMEOUT_MS_SPAN = 4_000;
const BURST_MAX = 12;
/** After so many operations the clients slow down. */
const BUSY_OPERATIONS = 240;

export class Clients {
  readonly history: Operation[] = [];
  private readonly world: World;
  private readonly config: ClientsConfig;
  private readonly clients: readonly Client[];
  private readonly calls = new Set<Call>();
  private nextId = 1;
  private answeredCount = 0;

  constructor(world: World, config: ClientsConfig) {
    this.world = world;
    this.config = config;
    const random = world.random.fork("clients");
    this.clients = Array.from({ length: config.clientCount }, (_, index) => new Client(random.fork(`client ${index}`)));
  }

  /** Operations begun so far. */
  get issued(): number {
    return this.nextId - 1;
  }

  /** Operations that were answered with a result. */
  get answered(): number {
    return this.answeredCount;
  }

  get isIdle(): boolean {
    return this.calls.size === 0;
  }

  start(): void {
    for (const client of this.clients) this.later(client, client.random.next() * 100);
  }

  /** The previous process of `node` is gone: nobody will answer what it was asked. */
  nodeRestarted(node: NodeId): void {
    for (const call of [...this.calls]) if (call.node === node) this.settle(call, { kind: "unknown" });
  }

  /** Performs one operation for nobody in particular, outside the clients' own schedules. */
  perform(node: NodeId, action: Action): void {
    const client = new Client(this.world.random.fork(`visitor ${this.nextId}`));
    client.isVisitor = true;
    this.call(client, node, action);
  }

  private later(client: Client, delayMs: number): void {
    this.world.schedule({ delayMs, kind: "client" }, () => this.act(client));
  }

  private act(client: Client): void {
    if (this.config.isStopping()) return;
    const { random } = client;
    if (client.burst === 0) {
      client.burst = 1 + random.below(BURST_MAX);
      if (random.below(3) === 0) client.node = undefined;
    }
    const node = client.node ?? this.pickNode(random);
    client.node = node;
    if (this.config.serviceOf(node) === undefined) {
      client.node = undefined;
      this.later(client, 5 + random.next() * 100);
      return;
    }
    client.burst -= 1;
    const action = drawAction(this.config.workload, random, client.seen, `c${this.nextId}`);
    this.call(client, node, action);
  }

  private call(client: Client, node: NodeId, action: Action): void {
    const service = this.config.serviceOf(node);
    if (service === undefined) return;
    const call: Call = { id: this.nextId, node, called: this.world.nextStamp(), action, isSettled: false, client };
    this.nextId += 1;
    this.calls.add(call);
    service.perform(action, (reply) => this.settle(call, reply));
    const timeoutMs = TIMEOUT_MS_MIN + client.random.next() * TIMEOUT_MS_SPAN;
    this.world.schedule({ delayMs: timeoutMs, kind: "timeout" }, () => this.settle(call, { kind: "unknown" }));
  }

  private settle(call: Call, reply: Reply): void {
    if (call.isSettled) return;
    call.isSettled = true;
    this.calls.delete(call);
    const { id, node, called, action, client } = call;
    const returned = this.world.nextStamp();
    switch (reply.kind) {
      case "ok":
        this.answeredCount += 1;
        this.history.push({ kind: "ok", id, node, called, action, returned, answer: reply.answer });
        client.learn(action, reply.answer);
        break;
      case "failed":
        this.history.push({ kind: "failed", id, node, called, action, returned });
        client.node = undefined;
        break;
      case "unknown":
        this.history.push({ kind: "unknown", id, node, called, action });
        client.node = undefined;
        break;
    }
    if (client.isVisitor) return;
    const isBetweenBursts = client.burst === 0 || reply.kind !== "ok";
    this.later(client, client.random.next() * (isBetweenBursts ? 400 : 8) * this.slowness);
  }

  /** While faults go on after that, a few operations now and then are enough. */
  private get slowness(): number {
    return this.issued < BUSY_OPERATIONS ? 1 : 10;
  }

  private pickNode(random: Random): NodeId {
    const { nodes } = this.config;
    const up = nodes.filter((node) => this.config.serviceOf(node) !== undefined);
    const from = up.length > 0 && random.below(8) !== 0 ? up : nodes;
    return present(from[random.below(from.length)], "a simulated cluster has nodes");
  }
}

class Client {
  readonly random: Random;
  readonly seen = new Map<KeyText, KvEntry | undefined>();
  /** Operations left until the client rests. */
  burst = 0;
  node: NodeId | undefined;
  isVisitor = false;

  constructor(random: Random) {
    this.random = random;
  }

  learn(action: Action, answer: Answer): void {
    if (action.kind === "read") {
      if (answer.kind === "read") this.seen.set(action.key, answer.entry);
      return;
    }
    if (answer.kind !== "txn") return;
    const { succeeded, results, revision } = answer.result;
    for (const [index, op] of (succeeded ? action.txn.then : action.txn.else).entries()) {
      const result = results[index];
      if (op.kind === "put") {
        // Version and creation are not told; guards do not use them.
        const { key, value } = op;
        this.seen.set(key, { key, value, modRevision: revision, createRevision: 0, version: 0 });
      }
      if (op.kind === "get" && result?.kind === "get") this.seen.set(op.key, result.entry);
      if (op.kind === "delete") this.seen.set(op.key, undefined);
    }
  }
}
