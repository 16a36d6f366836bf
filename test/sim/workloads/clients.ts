// Owns: concurrent clients: each goes through its script, on a node, moving on when it fails them; and the history of
// what they were told. A client outlives every node.
import { present } from "../../../src/base/assert.ts";
import type { NodeId } from "../../../src/base/ids.ts";
import type { Random } from "../../../src/base/random.ts";
import type { KeyText } from "../../../src/kvstore/core/key.ts";
import type { KvEntry } from "../../../src/kvstore/core/schema.ts";
import type { World } from "../../../src/testkit/sim/world.ts";
import type { Action, Answer, Operation } from "../checkers/history.ts";
import { actionOf, type ClientScript } from "./actions.ts";

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
  readonly scripts: readonly ClientScript[];
  readonly nodes: readonly NodeId[];
  /** Undefined while the node is down. */
  readonly serviceOf: (node: NodeId) => Service | undefined;
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
/** A client whose node is down looks for another one after a while. */
const LOOK_MS_MIN = 5;
const LOOK_MS_SPAN = 100;

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
    this.clients = config.scripts.map((script, index) => new Client(random.fork(`client ${index}`), script));
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

  /** Every script is at its end, and every operation has an outcome. */
  get isDone(): boolean {
    return this.isIdle && this.clients.every((client) => client.next >= client.script.length);
  }

  start(): void {
    for (const client of this.clients) this.goOn(client);
  }

  /** The previous process of `node` is gone: nobody will answer what it was asked. */
  nodeRestarted(node: NodeId): void {
    for (const call of [...this.calls]) if (call.node === node) this.settle(call, { kind: "unknown" });
  }

  /** Performs one operation for nobody in particular, outside the clients' own schedules. */
  perform(node: NodeId, action: Action): void {
    this.call(new Client(this.world.random.fork(`visitor ${this.nextId}`), []), node, action);
  }

  private goOn(client: Client): void {
    const step = client.script[client.next];
    if (step !== undefined) this.later(client, step.waitMs);
  }

  private later(client: Client, delayMs: number): void {
    this.world.schedule({ delayMs, kind: "client" }, () => this.act(client));
  }

  private act(client: Client): void {
    const { random } = client;
    const step = client.script[client.next];
    if (step === undefined) return;
    const node = (step.moves === true ? undefined : client.node) ?? this.pickNode(random);
    client.node = node;
    if (this.config.serviceOf(node) === undefined) {
      client.node = undefined;
      this.later(client, LOOK_MS_MIN + random.next() * LOOK_MS_SPAN);
      return;
    }
    client.next += 1;
    this.call(client, node, actionOf(step, client.seen, `c${this.nextId}`));
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
    this.goOn(client);
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
  readonly script: ClientScript;
  readonly seen = new Map<KeyText, KvEntry | undefined>();
  /** The step of the script that comes next. */
  next = 0;
  node: NodeId | undefined;

  constructor(random: Random, script: ClientScript) {
    this.random = random;
    this.script = script;
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
