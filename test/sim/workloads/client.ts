// Owns: what one client knows: its place in its script, what it saw, its session and the lease that it holds.
// Does not own: asking nodes (clients.ts).
import type { NodeId } from "../../../src/base/ids.ts";
import type { Random } from "../../../src/base/random.ts";
import type { KeyText } from "../../../src/kvstore/core/key.ts";
import { SESSION_WINDOW_MAX } from "../../../src/kvstore/core/request-page.ts";
import type { KvEntry, LeaseId, RequestRef } from "../../../src/kvstore/core/schema.ts";
import type { Action, Answer } from "../checkers/history.ts";
import type { ClientScript } from "./actions.ts";

/** A lease that its holder renews. */
export interface HeldLease {
  readonly lease: LeaseId;
  readonly ttlMs: number;
}

/** Every so many requests one takes the place of an earlier one in the window. */
const WINDOW_JUMP_EVERY = 7;

export class Client {
  readonly name: string;
  readonly random: Random;
  readonly script: ClientScript;
  readonly seen = new Map<KeyText, KvEntry | undefined>();
  /** The step of the script that comes next. */
  next = 0;
  node: NodeId | undefined;
  session: HeldLease | undefined;
  /** The lease that keys are attached to. */
  held: HeldLease | undefined;
  private requests = 0;

  constructor(name: string, random: Random, script: ClientScript) {
    this.name = name;
    this.random = random;
    this.script = script;
  }

  get isOver(): boolean {
    return this.next >= this.script.steps.length;
  }

  /** Whether it has to open a session before it writes. */
  get wantsSession(): boolean {
    return this.script.sessionMs !== undefined && this.session === undefined;
  }

  open(session: HeldLease): void {
    this.session = session;
    this.requests = 0;
  }

  /** The same action, named so that it can be sent again. */
  named(action: Action): Action {
    if (this.session === undefined || action.kind !== "txn") return action;
    this.requests += this.requests % WINDOW_JUMP_EVERY === WINDOW_JUMP_EVERY - 1 ? SESSION_WINDOW_MAX : 1;
    const request: RequestRef = { session: this.session.lease, id: this.requests };
    return { ...action, request };
  }

  /** This lease has ended. */
  lose(lease: LeaseId): void {
    if (this.session?.lease === lease) this.session = undefined;
    if (this.held?.lease === lease) this.held = undefined;
  }

  holds(lease: HeldLease): boolean {
    return this.session === lease || this.held === lease;
  }

  learn(action: Action, answer: Answer): void {
    if (action.kind === "read" && answer.kind === "read") this.seen.set(action.key, answer.entry);
    if (action.kind !== "txn" || answer.kind !== "txn") return;
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
