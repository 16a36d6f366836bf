// Owns: a view of one prefix with its rows parsed, each once per change.
// Does not own: keeping the entries current (kv-view).
import { toAetherError } from "../base/errors.ts";
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import { compareKeyText, knownKey, type AetherKey, type KeyText } from "../kvstore/core/key.ts";
import type { KvEntry } from "../kvstore/core/schema.ts";
import { openKvView, type KvView } from "../kvstore/kv-view.ts";
import type { Kv } from "../kvstore/kv.ts";

export interface Row<T> {
  readonly text: KeyText;
  readonly modRevision: number;
  readonly value: T;
}

/** A row that is there and does not parse: what it says is not known, and not nothing. */
export interface DamagedRow {
  readonly key: AetherKey;
  readonly modRevision: number;
}

export interface RowViewEnv {
  readonly clock: Clock;
  readonly log: Log;
}

/** Gives the row's value, or undefined for a key of another kind under the same prefix. @throws for a damaged row. */
export type ParseRow<T> = (key: AetherKey, value: unknown) => T | undefined;

/**
 * Gets the keys that came, changed or went; the first time all there are. Also those whose rows are damaged or of
 * another kind: the view has no row of them. Must not throw and not write.
 */
export type RowListener = (changed: readonly KeyText[]) => void;

export class RowView<T> {
  private readonly env: RowViewEnv;
  private readonly kv: Kv;
  private readonly prefix: string;
  private readonly parse: ParseRow<T>;
  private readonly parsed = new Map<KeyText, Row<T>>();
  private readonly unread = new Map<KeyText, DamagedRow>();
  private readonly listeners: RowListener[] = [];
  private view: KvView | undefined;

  constructor(env: RowViewEnv, kv: Kv, prefix: string, parse: ParseRow<T>) {
    this.env = env;
    this.kv = kv;
    this.prefix = prefix;
    this.parse = parse;
  }

  open(): void {
    this.view ??= openKvView(this.kv, this.prefix, {
      clock: this.env.clock,
      log: this.env.log,
      onChange: (changed, view) => this.take(changed, view),
    });
  }

  async close(): Promise<void> {
    await this.view?.close();
  }

  /** True once the whole prefix has been seen. */
  get isComplete(): boolean {
    return this.view?.isLoaded ?? false;
  }

  /** Every change up to this revision of the store is in the rows. */
  get revision(): number {
    return this.view?.revision ?? 0;
  }

  /** Asks that `revision` takes in, by the end of the turn, what is applied here now and changed no row. */
  requestProgress(): void {
    this.view?.requestProgress();
  }

  rows(): ReadonlyMap<KeyText, Row<T>> {
    return this.parsed;
  }

  rowsInKeyOrder(): readonly Row<T>[] {
    return [...this.parsed.values()].sort((a, b) => compareKeyText(a.text, b.text));
  }

  get(key: KeyText): Row<T> | undefined {
    return this.parsed.get(key);
  }

  /** Rows that do not parse; `rows` does not have them. Each was said in the log when it came. */
  get damaged(): ReadonlyMap<KeyText, DamagedRow> {
    return this.unread;
  }

  /** Called after each change. */
  subscribe(listener: RowListener): void {
    this.listeners.push(listener);
  }

  private take(changed: readonly KeyText[], view: KvView): void {
    for (const text of changed) {
      this.parsed.delete(text);
      this.unread.delete(text);
      const entry = view.entries.get(text);
      if (entry !== undefined) this.takeRow(entry);
    }
    for (const listener of this.listeners) listener(changed);
  }

  private takeRow({ key: text, modRevision, value }: KvEntry): void {
    const key = knownKey(text);
    // Only a later build knows what it is.
    if (key === undefined) return;
    try {
      const parsed = this.parse(key, value);
      if (parsed !== undefined) this.parsed.set(text, { text, modRevision, value: parsed });
    } catch (error) {
      // One damaged row must not blind this node for all others; a person has to look at it.
      const { code, message } = toAetherError(error);
      this.env.log.error({ event: "cluster.bad-row", key: text, code, reason: message });
      this.unread.set(text, { key, modRevision });
    }
  }
}
