// Owns: one connection of the binary client protocol, from hello to close. Does not own: the socket, the services.
// Garbage ends only this session. Requests under way are bounded; answers of one turn leave as one frame.
import { AssertionError, unreachable } from "../base/assert.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Connection } from "../env/network.ts";
import type { Log } from "../env/telemetry.ts";
import { parseKeyText } from "../kvstore/core/key.ts";
import type { TxnOutcome } from "../kvstore/command-outcome.ts";
import { compacted } from "../kvstore/kv-history.ts";
import type { KvWatch, KvWatchHandlers } from "../kvstore/kv.ts";
import type { ClientTurns, ClientWork, Share } from "./client-turns.ts";
import { parsePrefix } from "./core/kv-keys.ts";
import { malformed } from "./core/message-fields.ts";
import { checkTxnCommand } from "./core/txn-command.ts";
import { decodeFrame, FrameWriter, messagesOf } from "./frame.ts";
import {
  NODE_REQUESTS_MAX, SESSION_REQUESTS_MAX, SESSION_WATCHES_MAX, SHARE_BYTES_MAX, SHARE_REQUESTS_MAX,
  SOCKET_PAUSE_BYTES, TIMEOUT_MS_MAX, WATCH_BUFFER_BYTES_MAX,
} from "./limits.ts";
import type { ApiMetrics } from "./metrics.ts";
import {
  nodeHelloFields, nodeMessageFields, NODE_VERSIONS, NO_REQUEST, commonVersion, parseClientHello, parseClientMessage,
  type ClientHello, type ClientMessage, type NodeHello, type NodeMessage,
} from "./protocol.ts";
import { ReadGate } from "./read-gate.ts";
import type { SessionRequests } from "./session-requests.ts";
import { UnsentFrames } from "./unsent-frames.ts";
import {
  changeFields, grantFields, membersFields, pageFields, readFields, txnResultFields, type Members,
} from "./results.ts";
import type { ApiServices, ClusterNodeView } from "./services.ts";

const HELLO_TIMEOUT_MS = 10 * SECOND_MS;

type Requests = Exclude<ClientMessage, { kind: "cancel" | "ping" | "members" | "progress" }>;
type Sent<K extends ClientMessage["kind"]> = Extract<ClientMessage, { kind: K }>;

export interface SessionPorts {
  readonly services: Pick<ApiServices, "kv" | "calls" | "health" | "onBroken"> & {
    cluster(): { readonly nodes: readonly Pick<ClusterNodeView, "status" | "address">[] };
  };
  readonly clock: Clock;
  readonly requests: SessionRequests;
  /** Shared by all sessions of the node. */
  readonly turns: ClientTurns;
  /** What waits for its answer, and of answers for its socket, of all sessions of the node. */
  readonly load: { requests: number; unsentBytes: number };
  readonly log: Log;
  readonly metrics: ApiMetrics;
  /** Name of this node, told in the hello. */
  readonly node: string;
}

/** A connection whose other side can be kept from sending more. */
export interface ClientConnection extends Connection {
  /** What has arrived is still handed over. */
  pauseReading(): void;
  resumeReading(): void;
}

export class ClientSession implements ClientWork {
  private readonly connection: ClientConnection;
  private readonly ports: SessionPorts;
  private readonly onClosed: (session: ClientSession) => void;
  private readonly outbox = new FrameWriter();
  private readonly unsent: UnsentFrames;
  private readonly watches = new Map<number, KvWatch>();
  private readonly calls = new Map<number, AbortController>();
  private readonly reads: ReadGate;
  private readonly helloTimer: Timer;
  private state: "greeting" | "open" | "closed" = "greeting";
  /** Of the protocol, once both have said hello. */
  private version = 0;
  private requestsUnderWay = 0;
  /** What has arrived and waits for its turn: frames, and before them the messages of one from `nextMessage` on. */
  private frames: Uint8Array[] = [];
  private messages: readonly unknown[] = [];
  private nextMessage = 0;
  /** What one of `messages` weighs, as far as its frame tells. */
  private messageBytes = 0;
  private frameBytes = 0;
  private isReadingPaused = false;
  private isFlushPlanned = false;
  private wasSentAway = false;
  /** Why it ends as soon as nothing is owed to it. */
  private endReason: string | undefined;

