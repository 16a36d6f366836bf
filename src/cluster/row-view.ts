// Owns: a view of one prefix with its rows parsed, each once per change.
// Does not own: keeping the entries current (kv-view).
import { toAetherError } from "../base/errors.ts";
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import { compareKeyText, parseKey, type AetherKey, type KeyText } from "../kvstore/core/key.ts";
import { openKvView, type KvView } from "../kvstore/kv-view.ts";
import type { Kv } from "../kvstore/kv.ts";

export interface Row<T> {
  readonly text: KeyText;
  readonly modRevision: number;
  readonly value: T;
}

export interface RowViewEnv {
  readonly clock: Clock;
  readonly log: Log;
}

/** Gives the row's value, or undefined for a key of another kind under the same prefix. @throws for a damaged row. */
export type ParseRow<T> = (key: AetherKey, value: unknown) => T | undefined;

export class RowView<T> {
  private readonly env: RowViewEnv;
  private readonly kv: Kv;
  private readonly prefix: string;
  private readonly parse: ParseRow<T>;
  private readonly parsed = new Map<KeyText, Row<T>>();
  private readonly listeners: (() => void)[] = [];
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

  rows(): ReadonlyMap<KeyText, Row<T>> {
    return this.parsed;
  }

  rowsInKeyOrder(): readonly Row<T>[] {
    return [...this.parsed.values()].sort((a, b) => compareKeyText(a.text, b.text));
  }

  get(key: KeyText): Row<T> | undefined {
    return this.parsed.get(key);
  }

  /** Called after each change. The listener must not throw and not write. */
  subscribe(listener: () => void): void {
    this.listeners.push(listener);
  }

  private take(changed: readonly KeyText[], view: KvView): void {
    for (const text of changed) {
      const row = this.parseRow(text, view);
      if (row === undefined) this.parsed.delete(text);
      else this.parsed.set(text, row);
    }
    for (const listener of this.listeners) listener();
  }

  private parseRow(text: KeyText, view: KvView): Row<T> | undefined {
    const entry = view.entries.get(text);
    if (entry === undefined) return undefined;
    try {
      const value = this.parse(parseKey(text), entry.value);
      return value === undefined ? undefined : { text, modRevision: entry.modRevision, value };
    } catch (error) {
      // One damaged row must not blind this node for all others; a person has to look at it.
      const { code, message } = toAetherError(error);
      this.env.log.error({ event: "cluster.bad-row", key: text, code, reason: message });
      return undefined;
    }
  }
}
