// Owns: concurrent clients: each goes through its script, on a node, moving on when it fails them; and the history of
// what they were told. A client outlives every node. One with a session sends a write again, through another node,
// until it knows what became of it.
import { isDeepStrictEqual } from "node:util";
import { present } from "../../../src/base/assert.ts";
import type { NodeId } from "../../../src/base/ids.ts";
import type { LeaseId } from "../../../src/kvstore/core/schema.ts";
import type { World } from "../../../src/testkit/sim/world.ts";
import type { Action, Answer, Operation } from "../checkers/history.ts";
import type { Violations } from "../checkers/violations.ts";
import { actionOf, type ClientScript } from "./actions.ts";
import { Client, type HeldLease } from "./client.ts";
import { unfenced } from "./leading.ts";

export type Reply =
  | { readonly kind: "ok"; readonly answer: Answer }
  | { readonly kind: "failed" }
  /** The lease or session has ended; without one, the request is too old. */
  | { readonly kind: "gone"; readonly lease?: LeaseId }
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
  readonly violations: Violations;
  /** A planted fault: leaders do not compare that they still lead. */
  readonly isUnfenced?: boolean;
}

export interface ClientStats {
  /** Sent again under the same request. */
  repeats: number;
  /** Of these, those that were answered what an earlier one had done. */
  recalls: number;
  sessionsLost: number;
}

/** An operation under way, however often it is sent. */
interface Call {
  readonly id: number;
  readonly called: number;
  readonly action: Action;
  readonly client: Client;
  node: NodeId;
  tries: number;
  /** Nobody knows whether an earlier try took effect. */
  isOpen: boolean;
  /** The first that came, to whichever try. */
  answer: Answer | undefined;
}

/** One question to one node. */
interface Attempt {
  readonly node: NodeId;
  readonly end: (reply: Reply) => void;
}

const TIMEOUT_MS_MIN = 300;
const TIMEOUT_MS_SPAN = 4_000;
/** A client whose node is down looks for another one after a while. */
const LOOK_MS_MIN = 5;
const LOOK_MS_SPAN = 100;
const TRIES_MAX = 60;
/** Sessions that live longer are closed by their clients, so that runs need not wait for their end. */
const SESSION_LEFT_MS_MAX = 3_000;
const RENEWALS_PER_TTL = 3;

export class Clients {
  readonly history: Operation[] = [];
  readonly stats: ClientStats = { repeats: 0, recalls: 0, sessionsLost: 0 };
  private readonly world: World;
  private readonly config: ClientsConfig;
  private readonly clients: readonly Client[];
  private readonly attempts = new Set<Attempt>();
  /** Operations without an outcome, and leases that are to be revoked. */
  private open = 0;
  private nextId = 1;
  private answeredCount = 0;

  constructor(world: World, config: ClientsConfig) {
    this.world = world;
    this.config = config;
    const random = world.random.fork("clients");
    this.clients = config.scripts.map((script, index) => {
      const name = `client ${index}`;
      return new Client(name, random.fork(name), script);
    });
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
    return this.attempts.size === 0 && this.open === 0;
  }

  /** Every script is at its end, and every operation has an outcome. */
  get isDone(): boolean {
    return this.isIdle && this.clients.every((client) => client.isOver);
  }

  start(): void {
    for (const client of this.clients) this.goOn(client);
  }

  /** The previous process of `node` is gone: nobody will answer what it was asked. */
  nodeRestarted(node: NodeId): void {
    for (const attempt of [...this.attempts]) if (attempt.node === node) attempt.end({ kind: "unknown" });
  }

  /** Performs one operation for nobody in particular, outside the clients' own schedules. */
  perform(node: NodeId, action: Action): void {
    if (this.config.serviceOf(node) === undefined) return;
    const name = `visitor ${this.nextId}`;
    this.begin(new Client(name, this.world.random.fork(name), { steps: [] }), node, action);
  }

  private goOn(client: Client): void {
    const step = client.script.steps[client.next];
    if (step !== undefined) this.later(client, step.waitMs);
    else this.leave(client);
  }

  private later(client: Client, delayMs: number): void {
    this.world.schedule({ delayMs, kind: "client" }, () => this.act(client));
  }

