// Owns: reads of the state as it was at an earlier revision: the state of now with the changes since then undone.
// Does not own: the history (kv-history.ts), the state (kv-state.ts).
import { assert } from "../base/assert.ts";
import { AetherError } from "../base/errors.ts";
import { MiB, SECOND_MS } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import type { CallOptions } from "../env/env.ts";
import type { PastChange } from "./core/history-row.ts";
import { compareKeyText, type KeyText } from "./core/key.ts";
import { StoredEntry, toKvEntry } from "./core/stored-entry.ts";
import type { KvCallOptions, KvListQuery, KvPage, KvRead } from "./kv.ts";
import { compacted, notThereYet, type KvHistory } from "./kv-history.ts";
import type { KvState } from "./kv-state.ts";
import type { Layered } from "./layered-entries.ts";

/** Entries that one read may have to put back. Above, it is as if the revision were too old. */
const UNDONE_BYTES_MAX = 32 * MiB;
/** Weight of an undone change beside its entry. */
const CHANGE_OVERHEAD_BYTES = 200;
/** Pieces of the history that one read takes in one turn. */
const PIECES_PER_TURN = 4;
/** How long a node that is not at the revision yet may take to get there, when the caller does not say. */
const TIMEOUT_MS_DEFAULT = 5 * SECOND_MS;

export interface PastReadsPorts {
  readonly clock: Clock;
  readonly state: KvState;
  readonly history: KvHistory;
}

export class PastReads {
  private readonly clock: Clock;
  private readonly state: KvState;
  private readonly history: KvHistory;

  constructor({ clock, state, history }: PastReadsPorts) {
    this.clock = clock;
    this.state = state;
    this.history = history;
  }

  /** Waits until this node is there. @throws AetherError E_UNAVAILABLE when it is not in time */
  reach(revision: number, { signal, timeoutMs = TIMEOUT_MS_DEFAULT }: KvCallOptions): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(abandoned(signal));
    if (this.history.revision >= revision) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (error?: AetherError): void => {
        timer.cancel();
        stop();
        signal?.removeEventListener("abort", onAbort);
        if (error === undefined) resolve();
        else reject(error);
      };
      const look = (): void => {
        if (this.history.revision >= revision) settle();
      };
      const onAbort = (): void => settle(abandoned(signal));
      const timer = this.clock.setTimer(timeoutMs, () => settle(notThereYet(revision, this.history.revision)));
      const stop = this.history.listen({ onAppended: look, onReset: look });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** The key at this revision, which this node has reached. @throws AetherError E_COMPACTED */
  async get(key: KeyText, revision: number, options: CallOptions): Promise<KvRead> {
    const { entry } = this.state.getLocal(key);
    if (entry !== undefined && entry.modRevision <= revision) return { entry, revision };
    const undoing = new Undoing(this.history, revision, (changed) => changed === key);
    await this.undo(undoing, options);
    const found = undoing.entries.get(key);
    // Without a change since then there is none: the entry of now, if any, came later.
    return found === undefined || found === "absent" ? { revision } : { entry: toKvEntry(key, found), revision };
  }

  /** A page of the listing at this revision. @throws as `get`, and as `KvState.listLocal` */
  async list(query: KvListQuery, revision: number, options: CallOptions): Promise<KvPage> {
    const { prefix, after } = query;
    const isListed = (key: KeyText): boolean =>
      key.startsWith(prefix) && (after === undefined || compareKeyText(key, after as KeyText) > 0);
    const undoing = new Undoing(this.history, revision, isListed);
    await this.undo(undoing, options);
    // At once: the page is taken of the very state up to which everything was undone.
    undoing.finish();
    const page = await this.state.listLocal(query, undoing.entries);
    return { ...page, revision };
  }

  private async undo(undoing: Undoing, { signal }: CallOptions): Promise<void> {
    while (!undoing.advance()) {
      await new Promise<void>((resolve) => this.clock.setTimer(0, resolve));
      if (signal?.aborted === true) throw abandoned(signal);
    }
  }
}

/**
 * What the keys of one read were at a revision. The first change of a key since then tells what was there before it:
 * the entry, or the earlier revision that brought it. Those are looked up last, row by row.
 */
class Undoing {
  /** Complete once `advance` has returned true, for the state of that moment. */
  readonly entries = new Map<KeyText, Layered>();
  private readonly history: KvHistory;
  private readonly concerns: (key: KeyText) => boolean;
  private next: number;
  private bytes = 0;
  /** Revisions that brought entries, each to be looked up, by key. */
  private readonly named = new Map<KeyText, number>();
  /** `named` with the newest revision last, while nothing is added. */
  private sorted: (readonly [key: KeyText, revision: number])[] = [];

  constructor(history: KvHistory, revision: number, concerns: (key: KeyText) => boolean) {
    this.history = history;
    this.concerns = concerns;
    this.next = revision + 1;
  }

  /** Some steps; true when nothing is left. @throws AetherError E_COMPACTED */
  advance(): boolean {
    for (let pieces = 0; pieces < PIECES_PER_TURN && !this.isOver; pieces++) this.step();
    return this.isOver;
  }

  /** All steps that are left, which are the few of one turn. @throws AetherError E_COMPACTED */
  finish(): void {
    while (!this.isOver) this.step();
  }

  private get isOver(): boolean {
    return this.next > this.history.revision && this.named.size === 0;
  }

  private step(): void {
    if (this.next <= this.history.revision) this.takePiece();
    else this.takeNamed();
    if (this.bytes > UNDONE_BYTES_MAX) throw compacted(this.next, this.next, this.history.revision);
  }

  private takePiece(): void {
    const isShared = this.history.isRecent(this.next);
    const piece = this.history.read(this.next);
    for (const { changes } of piece) {
      for (const change of changes) this.take(change, isShared);
    }
    this.next = (piece.at(-1)?.revision ?? this.history.revision) + 1;
  }

  private take({ key, before }: PastChange, isShared: boolean): void {
    if (!this.concerns(key) || this.entries.has(key) || this.named.has(key)) return;
    this.bytes += CHANGE_OVERHEAD_BYTES;
    if (before === undefined) this.entries.set(key, "absent");
    else if (typeof before !== "number") this.keep(key, before, isShared);
    else {
      this.named.set(key, before);
      this.sorted = [];
    }
  }

  /** Everything that the row of the newest revision to be looked up has. */
  private takeNamed(): void {
    if (this.sorted.length === 0) this.sorted = [...this.named].sort(([, a], [, b]) => a - b);
    const newest = this.sorted.at(-1)?.[1] ?? 0;
    const row = this.history.readNamed(newest);
    const first = row[0]?.revision ?? newest;
    for (let last = this.sorted.at(-1); last !== undefined && last[1] >= first; last = this.sorted.at(-1)) {
      const [key, revision] = last;
      const change = row[revision - first]?.changes.findLast((one) => one.key === key);
      assert(change?.kind === "put", "a revision that is named for an entry brought it");
      this.keep(key, change.entry, false);
      this.named.delete(key);
      this.sorted.pop();
    }
  }

  private keep(key: KeyText, entry: StoredEntry, isShared: boolean): void {
    this.bytes += entry.block.length;
    // Not the entry itself: it would keep the whole row of the disk in memory.
    this.entries.set(key, isShared ? entry : StoredEntry.fromBlock(Buffer.from(entry.block), entry.keyLength));
  }
}

function abandoned(signal: AbortSignal | undefined): AetherError {
  return new AetherError("E_TIMEOUT", "the caller gave up on a read", { outcome: "none", cause: signal?.reason });
}
