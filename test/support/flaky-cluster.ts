// Owns: the nodes' side of the client protocol without a network: one store with sessions behind several addresses,
// and a tape that says what goes wrong with each write. Everything happens on the clock that is given.
import { decode, encode } from "../../src/base/codec.ts";
import { AetherError, type ErrorBody } from "../../src/base/errors.ts";
import type { Clock } from "../../src/env/clock.ts";
import type { Connection, ConnectionHandlers } from "../../src/env/network.ts";
import { messagesOf } from "../../src/api/frame.ts";
import {
  nodeHelloFields, nodeMessageFields, parseClientMessage, type ClientMessage, type NodeMessage,
} from "../../src/api/protocol.ts";
import { grantFields, membersFields, txnResultFields } from "../../src/api/results.ts";
import type { TxnResult } from "../../src/kvstore/core/schema.ts";
import { parseTxnCommand } from "../../src/kvstore/core/txn.ts";
import { MiB } from "../../src/base/units.ts";

/** What becomes of one write that a node receives. */
export type Fault =
  | "none"
  /** Applied; the connection breaks before the answer. */
  | "applied-unanswered"
  /** Never applied; the connection breaks. */
  | "lost"
  /** The connection breaks; a copy under way is applied later. */
  | "lost-applied-later"
  /** The node gives up; the write is applied later. */
  | "timeout-applied-later"
  | "timeout"
  | "no-quorum"
  /** The same, of a node that takes its time. */
  | "no-quorum-slow"
  | "overloaded"
  | "draining"
  /** Never answered. */
  | "silent"
  /** Every session ends just before. */
  | "sessions-end"
  /** Every session ends, and then the connection breaks. */
  | "sessions-end-lost";

const LATER_MS = 700;
const SLOW_MS = 30;
const WINDOW = 1_024;

type Txn = Extract<ClientMessage, { kind: "txn" }>;

interface Session {
  readonly results: Map<number, TxnResult>;
  highest: number;
}

export class FlakyCluster {
  /** How often each key was put. */
  readonly applied = new Map<string, number>();
  /** The revision at which it was first put. */
  readonly revisions = new Map<string, number>();
  readonly urls: readonly string[];
  private readonly clock: Clock;
  private readonly tape: Fault[];
  private readonly sessions = new Map<number, Session>();
  private nextSession = 1;
  private revision = 0;

  constructor(clock: Clock, urls: readonly string[], tape: readonly Fault[]) {
    this.clock = clock;
    this.urls = urls;
    this.tape = [...tape];
  }

  get openSessions(): number {
    return this.sessions.size;
  }

  dial(url: string): Connection {
    const connection = new FlakyConnection(this.clock, (message) => this.receive(connection, message));
    this.clock.defer(() => connection.open(url));
    return connection;
  }

  private receive(connection: FlakyConnection, message: ClientMessage): void {
    switch (message.kind) {
      case "txn":
        this.receiveTxn(connection, message);
        return;
      case "grant": {
        const lease = this.nextSession++;
        this.sessions.set(lease, { results: new Map(), highest: 0 });
        connection.answer(message.id, grantFields({ lease, ttlMs: message.ttlMs }));
        return;
      }
      case "renew":
        if (this.sessions.has(message.lease)) connection.answer(message.id, null);
        else connection.refuse(message.id, new AetherError("E_NOT_FOUND", "no such lease"));
        return;
      case "revoke":
        this.sessions.delete(message.lease);
        connection.answer(message.id, null);
        return;
      case "members":
        connection.answer(message.id, membersFields({ isReady: true, addresses: this.urls }));
        return;
      default:
        connection.answer(message.id, null);
    }
  }