  private act(client: Client): void {
    const step = client.script.steps[client.next];
    if (step === undefined) return;
    const node = this.nodeFor(client, step.moves === true);
    if (node === undefined) {
      this.later(client, this.drawLookMs(client));
      return;
    }
    if (client.wantsSession) {
      this.openSession(client, node);
      return;
    }
    client.next += 1;
    const found = actionOf(step, client, `c${this.nextId}`);
    switch (found.kind) {
      case "leave":
        client.held = undefined;
        this.goOn(client);
        return;
      case "revoke":
        client.held = undefined;
        this.open += 1;
        this.revoke(client, found.lease, TRIES_MAX);
        this.goOn(client);
        return;
      case "grant":
        this.grant(client, node, found, (held) => {
          client.held = held;
        });
        return;
      default:
        this.begin(client, node, client.named(this.config.isUnfenced === true ? unfenced(found) : found));
    }
  }

  // ── operations ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private begin(client: Client, node: NodeId, action: Action): void {
    const called = this.world.nextStamp();
    const state = { node, tries: 0, isOpen: false, answer: undefined };
    const call: Call = { id: this.nextId, called, action, client, ...state };
    this.nextId += 1;
    this.open += 1;
    this.try(call);
  }

  private try(call: Call): void {
    call.tries += 1;
    this.ask(call.client, call.node, call.action, {
      onReply: (reply) => this.replied(call, reply),
      onLate: (reply) => {
        if (reply.kind === "ok") this.noteAnswer(call, reply.answer);
      },
    });
  }

  private replied(call: Call, reply: Reply): void {
    const { client } = call;
    switch (reply.kind) {
      case "ok":
        this.noteAnswer(call, reply.answer);
        this.answeredCount += 1;
        client.learn(call.action, reply.answer);
        this.settle(call, reply);
        return;
      case "gone":
        this.noteGone(client, reply.lease);
        // Without a lease it was applied, or may have been.
        this.settle(call, { kind: call.isOpen || reply.lease === undefined ? "unknown" : "failed" });
        return;
      case "failed":
      case "unknown":
        client.node = undefined;
        call.isOpen ||= reply.kind === "unknown";
        if (!call.isOpen || !isNamed(call.action) || call.tries >= TRIES_MAX) {
          this.settle(call, { kind: call.isOpen ? "unknown" : "failed" });
        } else this.tryElsewhere(call);
    }
  }

  private tryElsewhere(call: Call): void {
    this.world.schedule({ delayMs: this.drawLookMs(call.client), kind: "client" }, () => {
      const node = this.nodeFor(call.client, true);
      if (node === undefined) {
        this.tryElsewhere(call);
        return;
      }
      this.stats.repeats += 1;
      call.node = node;
      this.try(call);
    });
  }

  /** However often a request is sent and whoever answers: the answer is one. */
  private noteAnswer(call: Call, answer: Answer): void {
    if (call.answer === undefined) {
      call.answer = answer;
      if (call.tries > 1) this.stats.recalls += 1;
    } else if (!isDeepStrictEqual(call.answer, answer)) {
      const both = `${JSON.stringify(call.answer)} and ${JSON.stringify(answer)}`;
      this.config.violations.report("C8", `C8: operation ${call.id}, sent ${call.tries} times, was answered ${both}`);
    }
  }

  private settle(call: Call, outcome: Extract<Reply, { readonly kind: "ok" | "failed" | "unknown" }>): void {
    const { id, node, called, action, client } = call;
    const returned = this.world.nextStamp();
    const what = { id, node, called, action };
    if (outcome.kind === "ok") this.history.push({ ...what, kind: "ok", returned, answer: outcome.answer });
    if (outcome.kind === "failed") this.history.push({ ...what, kind: "failed", returned });
    if (outcome.kind === "unknown") this.history.push({ ...what, kind: "unknown" });
    this.open -= 1;
    this.goOn(client);
  }

  // ── leases ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  private openSession(client: Client, node: NodeId): void {
    const ttlMs = client.script.sessionMs ?? SESSION_LEFT_MS_MAX;
    this.grant(client, node, { kind: "grant", ttlMs, requests: true }, (session) => client.open(session));
  }

  private grant(
    client: Client,
    node: NodeId,
    action: Extract<Action, { readonly kind: "grant" }>,
    take: (held: HeldLease) => void,
  ): void {
    const onReply = (reply: Reply): void => {
      if (reply.kind === "ok" && reply.answer.kind === "granted") {
        const held = { lease: reply.answer.lease, ttlMs: action.ttlMs };
        take(held);
        this.renewLater(client, held);
        this.goOn(client);
      } else {
        // Not at once: a node that refuses would be asked again in the same moment.
        client.node = undefined;
        this.later(client, this.drawLookMs(client));
      }
    };
    this.ask(client, node, action, { onReply });
  }

  /** As long as its holder has something to do. */
  private renewLater(client: Client, held: HeldLease): void {
    this.world.schedule({ delayMs: held.ttlMs / RENEWALS_PER_TTL, kind: "renew" }, () => {
      if (!client.holds(held) || client.isOver) return;
      this.renewLater(client, held);
      const node = this.nodeFor(client, false);
      if (node === undefined) return;
      const onReply = (reply: Reply): void => {
        if (reply.kind === "gone") this.noteGone(client, reply.lease);
      };
      this.ask(client, node, { kind: "renew", lease: held.lease }, { onReply });
    });
  }

  private noteGone(client: Client, lease: LeaseId | undefined): void {
    if (lease === undefined) return;
    if (client.session?.lease === lease) this.stats.sessionsLost += 1;
    client.lose(lease);
  }

  /** What is short is left to itself. */
  private leave(client: Client): void {
    const { session } = client;
    client.session = undefined;
    client.held = undefined;
    if (session === undefined || session.ttlMs <= SESSION_LEFT_MS_MAX) return;
    this.open += 1;
    this.revoke(client, session.lease, TRIES_MAX);
  }

  /** Until somebody says that it is gone. */
  private revoke(client: Client, lease: LeaseId, tries: number): void {
    const node = this.nodeFor(client, false);
    const again = (): void => {
      client.node = undefined;
      if (tries <= 1) this.open -= 1;
      else {
        const delayMs = this.drawLookMs(client);
        this.world.schedule({ delayMs, kind: "client" }, () => this.revoke(client, lease, tries - 1));
      }
    };
    if (node === undefined) {
      again();
      return;
    }
    const called = this.world.nextStamp();
    const action = { kind: "revoke", lease } as const;
    const onReply = (reply: Reply): void => {
      if (reply.kind === "failed" || reply.kind === "unknown") {
        again();
        return;
      }
      this.open -= 1;
      if (reply.kind === "gone") return;
      const returned = this.world.nextStamp();
      this.history.push({ kind: "ok", id: this.nextId, node, called, action, returned, answer: reply.answer });
      this.nextId += 1;
    };
    this.ask(client, node, action, { onReply });
  }

  // ── one question to one node ───────────────────────────────────────────────────────────────────────────────────────

  /** `onReply` is called once, `onLate` for what comes after that. */
  private ask(
    client: Client,
    node: NodeId,
    action: Action,
    handlers: { readonly onReply: (reply: Reply) => void; readonly onLate?: (reply: Reply) => void },
  ): void {
    let isEnded = false;
    const end = (reply: Reply): void => {
      if (isEnded) {
        handlers.onLate?.(reply);
        return;
      }
      isEnded = true;
      this.attempts.delete(attempt);
      handlers.onReply(reply);
    };
    const attempt: Attempt = { node, end };
    this.attempts.add(attempt);
    const timeoutMs = TIMEOUT_MS_MIN + client.random.next() * TIMEOUT_MS_SPAN;
    this.world.schedule({ delayMs: timeoutMs, kind: "timeout" }, () => {
      if (!isEnded) end({ kind: "unknown" });
    });
    this.config.serviceOf(node)?.perform(action, end);
  }

  /** A node that is up, as far as the client knows: the one of before unless it `moves`. */
  private nodeFor(client: Client, moves: boolean): NodeId | undefined {
    const node = (moves ? undefined : client.node) ?? this.pickNode(client);
    client.node = this.config.serviceOf(node) === undefined ? undefined : node;
    return client.node;
  }

  private pickNode({ random }: Client): NodeId {
    const { nodes } = this.config;
    const up = nodes.filter((node) => this.config.serviceOf(node) !== undefined);
    const from = up.length > 0 && random.below(8) !== 0 ? up : nodes;
    return present(from[random.below(from.length)], "a simulated cluster has nodes");
  }

  private drawLookMs({ random }: Client): number {
    return LOOK_MS_MIN + random.next() * LOOK_MS_SPAN;
  }
}

function isNamed(action: Action): boolean {
  return action.kind === "txn" && action.request !== undefined;
}
