// Owns: all requests of one client over one connection at a time: ids, deadlines, repeats, moving to another node.
// Does not own: what requests mean (client-kv.ts, slice-client.ts), which node is next (core/node-directory.ts), what
// an error allows (core/retry.ts).
import { AetherError, toAetherError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { MiB, SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Connection } from "../env/network.ts";
import { TIMEOUT_MS_MAX } from "../api/limits.ts";
import { parseMembers, type Members } from "../api/results.ts";
import { NodeDirectory } from "./core/node-directory.ts";
import { judgeError, mayRepeat } from "./core/retry.ts";
import { NodeSession, type NodeAnswer } from "./node-session.ts";
import { Request, type RequestSpec, type Settle, type Ticket } from "./request.ts";
import { sessionUrl } from "./session-url.ts";
import { WriteSession } from "./write-session.ts";

/** Requests under way in one client; a node accepts as many from one connection. */
const REQUESTS_MAX = 4_096;
/** What they may hold in memory together, whether there is a connection or not. */
const REQUEST_BYTES_MAX = 64 * MiB;
/** How often a client asks its node who else there is, and whether that node still serves. */
const MEMBERS_MS = 5 * SECOND_MS;
/** At first it asks sooner, then twice as late each time: the nodes of a cluster that just began know little yet. */
const MEMBERS_MS_FIRST = 100;
/** After so many refusals for overload a request makes its client try another node, if it has not moved just now. */
const REFUSALS_BEFORE_MOVE = 3;
const MOVE_MS_MIN = 5 * SECOND_MS;

export interface MultiplexerPorts {
  readonly clock: Clock;
  readonly random: Random;
  /** Whether nodes are used that the caller did not name, once the cluster has told their addresses. */
  readonly discovery: "members" | "off";
  dial(url: string): Connection;
}

/** Hears what belongs to a watch. */
export interface WatchListener {
  onChanges(revision: number, changes: unknown): void;
  onProgress(revision: number): void;
  onEnd(reason: AetherError): void;
}

interface OpenWatch {
  readonly session: NodeSession;
  readonly listener: WatchListener;
}

export class Multiplexer {
  private readonly ports: MultiplexerPorts;
  private readonly directory: NodeDirectory;
  private readonly requests = new Map<number, Request>();
  private readonly watches = new Map<number, OpenWatch>();
  /** Connections that take nothing new but still owe answers. */
  private readonly leaving = new Set<NodeSession>();
  /** Requests without a connection, in the order they came. */
  private readonly waiting = new Set<Request>();
  private session: NodeSession | undefined;
  private redial: Timer | undefined;
  private membersTimer: Timer | undefined;
  private movedMs = -Infinity;
  /** Writes that wait for a ticket of the session, in the order they came. */
  private readonly ticketless = new Set<Request>();
  private readonly writes: WriteSession;
  private readonly closeListeners = new Set<() => void>();
  private deadline: { readonly atMs: number; readonly timer: Timer } | undefined;
  /** Requests that a caller waits for, and what they weigh. */
  private callerRequests = 0;
  private requestBytes = 0;
  private nextId = 1;
  private hasClosed = false;

  constructor(ports: MultiplexerPorts, urls: readonly string[]) {
    this.ports = ports;
    this.directory = new NodeDirectory(urls, ports.random);
    this.writes = new WriteSession({
      clock: ports.clock,
      ask: (spec, settle) => this.ask({ ...spec, isOwn: true }, settle),
      onReady: () => this.admitTicketless(),
      onRefused: (error) => this.refuseTicketless(error),
    });
    this.dialNext();
  }

  /** The name of the node that is asked now; undefined without a connection. */
  get node(): string | undefined {
    return this.session?.node;
  }

  get isClosed(): boolean {
    return this.hasClosed;
  }

  /** Resolves with the undecoded result. Rejects with an AetherError, or the signal's reason. */
  request(spec: RequestSpec): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (spec.signal?.aborted === true) {
        reject(spec.signal.reason as Error);
        return;
      }
      const refusal = this.refusalOf(spec);
      if (refusal !== undefined) {
        reject(refusal);
        return;
      }
      this.ask(spec, { resolve, reject });
    });
  }

  /** As `request`, for what keeps this client's own things alive: the callers' limit does not hold it up. */
  requestOwn(spec: RequestSpec): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.isClosed) reject(closedClient());
      else this.ask({ ...spec, isOwn: true }, { resolve, reject });
    });
  }

  /** Calls back when this client is closed. Returns what ends that. */
  onClose(listener: () => void): () => void {
    this.closeListeners.add(listener);
    return () => this.closeListeners.delete(listener);
  }

  /** Attaches to a watch whose answer came over `session`. */
  addWatch(id: number, session: NodeSession, listener: WatchListener): void {
    this.watches.set(id, { session, listener });
  }

  /** Ends a watch; its listener hears nothing more. */
  cancelWatch(id: number): void {
    const watch = this.watches.get(id);
    if (watch === undefined) return;
    this.watches.delete(id);
    if (watch.session.isOpen) watch.session.send({ kind: "cancel", id });
  }

  /** Asks how far a watch has seen. */
  askProgress(id: number): void {
    const watch = this.watches.get(id);
    if (watch?.session.isOpen === true) watch.session.send({ kind: "progress", id });
  }

  /** Rejects what is under way and closes the connection. */
  close(): void {
    if (this.hasClosed) return;
    this.hasClosed = true;
    this.redial?.cancel();
    this.membersTimer?.cancel();
    this.endSession();
    for (const request of [...this.requests.values()]) this.fail(request, request.failure("the client was closed"));
    this.endWatches(() => true, closedClient());
    for (const session of [this.session, ...this.leaving]) session?.close("the client was closed");
    this.deadline?.timer.cancel();
    for (const listener of [...this.closeListeners]) listener();
  }

  /** If nobody hears it, the session ends by itself. */
  private endSession(): void {
    const { lease } = this.writes;
    this.writes.close();
    if (lease === undefined || this.session?.isOpen !== true) return;
    this.session.send({ kind: "revoke", id: this.nextId++, timeoutMs: MEMBERS_MS, lease });
  }

  private refusalOf(spec: RequestSpec): AetherError | undefined {
    if (this.hasClosed) return closedClient();
    // NaN is not above anything either.
    if (!(spec.timeoutMs > 0 && spec.timeoutMs <= TIMEOUT_MS_MAX)) {
      return new AetherError("E_INVALID", `${spec.what}: timeoutMs is ${spec.timeoutMs}; use 1 to ${TIMEOUT_MS_MAX}`);
    }
    if (this.callerRequests >= REQUESTS_MAX) return fullClient(spec.what, "requests", REQUESTS_MAX);
    const bytes = this.requestBytes + (spec.bytes ?? 0);
    return bytes > REQUEST_BYTES_MAX ? fullClient(spec.what, "bytes of requests", REQUEST_BYTES_MAX) : undefined;
  }

  private count({ isOwn, bytes = 0 }: RequestSpec, change: 1 | -1): void {
    this.requestBytes += change * bytes;
    if (isOwn !== true) this.callerRequests += change;
  }

  private ask(spec: RequestSpec, settle: Settle): Request {
    const request = new Request(this.nextId++, spec, this.ports.clock.nowMs() + spec.timeoutMs, settle);
    this.admit(request);
    return request;
  }

  private admit(request: Request): void {
    this.requests.set(request.id, request);
    this.count(request.spec, 1);
    this.armDeadline(request.deadlineMs);
    const { signal } = request.spec;
    if (signal !== undefined) {
      const onAbort = (): void => this.abort(request);
      signal.addEventListener("abort", onAbort);
      request.release = () => signal.removeEventListener("abort", onAbort);
    }
    this.dispatch(request);
  }

  private dispatch(request: Request): void {
    if (request.spec.effect === "once" && request.ticket === undefined) {
      this.ticketless.add(request);
      this.admitTicketless();
    } else this.dispatchNow(request);
  }

  private admitTicketless(): void {
    for (const request of this.ticketless) {
      const ticket = this.writes.take();
      if (ticket === undefined) return;
      this.ticketless.delete(request);
      request.ticket = ticket;
      this.dispatchNow(request);
    }
  }

  private refuseTicketless({ code, message, details }: AetherError): void {
    const options = { outcome: "not-applied", details } as const;
    for (const request of this.ticketless) {
      this.fail(request, new AetherError(code, `${request.spec.what}: no session for this write: ${message}`, options));
    }
  }

  private dispatchNow(request: Request): void {
    const { session } = this;
    if (session?.isOpen !== true) {
      this.waiting.add(request);
      return;
    }
    if (session.version < (request.spec.versionMin ?? 0)) {
      this.fail(request, tooOld(request.spec.what, session));
      return;
    }
    const nowMs = this.ports.clock.nowMs();
    const lastWord = request.lastWord(nowMs);
    if (lastWord !== undefined) {
      this.fail(request, lastWord);
      return;
    }
    try {
      request.send(session, nowMs);
    } catch (error) {
      this.fail(request, request.answer(toAetherError(error)));
    }
  }

  private abort(request: Request): void {
    if (!this.requests.has(request.id)) return;
    const { session } = request;
    if (session?.isOpen === true) session.send({ kind: "cancel", id: request.id });
    this.fail(request, request.spec.signal?.reason);
  }

  private fail(request: Request, reason: unknown): void {
    this.forget(request);
    request.reject(reason);
  }

  private forget(request: Request): void {
    const { session } = request;
    if (this.requests.delete(request.id)) this.count(request.spec, -1);
    this.waiting.delete(request);
    this.ticketless.delete(request);
    if (request.ticket !== undefined) {
      this.writes.release(request.ticket);
      if (!this.isClosed) this.admitTicketless();
    }
    request.pause?.cancel();
    request.release?.();
    if (session !== undefined && this.leaving.has(session)) this.closeIfDone(session);
  }

  private receive(session: NodeSession, message: NodeAnswer): void {
    switch (message.kind) {
      case "changes":
        this.listenerOf(session, message.id)?.onChanges(message.revision, message.changes);
        return;
      case "progress":
        this.listenerOf(session, message.id)?.onProgress(message.revision);
        return;
      case "ended":
        this.endWatches(
          (id, watch) => id === message.id && watch.session === session,
          AetherError.fromBody(message.error),
        );
        return;
      case "ok":
      case "error": {
        const request = this.requests.get(message.id);
        // A late answer to a request that has been given up, or sent again elsewhere.
        if (request === undefined || request.session !== session) return;
        if (message.kind === "ok") this.complete(request, session, message.result);
        else this.refused(request, session, AetherError.fromBody(message.error));
      }
    }
  }

  /** An earlier attempt may have begun the same watch elsewhere: what comes from there belongs to nobody. */
  private listenerOf(session: NodeSession, id: number): WatchListener | undefined {
    const watch = this.watches.get(id);
    if (watch?.session === session) return watch.listener;
    if (session.isOpen) session.send({ kind: "cancel", id });
    return undefined;
  }

  private complete(request: Request, session: NodeSession, result: unknown): void {
    // Whoever can only say who is there does not serve yet.
    if (request.spec.isProbe !== true) this.directory.succeed(session.url);
    this.forget(request);
    try {
      request.spec.onAnswer?.(session, request.id, result);
      request.resolve(result);
    } catch (error) {
      request.reject(error);
    }
  }

  private refused(request: Request, session: NodeSession, error: AetherError): void {
    const { clock, random } = this.ports;
    const { isAlone } = this.directory;
    if (isSessionEnd(error, request.ticket)) {
      this.loseSession(request, error);
      return;
    }
    const verdict = judgeError(error, request.context(isAlone), random);
    request.endAttempt(error, clock.nowMs());
    if (verdict.kind === "final" || request.deadlineMs <= clock.nowMs()) {
      this.fail(request, request.answer(error));
      return;
    }
    if (verdict.where === "here") {
      if (request.refusals % REFUSALS_BEFORE_MOVE === 0) this.moveAway(session);
    } else if (!isAlone) this.leave(session);
    if (verdict.pauseMs === 0) this.dispatch(request);
    else this.dispatchLater(request, verdict.pauseMs);
  }

  /** The cluster knows this write's session no more. What was sent only once is then known not to be applied. */
  private loseSession(request: Request, error: AetherError): void {
    const { ticket } = request;
    if (ticket !== undefined) this.writes.lose(ticket.session);
    const { wasLost } = request;
    request.endAttempt(error, this.ports.clock.nowMs());
    if (wasLost) {
      this.fail(request, error);
      return;
    }
    request.forgetAttempts();
    this.dispatch(request);
  }

  private dispatchLater(request: Request, pauseMs: number): void {
    request.pause = this.ports.clock.setTimer(pauseMs, () => {
      request.pause = undefined;
      this.dispatch(request);
    });
  }

  /** Leaves a node that serves, but badly: not again and again, or the clients of a full cluster would only travel. */
  private moveAway(session: NodeSession): void {
    const nowMs = this.ports.clock.nowMs();
    if (this.directory.isAlone || nowMs - this.movedMs < MOVE_MS_MIN) return;
    this.movedMs = nowMs;
    this.leave(session);
  }

  /** Goes to the next node; what the old one still owes it may deliver. */
  private leave(session: NodeSession): void {
    if (session !== this.session) return;
    this.session = undefined;
    this.leaving.add(session);
    this.closeIfDone(session);
    this.dialNext();
  }

  private closeIfDone(session: NodeSession): void {
    for (const request of this.requests.values()) if (request.session === session) return;
    this.leaving.delete(session);
    session.close("moved to another node");
    const reason = new AetherError("E_UNAVAILABLE", `the node at ${session.url} does not serve; watch again`);
    this.endWatches((_id, watch) => watch.session === session, reason);
  }

  private dialNext(): void {
    const { url, pauseMs } = this.directory.next();
    const { clock } = this.ports;
    const dial = (): void => {
      this.redial = undefined;
      this.session = new NodeSession(
        clock,
        this.ports.dial(url),
        { url, accept: this.directory.isAlone ? "any" : "ready" },
        {
          onOpen: (session) => this.begin(session),
          onMessage: (session, message) => this.receive(session, message),
          onLeaving: (session) => this.leave(session),
          onLost: (session, reason) => this.lost(session, reason),
        },
      );
    };
    if (pauseMs === 0) dial();
    else this.redial = clock.setTimer(pauseMs, dial);
  }

  private begin(session: NodeSession): void {
    this.askMembers(session);
    const due = [...this.waiting];
    this.waiting.clear();
    for (const request of due) this.dispatch(request);
  }

  /** A request of our own, which no limit of the caller's holds up. */
  private askMembers(session: NodeSession, againMs = MEMBERS_MS_FIRST): void {
    const { clock } = this.ports;
    this.membersTimer?.cancel();
    this.membersTimer = clock.setTimer(againMs, () => {
      if (session === this.session) this.askMembers(session, Math.min(MEMBERS_MS, 2 * againMs));
    });
    const spec: RequestSpec = {
      what: "members of the cluster",
      effect: "read",
      persistence: "none",
      isOwn: true,
      isProbe: true,
      timeoutMs: MEMBERS_MS,
      message: (id) => ({ kind: "members", id }),
      onAnswer: (from, _id, result) => this.takeMembers(from, parseMembers(result)),
    };
    const ignore = (): void => undefined;
    this.ask(spec, { resolve: ignore, reject: ignore });
  }

  private takeMembers(session: NodeSession, { isReady, addresses }: Members): void {
    if (this.ports.discovery === "members") this.directory.learn(addresses.map(sessionUrl));
    if (!isReady && !this.directory.isAlone) this.leave(session);
  }

  private lost(session: NodeSession, reason: AetherError): void {
    this.leaving.delete(session);
    const isCurrent = session === this.session;
    if (isCurrent) {
      this.session = undefined;
    }
    this.endWatches((_id, watch) => watch.session === session, reason);
    for (const request of this.waiting) request.refusal = reason;
    for (const request of [...this.requests.values()]) {
      if (request.session === session) this.retryOrFail(request, reason);
    }
    if (isCurrent) this.dialNext();
  }

  private retryOrFail(request: Request, reason: AetherError): void {
    if (mayRepeat(request.spec.effect)) {
      request.loseAttempt(reason);
      this.dispatch(request);
    } else this.fail(request, request.failure(`the connection was lost before the answer came (${reason.message})`));
  }

  private endWatches(isMeant: (id: number, watch: OpenWatch) => boolean, reason: AetherError): void {
    for (const [id, watch] of [...this.watches]) {
      if (!isMeant(id, watch)) continue;
      this.watches.delete(id);
      watch.listener.onEnd(reason);
    }
  }

  // One timer for all: it stands at the earliest deadline known when it was set, and looks again when it fires.
  private armDeadline(atMs: number): void {
    if (this.deadline !== undefined) {
      if (this.deadline.atMs <= atMs) return;
      this.deadline.timer.cancel();
    }
    const { clock } = this.ports;
    const timer = clock.setTimer(Math.max(0, atMs - clock.nowMs()), () => this.expire());
    this.deadline = { atMs, timer };
  }

  private expire(): void {
    this.deadline = undefined;
    const nowMs = this.ports.clock.nowMs();
    let nextMs = Infinity;
    for (const request of [...this.requests.values()]) {
      if (request.deadlineMs <= nowMs) this.expireRequest(request);
      else nextMs = Math.min(nextMs, request.deadlineMs);
    }
    if (nextMs !== Infinity) this.armDeadline(nextMs);
  }

  private expireRequest(request: Request): void {
    const { session } = request;
    if (this.ticketless.has(request)) request.refusal ??= this.writes.refusal;
    if (session?.isOpen === true) session.send({ kind: "cancel", id: request.id });
    this.fail(request, request.failure(`no answer within ${request.spec.timeoutMs} ms`));
  }
}

/** The one refusal of a session as a whole: others name the revision or the latest request. */
function isSessionEnd({ code, details }: AetherError, ticket: Ticket | undefined): boolean {
  if (code !== "E_CONFLICT" || ticket === undefined || details["session"] !== ticket.session) return false;
  return details["latest"] === undefined && details["revision"] === undefined;
}

function fullClient(what: string, unit: string, limit: number): AetherError {
  const message = `${what}: this client has ${limit} ${unit} under way, its limit; wait for some to end`;
  return new AetherError("E_OVERLOADED", message, { details: { limit } });
}

function tooOld(what: string, { node, url, version }: NodeSession): AetherError {
  const message = `${what}: node ${node ?? url} speaks version ${version} of the protocol, ` +
    "which has no such request; update that node";
  return new AetherError("E_VERSION", message, { outcome: "not-applied" });
}

function closedClient(): AetherError {
  return new AetherError("E_UNAVAILABLE", "this client is closed; connect again");
}
