// Owns: one watch of a client for as long as its caller wants it: where it is, and going on elsewhere when it ends.
// Does not own: connections (multiplexer.ts), how changes are encoded (results.ts).
import { type AetherError, toAetherError } from "../base/errors.ts";
import type { ErrorCode } from "../base/error-catalog.ts";
import type { Random } from "../base/random.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import { count } from "../api/core/message-fields.ts";
import { KV_TIMEOUT_MS } from "../api/limits.ts";
import { parseChanges } from "../api/results.ts";
import type { CallOptions } from "../env/env.ts";
import type { KvChangeSet } from "../kvstore/core/schema.ts";
import type { Multiplexer } from "./multiplexer.ts";

/** Pause before a node is asked again to go on, doubled with each refusal; half of it is random. */
const RESUME_MS_MIN = 50;
const RESUME_MS_MAX = 2 * SECOND_MS;
/** What no other node and no later time would answer differently. */
const FINAL: readonly ErrorCode[] = ["E_COMPACTED", "E_INVALID", "E_FORBIDDEN", "E_TOO_LARGE", "E_VERSION"];

export interface ClientWatchHandlers {
  /** Ordered by revision, each revision once, whole transactions, over all failures of nodes and connections. */
  onChanges(changes: KvChangeSet): void;
  /** Everything up to this revision has been delivered, or did not match. At least every 10 seconds while connected. */
  onProgress?(revision: number): void;
  /**
   * The watch cannot go on: E_COMPACTED when its next revision is not held any more (list, then watch again), or the
   * client was closed. A lost node or connection does not end it. Never called after `cancel`.
   */
  onEnd(reason: Error): void;
}

export interface ClientWatchOptions extends CallOptions {
  /** Milliseconds until the caller gives up on its beginning. */
  readonly timeoutMs?: number;
  /** The first revision wanted; those that are past come first. Default: the next one. */
  readonly fromRevision?: number;
}

export interface ClientWatch {
  /** It began with the changes after this revision. */
  readonly revision: number;
  cancel(): void;
  /** Asks for `onProgress` as soon as all that its node has applied was delivered. */
  requestProgress(): void;
}

export interface ClientWatchPorts {
  readonly requests: Multiplexer;
  readonly clock: Clock;
  readonly random: Random;
}

/** @throws AetherError E_COMPACTED, and as every read, when it cannot begin. */
export async function openClientWatch(
  ports: ClientWatchPorts,
  prefix: string,
  handlers: ClientWatchHandlers,
  options: ClientWatchOptions,
): Promise<ClientWatch> {
  const watch = new LastingWatch(ports, prefix, handlers);
  const revision = await watch.begin(options);
  return { revision, cancel: () => watch.cancel(), requestProgress: () => watch.requestProgress() };
}

class LastingWatch {
  private readonly ports: ClientWatchPorts;
  private readonly prefix: string;
  private readonly handlers: ClientWatchHandlers;
  /** The first revision that is not known to have been seen; undefined until a node has said where it begins. */
  private next: number | undefined;
  /** Its id at the node that serves it now. */
  private watchId: number | undefined;
  private refusals = 0;
  private pause: Timer | undefined;
  private isOver = false;

  constructor(ports: ClientWatchPorts, prefix: string, handlers: ClientWatchHandlers) {
    this.ports = ports;
    this.prefix = prefix;
    this.handlers = handlers;
  }

  /** Resolves with the revision after which its changes follow. */
  async begin({ fromRevision, timeoutMs = KV_TIMEOUT_MS, signal }: ClientWatchOptions): Promise<number> {
    this.next = fromRevision;
    return this.ask(timeoutMs, signal);
  }

  cancel(): void {
    this.isOver = true;
    this.pause?.cancel();
    if (this.watchId !== undefined) this.ports.requests.cancelWatch(this.watchId);
  }

  requestProgress(): void {
    if (this.watchId !== undefined) this.ports.requests.askProgress(this.watchId);
  }

  private async ask(timeoutMs: number, signal?: AbortSignal): Promise<number> {
    const { requests } = this.ports;
    const { prefix } = this;
    const from = this.next;
    const answer = await requests.request({
      what: `watch ${prefix}`,
      effect: "read",
      persistence: "move",
      timeoutMs,
      signal,
      message: (id, leftMs) => ({ kind: "watch", id, prefix, from, timeoutMs: leftMs }),
      onAnswer: (session, id, result) => {
        this.next ??= count(result, "revision") + 1;
        this.watchId = id;
        requests.addWatch(id, session, {
          onChanges: (revision, fields) => this.take(parseChanges(revision, fields)),
          onProgress: (revision) => this.takeProgress(revision),
          onEnd: (reason) => this.goOn(reason),
        });
        if (this.isOver) requests.cancelWatch(id);
      },
    });
    this.refusals = 0;
    return count(answer, "revision");
  }

  private take(changes: KvChangeSet): void {
    if (changes.revision < (this.next ?? 0)) return;
    this.next = changes.revision + 1;
    this.tell(() => this.handlers.onChanges(changes));
  }

  private takeProgress(revision: number): void {
    this.next = Math.max(this.next ?? 0, revision + 1);
    this.tell(() => this.handlers.onProgress?.(revision));
  }

  private goOn(reason: AetherError): void {
    this.watchId = undefined;
    if (this.isOver) return;
    if (FINAL.includes(reason.code) || this.ports.requests.isClosed) {
      this.isOver = true;
      queueMicrotask(() => this.handlers.onEnd(reason));
      return;
    }
    this.pause = this.ports.clock.setTimer(this.pauseMs(), () => {
      // A refusal is one more reason to go on.
      this.ask(KV_TIMEOUT_MS).catch((error: unknown) => this.goOn(toAetherError(error)));
    });
    this.refusals += 1;
  }

  // The first time at once: the next node is there as a rule.
  private pauseMs(): number {
    if (this.refusals === 0) return 0;
    const wholeMs = Math.min(RESUME_MS_MIN * 2 ** (this.refusals - 1), RESUME_MS_MAX);
    return wholeMs / 2 + (this.ports.random.next() * wholeMs) / 2;
  }

  /** The caller's code runs apart from ours: if it throws, its process hears of it and the connection goes on. */
  private tell(speak: () => void): void {
    queueMicrotask(() => {
      if (!this.isOver) speak();
    });
  }
}