  constructor(connection: ClientConnection, ports: SessionPorts, onClosed: (session: ClientSession) => void) {
    this.connection = connection;
    this.ports = ports;
    this.onClosed = onClosed;
    const { clock, load } = ports;
    this.unsent = new UnsentFrames({
      connection, clock, load, onTooSlow: (bytes) => this.endSlow(bytes), onSent: () => this.closeIfDone(),
    });
    this.reads = new ReadGate({ clock: ports.clock, isSocketFull: () => this.unsentBytes > SOCKET_PAUSE_BYTES });
    this.helloTimer = ports.clock.setTimer(HELLO_TIMEOUT_MS, () => this.giveUpGreeting());
    connection.attach({
      onOpen: () => undefined,
      onFrame: (frame) => this.receive(frame),
      onClose: () => this.release(),
    });
  }

  /** Asks the client to go to another node; it closes this session when it has its answers. */
  sendAway(): void {
    if (this.wasSentAway || this.state !== "open" || this.version < 3) return;
    this.wasSentAway = true;
    this.send({ kind: "leaving", id: NO_REQUEST });
  }

  /** Closes when nothing is owed any more; a client that was sent away says by its own end when that is. */
  finish(reason: string): void {
    this.endReason = reason;
    this.closeIfDone();
  }

  /** Closes the connection; calls under way are cancelled, writes under way go on. */
  close(reason: string): void {
    this.connection.close(reason);
    this.release();
  }

  private receive(frame: Uint8Array): void {
    if (this.state === "closed") return;
    if (this.state === "greeting") {
      this.guard(() => this.greet(decodeFrame(frame)));
      return;
    }
    this.frames.push(frame);
    this.frameBytes += frame.byteLength;
    if (!this.ports.turns.enter(this)) this.pauseWhenAhead();
  }

  /** Begins what has arrived, in its order. */
  workOff(share: Share): "waits" | "done" {
    let isDone = true;
    this.guard(() => (isDone = this.beginWaiting(share)));
    return isDone ? "done" : "waits";
  }

  /** Whether nothing waits any more. */
  private beginWaiting({ requests, bytes }: Share): boolean {
    for (let begun = 0, begunBytes = 0; this.hasWaiting(); begun++, begunBytes += this.messageBytes) {
      if (begun >= requests || begunBytes >= bytes || !this.ports.turns.take(this.messageBytes)) return false;
      this.receiveMessage(parseClientMessage(this.messages[this.nextMessage++]));
    }
    if (this.isReadingPaused) this.connection.resumeReading();
    this.isReadingPaused = false;
    return true;
  }

  private hasWaiting(): boolean {
    while (this.nextMessage >= this.messages.length) {
      const frame = this.frames.shift();
      if (frame === undefined) return false;
      this.frameBytes -= frame.byteLength;
      this.messages = messagesOf(frame);
      this.nextMessage = 0;
      this.messageBytes = frame.byteLength / Math.max(1, this.messages.length);
      this.ports.metrics.sessionMessages.add(this.messages.length);
    }
    return true;
  }

  /** Whoever has more than a share waiting is not read until it is worked off: the client feels it, not this node. */
  private pauseWhenAhead(): void {
    const isAhead = this.frames.length > 1 || this.frameBytes > SHARE_BYTES_MAX
      || this.messages.length - this.nextMessage > SHARE_REQUESTS_MAX;
    if (!isAhead || this.isReadingPaused) return;
    this.isReadingPaused = true;
    this.connection.pauseReading();
  }

