// Owns: all requests of one client over one connection at a time: ids, deadlines, repeats, moving to another node.
// Does not own: what requests mean (client-kv.ts, slice-client.ts), which node is next (core/node-directory.ts), what
// an error allows (core/retry.ts).
import { AetherError, toAetherError } from "../base/errors.ts";
import type { Random } from "../base/random.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Connection } from "../env/network.ts";
import { TIMEOUT_MS_MAX } from "../api/limits.ts";
import type { NodeMessage } from "../api/protocol.ts";
import { parseMembers, type Members } from "../api/results.ts";
import { NodeDirectory } from "./core/node-directory.ts";
import { judgeError, mayRepeat } from "./core/retry.ts";
import { NodeSession } from "./node-session.ts";
import { Request, type RequestSpec } from "./request.ts";
import { sessionUrl } from "./session-url.ts";

/** Requests under way in one client; a node accepts as many from one connection. */
const REQUESTS_MAX = 4_096;
/** How often a client asks its node who else there is, and whether that node still serves. */
const MEMBERS_MS = 5 * SECOND_MS;
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
  private deadline: { readonly atMs: number; readonly timer: Timer } | undefined;
  private nextId = 1;
  private hasClosed = false;

  constructor(ports: MultiplexerPorts, urls: readonly string[]) {
    this.ports = ports;
    this.directory = new NodeDirectory(urls, ports.random);
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
      const deadlineMs = this.ports.clock.nowMs() + spec.timeoutMs;
      this.admit(new Request(this.nextId++, spec, deadlineMs, { resolve, reject }));
    });
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
    for (const request of [...this.requests.values()]) this.fail(request, request.failure("the client was closed"));
    this.endWatches(() => true, closedClient());
    for (const session of [this.session, ...this.leaving]) session?.close("the client was closed");
    this.deadline?.timer.cancel();
  }

  private refusalOf(spec: RequestSpec): AetherError | undefined {
    if (this.hasClosed) return closedClient();
    // NaN is not above anything either.
    if (!(spec.timeoutMs > 0 && spec.timeoutMs <= TIMEOUT_MS_MAX)) {
      return new AetherError("E_INVALID", `${spec.what}: timeoutMs is ${spec.timeoutMs}; use 1 to ${TIMEOUT_MS_MAX}`);
    }
    if (this.requests.size < REQUESTS_MAX) return undefined;
    return new AetherError("E_OVERLOADED", `${spec.what}: this client has ${REQUESTS_MAX} requests under way already`, {
      details: { limit: REQUESTS_MAX },
    });
  }

  private admit(request: Request): void {
    this.requests.set(request.id, request);
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
    const { session } = this;
    if (session?.isOpen !== true) {
      this.waiting.add(request);
      return;
    }
    try {
      request.send(session, this.ports.clock.nowMs());
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
    this.requests.delete(request.id);
    this.waiting.delete(request);
    request.pause?.cancel();
    request.release?.();
    if (session !== undefined && this.leaving.has(session)) this.closeIfDone(session);
  }

  private receive(session: NodeSession, message: NodeMessage): void {
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
    const verdict = judgeError(error, request.context(isAlone), random);
    request.endAttempt(error);
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
  private askMembers(session: NodeSession): void {
    const { clock } = this.ports;
    this.membersTimer?.cancel();
    this.membersTimer = clock.setTimer(MEMBERS_MS, () => {
      if (session === this.session) this.askMembers(session);
    });
    const spec: RequestSpec = {
      what: "members of the cluster",
      effect: "read",
      persistence: "none",
      isProbe: true,
      timeoutMs: MEMBERS_MS,
      message: (id) => ({ kind: "members", id }),
      onAnswer: (from, _id, result) => this.takeMembers(from, parseMembers(result)),
    };
    const ignore = (): void => undefined;
    const deadlineMs = clock.nowMs() + MEMBERS_MS;
    this.admit(new Request(this.nextId++, spec, deadlineMs, { resolve: ignore, reject: ignore }));
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
    if (session?.isOpen === true) session.send({ kind: "cancel", id: request.id });
    this.fail(request, request.failure(`no answer within ${request.spec.timeoutMs} ms`));
  }
}

function closedClient(): AetherError {
  return new AetherError("E_UNAVAILABLE", "this client is closed; connect again");
}