  private receiveTxn(connection: FlakyConnection, message: Txn): void {
    const fault = this.tape.shift() ?? "none";
    if (fault.startsWith("sessions-end")) this.sessions.clear();
    switch (fault) {
      case "none":
      case "sessions-end":
        connection.settle(message.id, this.apply(message));
        return;
      case "applied-unanswered":
        this.apply(message);
        connection.break();
        return;
      case "lost-applied-later":
        this.clock.setTimer(LATER_MS, () => this.apply(message));
        connection.break();
        return;
      case "lost":
      case "sessions-end-lost":
        connection.break();
        return;
      case "timeout-applied-later":
        this.clock.setTimer(LATER_MS, () => this.apply(message));
        connection.refuse(message.id, new AetherError("E_TIMEOUT", "no answer in time"));
        return;
      case "timeout":
        connection.refuse(message.id, new AetherError("E_TIMEOUT", "no answer in time"));
        return;
      case "no-quorum":
        connection.refuse(message.id, new AetherError("E_NO_QUORUM", "no majority"));
        return;
      case "no-quorum-slow":
        this.clock.setTimer(SLOW_MS, () => {
          connection.refuse(message.id, new AetherError("E_NO_QUORUM", "no majority"));
        });
        return;
      case "overloaded":
        connection.refuse(message.id, new AetherError("E_OVERLOADED", "full"));
        return;
      case "draining":
        connection.refuse(message.id, new AetherError("E_UNAVAILABLE", "draining"));
        return;
      case "silent":
    }
  }

  private apply({ command }: Txn): TxnResult | AetherError {
    const txn = parseTxnCommand(decode(command, MiB));
    if (txn.kind === "malformed") return new AetherError("E_INVALID", txn.reason);
    const { request } = txn;
    if (request === undefined) return this.put(txn.then[0]?.key ?? "");
    const details = { session: request.session, id: request.id };
    const session = this.sessions.get(request.session);
    if (session === undefined) return conflict("the session has ended", details);
    const before = session.results.get(request.id);
    if (before !== undefined) return before;
    if (request.id <= session.highest - WINDOW) return conflict("too old", { ...details, latest: session.highest });
    session.highest = Math.max(session.highest, request.id);
    const result = this.put(txn.then[0]?.key ?? "");
    session.results.set(request.id, result);
    session.results.delete(session.highest - WINDOW);
    return result;
  }

  private put(key: string): TxnResult {
    const revision = ++this.revision;
    this.applied.set(key, (this.applied.get(key) ?? 0) + 1);
    this.revisions.set(key, this.revisions.get(key) ?? revision);
    return { succeeded: true, revision, results: [{ kind: "put" }] };
  }
}

function conflict(message: string, details: Readonly<Record<string, unknown>>): AetherError {
  return new AetherError("E_CONFLICT", message, { outcome: "unknown", details });
}

class FlakyConnection implements Connection {
  readonly bufferedBytes = 0;
  private readonly clock: Clock;
  private readonly onMessage: (message: ClientMessage) => void;
  private handlers: ConnectionHandlers | undefined;
  private url = "";
  private isBroken = false;

  constructor(clock: Clock, onMessage: (message: ClientMessage) => void) {
    this.clock = clock;
    this.onMessage = onMessage;
  }

  attach(handlers: ConnectionHandlers): void {
    this.handlers = handlers;
  }

  open(url: string): void {
    this.url = url;
    this.handlers?.onOpen();
  }

  send(frame: Uint8Array): void {
    // What was sent before `close` still leaves.
    this.clock.defer(() => {
      if (this.isBroken) return;
      if (isHello(frame)) {
        const hello = nodeHelloFields({ kind: "welcome", version: 2, node: this.url, isReady: true });
        this.handlers?.onFrame(encode(hello));
        return;
      }
      for (const message of messagesOf(frame)) {
        if (!this.isBroken) this.onMessage(parseClientMessage(message));
      }
    });
  }

  close(): void {
    this.handlers = undefined;
  }

  break(): void {
    const { handlers } = this;
    this.handlers = undefined;
    this.isBroken = true;
    this.clock.defer(() => handlers?.onClose("cut"));
  }

  settle(id: number, result: TxnResult | AetherError): void {
    if (result instanceof AetherError) this.refuse(id, result);
    else this.answer(id, txnResultFields(result));
  }

  answer(id: number, result: unknown): void {
    this.deliver({ kind: "ok", id, result });
  }

  refuse(id: number, error: AetherError): void {
    const body: ErrorBody = error.toBody();
    this.deliver({ kind: "error", id, error: body });
  }

  private deliver(message: NodeMessage): void {
    this.clock.defer(() => this.handlers?.onFrame(encode([nodeMessageFields(message)])));
  }
}

/** A hello is an array whose first element is text; other frames are arrays of arrays. */
function isHello(frame: Uint8Array): boolean {
  const value = decode(frame, MiB);
  return Array.isArray(value) && typeof value[0] === "string";
}
