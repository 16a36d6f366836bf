// Owns: a copy of all entries under a prefix, kept current: watch first, then list, then merge by revision.
// Does not own: what is done with it. A view is behind the store by about a turn; who decides on it guards the write.
import { createDeferred, type Deferred } from "../base/deferred.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import { TaskScope } from "../base/task-scope.ts";
import { SECOND_MS } from "../base/units.ts";
import type { AsyncCloseable } from "../base/resource-stack.ts";
import type { Clock } from "../env/clock.ts";
import type { Log } from "../env/telemetry.ts";
import type { KeyText } from "./core/key.ts";
import type { KvChange, KvChangeSet, KvEntry } from "./core/schema.ts";
import type { Kv, KvPage, KvWatch } from "./kv.ts";

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
  /** Resolves when the view is complete for the first time; rejects when it is closed before. */
  readonly ready: Promise<void>;
  close(): Promise<void>;
}

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5 * SECOND_MS;
/** Changes kept while listing. More than that, and listing again is cheaper. */
const PENDING_MAX = 10_000;

/** Opens a view of this node's applied state; needs no quorum, and keeps trying until it is closed. */
export function openKvView(kv: Kv, prefix: string, options: KvViewOptions): KvView {
  return new LiveView(kv, prefix, options);
}

/** One life of a view: a watch and the listing over it. */
interface Session {
  readonly ended: Deferred<void>;
  /** Changes that came during the listing; undefined afterwards. */
  pending: KvChangeSet[] | undefined;
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

  /** Until the watch ends, for whatever reason. */
  private async runSession(onLoaded: () => void): Promise<void> {
    const session: Session = { ended: createDeferred(), pending: [] };
    this.session = session;
    const watch: KvWatch = this.kv.watch(this.prefix, {
      onChanges: (set) => this.takeChanges(session, set),
      onEnd: (reason) => session.ended.reject(reason),
    });
    try {
      // A watch that ends during the listing ends the session; the listing's result is dropped then.
      await Promise.race([session.ended.promise, this.load(session)]);
      onLoaded();
      await session.ended.promise;
    } finally {
      watch.cancel();
      this.session = undefined;
    }
  }

  private async load(session: Session): Promise<void> {
    const listed = new Map<KeyText, KvEntry>();
    let page: KvPage;
    let after: KeyText | undefined;
    do {
      page = await this.kv.list({ prefix: this.prefix, ...(after && { after }) }, { consistency: "local" });
      for (const entry of page.entries) listed.set(entry.key, entry);
      after = page.entries.at(-1)?.key;
    } while (page.more && this.session === session);
    // Pages may be of different revisions: what the watch still holds for this turn makes them one.
    await new Promise<void>((resolve) => this.options.clock.defer(resolve));
    if (this.session === session) this.finishLoading(session, listed, page.revision);
  }

  private finishLoading(session: Session, listed: Map<KeyText, KvEntry>, revision: number): void {
    const { pending = [] } = session;
    session.pending = undefined;
    for (const set of pending) {
      for (const change of set.changes) applyChange(listed, change);
    }
    const changed = differingKeys(this.current, listed);
    const isFirst = !this.hasLoaded;
    this.current = listed;
    this.currentRevision = Math.max(revision, pending.at(-1)?.revision ?? 0);
    this.hasLoaded = true;
    this.loaded.resolve();
    if (isFirst || changed.length > 0) this.options.onChange?.(changed, this);
  }

  private takeChanges(session: Session, set: KvChangeSet): void {
    if (this.session !== session) return;
    if (session.pending !== undefined) {
      session.pending.push(set);
      if (session.pending.length > PENDING_MAX) {
        const message = `more than ${PENDING_MAX} changes came while "${this.prefix}" was listed`;
        session.ended.reject(new AetherError("E_OVERLOADED", message, { outcome: "none" }));
      }
      return;
    }
    const changed = new Set<KeyText>();
    for (const change of set.changes) {
      if (applyChange(this.current, change)) changed.add(keyOf(change));
    }
    this.currentRevision = Math.max(this.currentRevision, set.revision);
    if (changed.size > 0) this.options.onChange?.([...changed], this);
  }
}

/** False when the entries already know better: they were listed after this change. */
function applyChange(entries: Map<KeyText, KvEntry>, change: KvChange): boolean {
  const key = keyOf(change);
  const revision = change.kind === "put" ? change.entry.modRevision : change.modRevision;
  const known = entries.get(key);
  if (known !== undefined && known.modRevision > revision) return false;
  if (change.kind === "put") entries.set(key, change.entry);
  else if (!entries.delete(key)) return false;
  return true;
}

function keyOf(change: KvChange): KeyText {
  return change.kind === "put" ? change.entry.key : change.key;
}

function differingKeys(before: ReadonlyMap<KeyText, KvEntry>, after: ReadonlyMap<KeyText, KvEntry>): KeyText[] {
  const changed = [...before.keys()].filter((key) => !after.has(key));
  for (const [key, entry] of after) {
    if (before.get(key)?.modRevision !== entry.modRevision) changed.push(key);
  }
  return changed;
}
