// Owns: the keys under a prefix in the page: a page at a time, kept current by a watch.
import { AnswerError, ask, AS_HERE, query } from "../api.ts";
import type { EntryAnswer, EntryPage } from "../answers.ts";
import { beforeNextFrame, type Stop } from "../browser-adapter.ts";
import { follow } from "./event-source.ts";
import { Store } from "./store.ts";

export interface KeysShown {
  /** In key order. */
  readonly entries: readonly EntryAnswer[];
  readonly more: boolean;
  readonly isLoaded: boolean;
  readonly failure: AnswerError | undefined;
}

const PAGE = 200;
/** An answer has 1 MiB at most: of large values that is two keys. */
const REQUESTS_PER_PAGE = 8;

export class KeyBook {
  readonly shown = new Store<KeysShown>({ entries: [], more: false, isLoaded: false, failure: undefined });
  private readonly prefix: string;
  private entries = new Map<string, EntryAnswer>();
  private more = false;
  private isDrawing = false;
  private pages = 1;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  watch(): Stop {
    return follow({
      open: async () => {
        try {
          return `/v1/kv/watch${query({ prefix: this.prefix, from: await this.load() + 1 })}`;
        } catch (failure) {
          if (failure instanceof AnswerError) this.shown.set({ ...this.shown.get(), isLoaded: true, failure });
          throw failure;
        }
      },
      events: {
        put: (entry) => this.put(entry as EntryAnswer),
        delete: (entry) => this.remove(entry as { readonly key: string }),
      },
    });
  }

  /** One page more. */
  async loadMore(): Promise<void> {
    this.pages += 1;
    await this.load();
  }

  private async load(): Promise<number> {
    const entries = new Map<string, EntryAnswer>();
    let after: string | undefined;
    let revision: number | undefined;
    for (let request = 0; request < this.pages * REQUESTS_PER_PAGE; request++) {
      const page = query({ prefix: this.prefix, limit: PAGE, after, revision, ...AS_HERE });
      const found: EntryPage = await ask(`/v1/kv${page}`);
      revision ??= found.revision;
      for (const entry of found.entries) entries.set(entry.key, entry);
      after = found.entries.at(-1)?.key;
      this.more = found.more;
      if (!found.more || entries.size >= this.pages * PAGE) break;
    }
    this.entries = entries;
    this.drawSoon();
    return revision ?? 0;
  }

  private put(entry: EntryAnswer): void {
    // What comes after the last page is found by asking for more.
    if (this.more && entry.key > (this.shown.get().entries.at(-1)?.key ?? "") && !this.entries.has(entry.key)) return;
    this.entries.set(entry.key, entry);
    this.drawSoon();
  }

  private remove({ key }: { readonly key: string }): void {
    if (this.entries.delete(key)) this.drawSoon();
  }

  private drawSoon(): void {
    if (this.isDrawing) return;
    this.isDrawing = true;
    beforeNextFrame(() => {
      this.isDrawing = false;
      const entries = [...this.entries.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
      this.shown.set({ entries, more: this.more, isLoaded: true, failure: undefined });
    });
  }
}
