// Owns: watches: where each stands in the history, and handing it what follows, after the turn.
// Does not own: the history (kv-history.ts).
//
// A watcher is a place in the history and nothing else: nothing is buffered for it. One that is new, slow or late
// reads from where it stands, in bounded pieces; one that keeps up does the same, and finds only what the turn brought.
import { type AetherError, toAetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { RevisionChanges } from "./core/history-row.ts";
import type { KvChangeSet } from "./core/schema.ts";
import { matchChanges, toKvChange } from "./core/watch-match.ts";
import { compacted, notThereYet, type KvHistory } from "./kv-history.ts";
import type { KvPrefixes, KvWatch, KvWatchHandlers, KvWatchOptions } from "./kv.ts";

/** How often a watcher that got nothing is told how far it has seen. */
export const PROGRESS_INTERVAL_MS = 10 * SECOND_MS;
/** It is told after so many revisions as well: what it would resume from must not become too old. */
const PROGRESS_REVISIONS = 10_000;
/** How soon a watcher that could not take more is asked again. */
const RECHECK_MS = 5;
/** How long a node that is behind the watcher may take to get where the watcher is. */
const BEHIND_MS_MAX = 5 * SECOND_MS;
/** Pieces of the past that are read from the disk in one round of a turn, for all watchers together. */
const DISK_PIECES_MAX = 4;

interface Watcher {
  readonly prefixes: readonly string[];
  readonly handlers: KvWatchHandlers;
  /** Everything before this revision was delivered, or did not match. */
  next: number;
  /** The last revision that it was told. */
  told: number;
  /** Whether it was told anything since the last time that progress was looked at. */
  hasNews: boolean;
  wantsProgress: boolean;
  isCancelled: boolean;
  /** Runs while this node is behind it. */
  behind: Timer | undefined;
}

export class WatchHub {
  private readonly clock: Pick<Clock, "defer" | "setTimer">;
  private readonly history: KvHistory;
  private readonly watchers = new Set<Watcher>();
  private readonly stopListening: () => void;
  private isPlanned = false;
  private recheck: Timer | undefined;
  private progress: Timer | undefined;
  private closedBy: AetherError | undefined;
  /** Watches that ended by themselves, by the code of the reason. */
  readonly ended = new Map<string, number>();

  constructor(clock: Pick<Clock, "defer" | "setTimer">, history: KvHistory) {
    this.clock = clock;
    this.history = history;
    this.stopListening = history.listen({
      onAppended: () => this.plan(),
      onReset: (revision) => this.endPassedOver(revision),
    });
  }

  get size(): number {
    return this.watchers.size;
  }

  /** Watches that do not have everything that happened: their readers are slow, or have just begun in the past. */
  get behind(): number {
    const { revision } = this.history;
    return [...this.watchers].filter((watcher) => watcher.next <= revision).length;
  }

  watch(prefix: KvPrefixes, handlers: KvWatchHandlers, options: KvWatchOptions = {}): KvWatch {
    // There is no revision 0: who wants it wants everything.
    const next = Math.max(1, options.fromRevision ?? this.history.revision + 1);
    const flags = { hasNews: false, wantsProgress: false, isCancelled: false, behind: undefined };
    const prefixes = typeof prefix === "string" ? [prefix] : prefix;
    const watcher: Watcher = { prefixes, handlers, next, told: next - 1, ...flags };
    this.watchers.add(watcher);
    if (this.closedBy !== undefined) this.end(watcher, this.closedBy);
    else this.begin(watcher, options.timeoutMs ?? BEHIND_MS_MAX);
    return {
      cancel: () => {
        watcher.isCancelled = true;
        this.remove(watcher);
      },
      requestProgress: () => {
        watcher.wantsProgress = true;
        this.plan();
      },
    };
  }

  /** Ends all watches, and whatever watches later, for example because the node stops. */
  close(reason: AetherError): void {
    this.closedBy = reason;
    this.stopListening();
    for (const watcher of this.watchers) this.end(watcher, reason);
    this.recheck?.cancel();
    this.progress?.cancel();
  }

  private begin(watcher: Watcher, timeoutMs: number): void {
    const { revision } = this.history;
    if (watcher.next <= revision) this.plan();
    else if (watcher.next > revision + 1) {
      watcher.behind = this.clock.setTimer(timeoutMs, () =>
        this.end(watcher, notThereYet(watcher.next - 1, this.history.revision)),
      );
    }
    this.armProgress();
  }

  private plan(): void {
    if (this.isPlanned || this.watchers.size === 0) return;
    this.isPlanned = true;
    this.clock.defer(() => {
      this.isPlanned = false;
      this.serveAll();
    });
  }

  private serveAll(): void {
    const { revision } = this.history;
    const round: Round = { revision, diskPieces: DISK_PIECES_MAX, failure: undefined };
    // Not the set itself: a watcher that is put last would come again.
    for (const watcher of [...this.watchers]) this.serve(watcher, round);
    // A throw of a handler is a bug; it is not the other watchers' business.
    if (round.failure !== undefined) throw round.failure.thrown;
  }

  private serve(watcher: Watcher, round: Round): void {
    if (!this.watchers.has(watcher)) return;
    if (watcher.behind !== undefined && round.revision >= watcher.next - 1) {
      watcher.behind.cancel();
      watcher.behind = undefined;
    }
    if (watcher.next <= round.revision) this.advance(watcher, round);
    if (!this.watchers.has(watcher)) return;
    if (watcher.next <= round.revision) return;
    const isWanted = watcher.wantsProgress && watcher.behind === undefined;
    if (isWanted || watcher.next - 1 - watcher.told >= PROGRESS_REVISIONS) this.tellProgress(watcher, round);
  }

  /** Hands over one piece, or as much of it as the watcher takes. */
  private advance(watcher: Watcher, round: Round): void {
    if (watcher.handlers.isFull?.() === true) {
      this.recheckSoon();
      return;
    }
    if (!this.history.isRecent(watcher.next)) {
      if (round.diskPieces === 0) {
        this.plan();
        return;
      }
      round.diskPieces -= 1;
      this.putLast(watcher);
    }
    const piece = this.readPiece(watcher);
    if (piece === undefined) return;
    this.deliver(watcher, piece, round);
    if (this.watchers.has(watcher) && watcher.next <= round.revision) this.plan();
  }

  private readPiece(watcher: Watcher): readonly RevisionChanges[] | undefined {
    try {
      return this.history.read(watcher.next);
    } catch (error) {
      this.end(watcher, toAetherError(error));
      return undefined;
    }
  }

  private deliver(watcher: Watcher, piece: readonly RevisionChanges[], round: Round): void {
    const { prefixes, handlers } = watcher;
    for (const { revision, changes } of piece) {
      // What came in the middle of this round waits for the next one.
      if (revision > round.revision) return;
      const matching = matchChanges(prefixes, changes);
      if (matching.length === 0) {
        watcher.next = revision + 1;
        continue;
      }
      if (handlers.isFull?.() === true) return;
      watcher.next = revision + 1;
      watcher.told = revision;
      watcher.hasNews = true;
      this.hand(watcher, { revision, changes: matching.map(toKvChange) }, round);
      // A handler may cancel its own watch, or another one's.
      if (!this.watchers.has(watcher)) return;
    }
  }

  private hand(watcher: Watcher, changes: KvChangeSet, round: Round): void {
    this.callHandler(watcher, round, () => watcher.handlers.onChanges(changes));
  }

  private tellProgress(watcher: Watcher, round: Round): void {
    watcher.told = watcher.next - 1;
    watcher.hasNews = true;
    watcher.wantsProgress = false;
    this.callHandler(watcher, round, () => watcher.handlers.onProgress?.(watcher.told));
  }

  /** A throw is a bug of the handler, and what it did with the changes is not known: its watch does not go on. */
  private callHandler(watcher: Watcher, round: Round, call: () => void): void {
    try {
      call();
    } catch (error) {
      round.failure ??= { thrown: error };
      this.end(watcher, toAetherError(error));
    }
  }

  private armProgress(): void {
    this.progress ??= this.clock.setTimer(PROGRESS_INTERVAL_MS, () => {
      this.progress = undefined;
      for (const watcher of this.watchers) {
        if (!watcher.hasNews) watcher.wantsProgress = true;
        watcher.hasNews = false;
      }
      this.plan();
      if (this.watchers.size > 0) this.armProgress();
    });
  }

  private recheckSoon(): void {
    this.recheck ??= this.clock.setTimer(RECHECK_MS, () => {
      this.recheck = undefined;
      this.plan();
    });
  }

  /** The others read from the disk before it does again. */
  private putLast(watcher: Watcher): void {
    this.watchers.delete(watcher);
    this.watchers.add(watcher);
  }

  /** The state was replaced by a later one: who had not seen all that came between never will. */
  private endPassedOver(revision: number): void {
    for (const watcher of this.watchers) {
      if (watcher.next <= revision) this.end(watcher, compacted(watcher.next, this.history.oldest, revision));
    }
    this.plan();
  }

  private end(watcher: Watcher, reason: AetherError): void {
    this.remove(watcher);
    this.ended.set(reason.code, (this.ended.get(reason.code) ?? 0) + 1);
    this.clock.defer(() => {
      if (!watcher.isCancelled) watcher.handlers.onEnd(reason);
    });
  }

  private remove(watcher: Watcher): void {
    this.watchers.delete(watcher);
    watcher.behind?.cancel();
    if (this.watchers.size > 0) return;
    this.progress?.cancel();
    this.progress = undefined;
  }
}

/** One visit to all watchers. */
interface Round {
  /** What comes after this revision waits for the next round. */
  readonly revision: number;
  /** How many pieces may still be read from the disk. */
  diskPieces: number;
  /** What the first handler that threw has thrown. */
  failure: { readonly thrown: unknown } | undefined;
}
