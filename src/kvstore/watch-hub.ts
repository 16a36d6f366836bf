// Owns: live watches: matches changes, buffers them per watcher within a limit and delivers them after the turn.
// Does not own: history; a watch that ended is opened again by its owner, together with a new listing.
import { AetherError, toAetherError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import type { KvChangeSet } from "./core/schema.ts";
import type { StoredChange } from "./core/state-machine.ts";
import { bytesOfChanges, matchChanges, toKvChange } from "./core/watch-match.ts";
import type { KvWatch, KvWatchHandlers } from "./kv.ts";

/** Changes that wait for one watcher. Above, the watch ends: a watcher never sees a stream with holes. */
export const WATCH_BUFFER_BYTES_MAX = 8 * MiB;

interface BufferedChanges {
  readonly revision: number;
  readonly changes: readonly StoredChange[];
}

interface Watcher {
  readonly prefix: string;
  readonly handlers: KvWatchHandlers;
  buffer: BufferedChanges[];
  bufferedBytes: number;
  /** Everything up to here was delivered, or did not match. */
  revision: number;
  isScheduled: boolean;
  isCancelled: boolean;
}

export class WatchHub {
  private readonly clock: Pick<Clock, "defer">;
  private readonly watchers = new Set<Watcher>();
  private closedBy: AetherError | undefined;

  constructor(clock: Pick<Clock, "defer">) {
    this.clock = clock;
  }

  get size(): number {
    return this.watchers.size;
  }

  /** Watches changes after `revision`, which is the current one. */
  watch(prefix: string, handlers: KvWatchHandlers, revision: number): KvWatch {
    const empty = { buffer: [], bufferedBytes: 0, isScheduled: false, isCancelled: false };
    const watcher: Watcher = { prefix, handlers, revision, ...empty };
    this.watchers.add(watcher);
    if (this.closedBy !== undefined) this.end(watcher, this.closedBy);
    return {
      cancel: () => {
        watcher.isCancelled = true;
        this.remove(watcher);
      },
    };
  }

  /** Takes the changes of one revision. Revisions only rise. */
  publish(revision: number, changes: readonly StoredChange[]): void {
    for (const watcher of this.watchers) {
      const matching = matchChanges(watcher.prefix, changes);
      if (matching.length > 0) this.buffer(watcher, { revision, changes: matching });
    }
  }

  /** Ends all watches, and whatever watches later, for example because the node stops. */
  close(reason: AetherError): void {
    this.closedBy = reason;
    for (const watcher of this.watchers) this.end(watcher, reason);
  }

  private buffer(watcher: Watcher, entry: BufferedChanges): void {
    watcher.bufferedBytes += bytesOfChanges(entry.changes);
    if (watcher.bufferedBytes > WATCH_BUFFER_BYTES_MAX) {
      this.end(watcher, overflow(watcher));
      return;
    }
    watcher.buffer.push(entry);
    if (watcher.isScheduled) return;
    watcher.isScheduled = true;
    this.clock.defer(() => this.deliver(watcher));
  }

  private deliver(watcher: Watcher): void {
    const { buffer } = watcher;
    watcher.buffer = [];
    watcher.bufferedBytes = 0;
    watcher.isScheduled = false;
    for (const { revision, changes } of buffer) {
      // A handler may cancel its own watch, or another one's.
      if (!this.watchers.has(watcher)) return;
      watcher.revision = revision;
      this.hand(watcher, { revision, changes: changes.map(toKvChange) });
    }
  }

  /** A throw is a bug of the handler, and what it did with the changes is not known: its watch does not go on. */
  private hand(watcher: Watcher, changes: KvChangeSet): void {
    try {
      watcher.handlers.onChanges(changes);
    } catch (error) {
      this.end(watcher, toAetherError(error));
      throw error;
    }
  }

  /** What is buffered is dropped: the owner resumes from `watcher.revision`. */
  private end(watcher: Watcher, reason: AetherError): void {
    this.remove(watcher);
    this.clock.defer(() => {
      if (!watcher.isCancelled) watcher.handlers.onEnd(reason);
    });
  }

  private remove(watcher: Watcher): void {
    this.watchers.delete(watcher);
    watcher.buffer = [];
  }
}

function overflow(watcher: Watcher): AetherError {
  const limit = `${WATCH_BUFFER_BYTES_MAX} bytes`;
  const message = `the watch of "${watcher.prefix}" fell more than ${limit} behind and was ended; list and watch again`;
  return new AetherError("E_OVERLOADED", message, {
    outcome: "none",
    details: { limit: WATCH_BUFFER_BYTES_MAX, revision: watcher.revision },
  });
}
