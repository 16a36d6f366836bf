// Owns: reading events from changes of the store's rows: what a rule is, and the rows that it compares with.
// E3  What is read from a revision depends on the rows before it and on its changes alone: it is the same everywhere.
// Does not own: the rules, the watch (store-events.ts).
import { formatKey, knownKey, type AetherKey, type KeyText } from "../../../kvstore/core/key.ts";
import type { KvChange, KvEntry } from "../../../kvstore/core/schema.ts";
import type { EventDraft } from "./event.ts";

/** One row that came, changed or went. */
export interface RowChange<T> {
  readonly key: AetherKey;
  /** Undefined when the row has gone. */
  readonly entry: KvEntry | undefined;
  /** Undefined when there was none, or where rows are not kept. */
  readonly before: T | undefined;
  readonly after: T | undefined;
}

/** Other rows of the rule: as they were before the revision, and as they are after it. */
export interface OtherRows<T> {
  before(key: AetherKey): T | undefined;
  after(key: AetherKey): T | undefined;
}

export interface EventRule<T> {
  readonly prefix: string;
  /** Whether it compares with the rows before; what is kept of them is what `read` gives. */
  readonly keepsRows: boolean;
  /** Undefined for rows that say nothing. @throws for a damaged row, which says nothing either */
  read(key: AetherKey, value: unknown): T | undefined;
  derive(change: RowChange<T>, rows: OtherRows<T>): readonly EventDraft[];
}

/** A rule of any rows. */
export type AnyEventRule = Pick<EventRule<unknown>, "prefix" | "keepsRows"> & { open(): RuleRows };

/** A rule with the rows that it keeps. */
export interface RuleRows {
  /** These are the rows now; what was kept is forgotten. */
  load(entries: readonly KvEntry[]): void;
  /** Those changes of one revision that the rule is about, in their order. */
  take(changes: readonly KvChange[]): readonly EventDraft[];
}

/** For a list of rules whose rows are of different types. */
export function eventRule<T>(rule: EventRule<T>): AnyEventRule {
  return { prefix: rule.prefix, keepsRows: rule.keepsRows, open: () => new KeptRows(rule) };
}

class KeptRows<T> implements RuleRows {
  private readonly rule: EventRule<T>;
  private readonly rows = new Map<KeyText, T>();

  constructor(rule: EventRule<T>) {
    this.rule = rule;
  }

  load(entries: readonly KvEntry[]): void {
    this.rows.clear();
    for (const entry of entries) {
      const key = knownKey(entry.key);
      if (key !== undefined) this.keep(entry.key, this.read(key, entry));
    }
  }

  take(changes: readonly KvChange[]): readonly EventDraft[] {
    const replaced = new Map<KeyText, T | undefined>();
    const taken = changes.flatMap((change): RowChange<T> | readonly never[] => {
      const entry = change.kind === "put" ? change.entry : undefined;
      const text = change.kind === "put" ? change.entry.key : change.key;
      const key = knownKey(text);
      if (key === undefined) return [];
      const before = this.rows.get(text);
      const after = entry === undefined ? undefined : this.read(key, entry);
      if (!replaced.has(text)) replaced.set(text, before);
      if (this.rule.keepsRows) this.keep(text, after);
      return { key, entry, before, after };
    });
    const rows: OtherRows<T> = {
      before: (key) => {
        const text = formatKey(key);
        return replaced.has(text) ? replaced.get(text) : this.rows.get(text);
      },
      after: (key) => this.rows.get(formatKey(key)),
    };
    return taken.flatMap((change) => this.rule.derive(change, rows));
  }

  private read(key: AetherKey, { value }: KvEntry): T | undefined {
    try {
      return this.rule.read(key, value);
    } catch {
      // ignored: whoever decides by the row says in the log that it is damaged
      return undefined;
    }
  }

  private keep(key: KeyText, value: T | undefined): void {
    if (value === undefined) this.rows.delete(key);
    else this.rows.set(key, value);
  }
}
