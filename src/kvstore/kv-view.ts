// Owns: a copy of all entries under a prefix, kept current: a listing of one revision, then all changes after it.
// Does not own: what is done with it. A view is behind the store by about a turn; who decides on it guards the write.
import { createDeferred, type Deferred } from "../base/deferred.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import { TaskScope } from "../base/task-scope.ts";
import { SECOND_MS } from "../base/units.ts";
import type { AsyncCloseable } from "../base/resource-stack.ts";
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import type { KeyText } from "./core/key.ts";
import type { KvChangeSet, KvEntry } from "./core/schema.ts";
import type { Kv, KvListQuery, KvWatch } from "./kv.ts";

export interface KvViewOptions {
  readonly clock: Clock;
  readonly log?: Log;
  /**
   * Called once when the view is complete, with all its keys, and after every change with the keys that came, changed
   * or went. Never inside `openKvView`, never inside a write. Must not throw.
   */
  onChange?(changed: readonly KeyText[], view: KvView): void;
}

export interface KvView extends AsyncCloseable {
  /** Current entries. Stays as it was while a view that was interrupted opens itself again. */
  readonly entries: ReadonlyMap<KeyText, KvEntry>;
  /** The view has every change up to this revision of the store. */
  readonly revision: number;
  readonly isLoaded: boolean;
  /** Asks that `revision` takes in, by the end of the turn, what is applied here now and changed no entry. */
  requestProgress(): void;
  /** Resolves when the view is complete for the first time; rejects when it is closed before. */
  readonly ready: Promise<void>;
  close(): Promise<void>;
}

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5 * SECOND_MS;

/** Opens a view of this node's applied state; needs no quorum, and keeps trying until it is closed. */
export function openKvView(kv: Kv, prefix: string, options: KvViewOptions): KvView {
  return new LiveView(kv, prefix, options);
}

/** One life of a view: a listing and the watch after it. */
interface Session {
  readonly ended: Deferred<void>;
  watch?: KvWatch;
}

class LiveView implements KvView {
  private readonly kv: Kv;
  private readonly prefix: string;
  private readonly options: KvViewOptions;
  private readonly scope: TaskScope;
  private readonly loaded = createDeferred<void>();
  private current = new Map<KeyText, KvEntry>();
  private currentRevision = 0;
  private hasLoaded = false;
  private session: Session | undefined;

  constructor(kv: Kv, prefix: string, options: KvViewOptions) {
    this.kv = kv;
    this.prefix = prefix;
    this.options = options;
    // ignored: only who waits for `ready` wants to know that the view was closed first
    this.loaded.promise.catch(() => undefined);
    this.scope = new TaskScope((_name, error) => this.loaded.reject(error));
    this.scope.spawn("kv-view", (signal) => this.run(signal));
  }

  get entries(): ReadonlyMap<KeyText, KvEntry> {
    return this.current;
  }

  get revision(): number {
    return this.currentRevision;
  }

  get isLoaded(): boolean {
    return this.hasLoaded;
  }

  get ready(): Promise<void> {
    return this.loaded.promise;
  }

  requestProgress(): void {
    this.session?.watch?.requestProgress();
  }

  async close(): Promise<void> {
    const message = `the view of "${this.prefix}" was closed before it was complete`;
    this.loaded.reject(new AetherError("E_UNAVAILABLE", message));
    const closed = this.scope.close();
    this.session?.ended.resolve();
    await closed;
  }

  private async run(signal: AbortSignal): Promise<void> {
    let retryMs = RETRY_MS_MIN;
    while (!signal.aborted) {
      try {
        await this.runSession(() => (retryMs = RETRY_MS_MIN));
      } catch (error) {
        const { code, message } = toAetherError(error);
        this.options.log?.warn({ event: "kv.view-interrupted", prefix: this.prefix, code, reason: message });
      }
      if (signal.aborted) return;
      await this.options.clock.sleep(retryMs, signal);
      retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
    }
  }

  /** Until the watch ends, for whatever reason: another state may have taken the place of the one that was listed. */
  private async runSession(onLoaded: () => void): Promise<void> {
    const session: Session = { ended: createDeferred() };
    this.session = session;
    try {
      // Closing the view ends the session, whatever becomes of the listing.
      const listed = await Promise.race([session.ended.promise, this.list()]);
      if (listed === undefined || this.scope.signal.aborted) return;
      const { entries, revision } = listed;
      this.finishLoading(entries, revision);
      onLoaded();
      session.watch = this.kv.watch(
        this.prefix,
        {
          onChanges: (set) => this.takeChanges(session, set),
          onProgress: (seen) => (this.currentRevision = Math.max(this.currentRevision, seen)),
          onEnd: (reason) => session.ended.reject(reason),
        },
        { fromRevision: revision + 1 },
      );
      await session.ended.promise;
    } finally {
      session.watch?.cancel();
      this.session = undefined;
    }
  }

  /** All pages are of the first one's revision. */
  private async list(): Promise<{ readonly entries: Map<KeyText, KvEntry>; readonly revision: number }> {
    const entries = new Map<KeyText, KvEntry>();
    let query: KvListQuery = { prefix: this.prefix };
    for (;;) {
      const page = await this.kv.list(query, { consistency: "local" });
      for (const entry of page.entries) entries.set(entry.key, entry);
      const after = page.entries.at(-1)?.key;
      const { revision } = page;
      if (!page.more || after === undefined || this.scope.signal.aborted) return { entries, revision };
      query = { prefix: this.prefix, after, revision };
    }
  }

  private finishLoading(listed: Map<KeyText, KvEntry>, revision: number): void {
    const changed = differingKeys(this.current, listed);
    const isFirst = !this.hasLoaded;
    this.current = listed;
    this.currentRevision = revision;
    this.hasLoaded = true;
    this.loaded.resolve();
    if (isFirst || changed.length > 0) this.options.onChange?.(changed, this);
  }

  private takeChanges(session: Session, set: KvChangeSet): void {
    if (this.session !== session) return;
    const changed = new Set<KeyText>();
    for (const change of set.changes) {
      const key = change.kind === "put" ? change.entry.key : change.key;
      if (change.kind === "put") this.current.set(key, change.entry);
      else this.current.delete(key);
      changed.add(key);
    }
    this.currentRevision = set.revision;
    if (changed.size > 0) this.options.onChange?.([...changed], this);
  }
}

function differingKeys(before: ReadonlyMap<KeyText, KvEntry>, after: ReadonlyMap<KeyText, KvEntry>): KeyText[] {
  const changed = [...before.keys()].filter((key) => !after.has(key));
  for (const [key, entry] of after) {
    if (before.get(key)?.modRevision !== entry.modRevision) changed.push(key);
  }
  return changed;
}