  private guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.refuseGarbage(toAetherError(error));
    }
  }

  private greet(value: unknown): void {
    const hello = parseClientHello(value);
    this.helloTimer.cancel();
    const version = commonVersion(hello);
    if (version === undefined) {
      this.sendHello({ kind: "refused", error: noCommonVersion(hello).toBody() });
      this.close("no version in common");
      return;
    }
    this.state = "open";
    this.version = version;
    const { isReady } = this.ports.services.health.readiness();
    this.sendHello({ kind: "welcome", version, node: this.ports.node, isReady });
  }

  private sendHello(hello: NodeHello): void {
    this.outbox.add(nodeHelloFields(hello));
    // A hello is a frame of its own, not an array of messages.
    for (const frame of this.outbox.take()) this.connection.send(frame.subarray(1));
  }

  private receiveMessage(message: ClientMessage): void {
    switch (message.kind) {
      case "cancel":
        this.cancel(message.id);
        return;
      case "progress":
        this.watches.get(message.id)?.requestProgress();
        return;
      case "ping":
        this.send({ kind: "ok", id: message.id, result: null });
        return;
      case "members":
        this.send({ kind: "ok", id: message.id, result: membersFields(this.members()) });
        return;
      case "get":
      case "list":
      case "txn":
      case "watch":
      case "call":
      case "api":
      case "grant":
      case "renew":
      case "revoke":
        this.admit(message);
        return;
      default:
        unreachable(message);
    }
  }

  private members(): Members {
    const { cluster, health } = this.ports.services;
    const addresses = cluster().nodes.flatMap(({ status, address }) =>
      status === "gone" || address === undefined ? [] : [address],
    );
    return { isReady: health.readiness().isReady, addresses };
  }

  private admit(message: Requests): void {
    const { id } = message;
    // Two under one id could not be told apart any more.
    if (this.watches.has(id) || this.calls.has(id)) throw malformed("id: it is in use");
    if (this.requestsUnderWay >= SESSION_REQUESTS_MAX) {
      this.refuse(id, overloaded("this connection", "requests under way", SESSION_REQUESTS_MAX));
      return;
    }
    // Whoever has little under way is not refused for what others have.
    if (this.ports.load.requests >= NODE_REQUESTS_MAX && this.requestsUnderWay >= SHARE_REQUESTS_MAX) {
      this.refuse(id, overloaded("this node", "requests under way", NODE_REQUESTS_MAX));
      return;
    }
    try {
      this.begin(message);
    } catch (error) {
      this.refuse(id, error);
    }
  }

  private begin(message: Requests): void {
    const { kv } = this.ports.services;
    const { id } = message;
    switch (message.kind) {
      case "txn":
        this.beginTxn(message);
        return;
      case "get": {
        const key = parseKeyText(message.key);
        const { consistency, revision } = message;
        const past = revision === undefined ? {} : { revision };
        const options = { consistency, timeoutMs: boundedTimeout(message.timeoutMs), reader: this, ...past };
        this.beginRead(id, () => kv.get(key, options), readFields);
        return;
      }
      case "list": {
        const { prefix, limit, after, revision, consistency } = message;
        const place = { ...(after === undefined ? {} : { after }), ...(revision === undefined ? {} : { revision }) };
        const query = { prefix: parsePrefix(prefix), limit, ...place };
        const options = { consistency, timeoutMs: boundedTimeout(message.timeoutMs), reader: this };
        this.beginRead(id, () => kv.list(query, options), pageFields);
        return;
      }
      case "watch":
        this.beginWatch(message);
        return;
      case "call":
        this.beginCall(message);
        return;
      case "api":
        this.beginApi(message);
        return;
      case "grant": {
        const { ttlMs, requests } = message;
        const granted = kv.grantLease({ ttlMs, requests }, { timeoutMs: boundedTimeout(message.timeoutMs) });
        this.settle(id, granted, grantFields);
        return;
      }
      case "renew":
        this.settle(id, kv.renewLease(message.lease, { timeoutMs: wholeSeconds(message.timeoutMs) }), nothing);
        return;
      case "revoke":
        this.settle(id, kv.revokeLease(message.lease, { timeoutMs: boundedTimeout(message.timeoutMs) }), nothing);
        return;
    }
  }

  private beginRead<T>(id: number, read: () => Promise<T>, fields: (value: T) => unknown): void {
    this.countUnderWay(1);
    this.reads.enter(id, () => this.answer(id, read(), fields, () => this.reads.leave()));
  }

  private beginTxn({ id, command, timeoutMs }: Sent<"txn">): void {
    checkTxnCommand(command);
    this.countUnderWay(1);
    const done = (outcome: TxnOutcome): void => {
      this.countUnderWay(-1);
      if (outcome.kind === "done") this.send({ kind: "ok", id, result: txnResultFields(outcome.result) });
      else this.refuse(id, outcome.error);
      this.closeIfDone();
    };
    this.ports.services.kv.transactEncoded(command, done, boundedTimeout(timeoutMs));
  }

  private beginWatch({ id, prefix, from, timeoutMs }: Sent<"watch">): void {
    if (this.watches.size >= SESSION_WATCHES_MAX) throw overloaded("this connection", "watches", SESSION_WATCHES_MAX);
    const { kv } = this.ports.services;
    const fromRevision = Math.max(1, from ?? kv.revision + 1);
    if (fromRevision < kv.oldestRevision) throw compacted(fromRevision, kv.oldestRevision, kv.revision);
    const handlers: KvWatchHandlers = {
      onChanges: (changes) =>
        this.send({ kind: "changes", id, revision: changes.revision, changes: changeFields(changes) }),
      onProgress: (revision) => {
        if (this.version >= 2) this.send({ kind: "progress", id, revision });
      },
      isFull: () => this.unsentBytes > WATCH_BUFFER_BYTES_MAX,
      onEnd: (reason) => this.endWatch(id, toAetherError(reason)),
    };
    const patience = timeoutMs === undefined ? {} : { timeoutMs: boundedTimeout(timeoutMs) };
    this.watches.set(id, kv.watch(parsePrefix(prefix), handlers, { fromRevision, ...patience }));
    this.send({ kind: "ok", id, result: fromRevision - 1 });
  }

  private endWatch(id: number, reason: AetherError): void {
    const watch = this.watches.get(id);
    if (watch === undefined) return;
    this.watches.delete(id);
    watch.cancel();
    this.send({ kind: "ended", id, error: reason.toBody() });
  }

  private beginCall(message: Sent<"call">): void {
    const { id, slice, method, input, timeoutMs, idempotencyKey, traceparent } = message;
    const cancelled = new AbortController();
    this.calls.set(id, cancelled);
    const call = {
      slice,
      method,
      input,
      timeoutMs: boundedTimeout(timeoutMs),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      ...(traceparent === undefined ? {} : { traceparent }),
    };
    const answered = this.ports.services.calls.call(call, cancelled.signal).then((reply) => {
      if (reply.kind === "error") throw AetherError.fromBody(reply.error);
      return [reply.output, reply.attempts, reply.isReplayed ?? false];
    });
    this.settle(id, answered.finally(() => this.calls.delete(id)), (fields) => fields);
  }

  private beginApi(message: Sent<"api">): void {
    const { id, timeoutMs } = message;
    const cancelled = new AbortController();
    this.calls.set(id, cancelled);
    const request = { ...message, timeoutMs: boundedTimeout(timeoutMs) };
    const answered = this.ports.requests.answer(request, cancelled.signal);
    this.settle(id, answered.finally(() => this.calls.delete(id)), ({ status, body }) => [status, body]);
  }

  private countUnderWay(change: number): void {
    this.requestsUnderWay += change;
    this.ports.load.requests += change;
  }

  private settle<T>(id: number, answer: Promise<T>, fields: (value: T) => unknown): void {
    this.countUnderWay(1);
    this.answer(id, answer, fields);
  }

  /** Answers `id` with what the promise becomes; `onSettled` hears when the answer is on its way. */
  private answer<T>(
    id: number,
    answer: Promise<T>,
    fields: (value: T) => unknown,
    onSettled: () => void = () => undefined,
  ): void {
    void answer
      .then(
        (value) => this.send({ kind: "ok", id, result: fields(value) }),
        (error: unknown) => this.refuse(id, error),
      )
      .finally(() => {
        this.countUnderWay(-1);
        onSettled();
        this.closeIfDone();
      });
  }

  private cancel(id: number): void {
    if (this.reads.forget(id)) {
      this.countUnderWay(-1);
      return;
    }
    this.calls.get(id)?.abort();
    const watch = this.watches.get(id);
    if (watch === undefined) return;
    this.watches.delete(id);
    watch.cancel();
  }

  private refuse(id: number, reason: unknown): void {
    if (reason instanceof AssertionError) this.ports.services.onBroken(reason);
    this.send({ kind: "error", id, error: toAetherError(reason).toBody() });
  }

  private send(message: NodeMessage): void {
    if (this.state !== "open") return;
    try {
      this.outbox.add(nodeMessageFields(message));
    } catch (error) {
      this.replaceUnsendable(message, toAetherError(error));
    }
    // Answers can come in great numbers within one turn: what they weigh must show before it is too much.
    if (this.outbox.bytes > SOCKET_PAUSE_BYTES) this.flush();
    if (this.isFlushPlanned) return;
    this.isFlushPlanned = true;
    this.ports.clock.defer(() => {
      this.isFlushPlanned = false;
      this.flush();
    });
  }

  /** The message itself cannot be sent, for example because it is too large; the reason always can. */
  private replaceUnsendable(message: NodeMessage, reason: AetherError): void {
    const { id } = message;
    if (message.kind === "changes") {
      this.endWatch(id, reason);
      return;
    }
    // What was asked for has been done, whatever the reason says of itself.
    const error = new AetherError(reason.code, `it is done, but the answer cannot be sent: ${reason.message}`, {
      outcome: "unknown",
      details: reason.details,
    });
    this.outbox.add(nodeMessageFields({ kind: "error", id, error: error.toBody() }));
  }

  private get unsentBytes(): number {
    return this.unsent.bytes + this.outbox.bytes;
  }

  private flush(): void {
    if (this.state === "open") this.unsent.add(this.outbox.take());
  }

  private endSlow(bufferedBytes: number): void {
    this.ports.log.warn({ event: "api.session_too_slow", bufferedBytes });
    this.ports.metrics.refused.add(1, { reason: "too-slow" });
    this.close("reads too slowly");
  }

  private closeIfDone(): void {
    if (this.endReason === undefined || this.wasSentAway || this.requestsUnderWay > 0) return;
    this.flush();
    if (this.unsent.isEmpty) this.close(this.endReason);
  }

  private refuseGarbage(error: AetherError): void {
    this.ports.log.warn({ event: "api.session_garbage", code: error.code, reason: error.message });
    this.ports.metrics.refused.add(1, { reason: "garbage" });
    this.close(`not the client protocol: ${error.message}`);
  }

  private giveUpGreeting(): void {
    this.ports.metrics.refused.add(1, { reason: "no-hello" });
    this.close("no hello in time");
  }

  private release(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.helloTimer.cancel();
    this.ports.turns.leave(this);
    this.frames = [];
    this.frameBytes = 0;
    this.messages = [];
    this.nextMessage = 0;
    this.countUnderWay(-this.reads.size);
    this.reads.close();
    this.unsent.close();
    for (const watch of this.watches.values()) watch.cancel();
    for (const call of this.calls.values()) call.abort();
    this.watches.clear();
    this.onClosed(this);
  }
}

function noCommonVersion({ versionMin, versionMax }: ClientHello): AetherError {
  const spoken = `the client speaks versions ${versionMin} to ${versionMax} of the protocol`;
  const own = `${NODE_VERSIONS.versionMin} to ${NODE_VERSIONS.versionMax}`;
  return new AetherError("E_VERSION", `${spoken}, this node ${own}; update the older one`);
}

function boundedTimeout(timeoutMs: number): number {
  return Math.min(Math.max(1, timeoutMs), TIMEOUT_MS_MAX);
}

/** Renewals of one turn that have the same time travel in one command. */
function wholeSeconds(timeoutMs: number): number {
  return boundedTimeout(Math.ceil(timeoutMs / SECOND_MS) * SECOND_MS);
}

function nothing(): null {
  return null;
}

function overloaded(who: string, what: string, limit: number): AetherError {
  return new AetherError("E_OVERLOADED", `${who} has ${limit} ${what}, its limit; wait for some to end`, {
    details: { limit },
  });
}
