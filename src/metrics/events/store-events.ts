// Owns: reading events from the store: a watch over all rows that rules are about, whose changes come revision by
// revision, and the rows as they were before the first of them.
// E5  What a node has not read, because it was given a later state, it says: an event names the revisions.
// Does not own: the rules (core), the events that are held (event-hub.ts).
//
// Nothing is written: every node reads the same events from the same changes, whoever leads.
import { createDeferred } from "../../base/deferred.ts";
import { toAetherError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import type { KvChange, KvChangeSet, KvEntry } from "../../kvstore/core/schema.ts";
import type { Kv, KvListQuery } from "../../kvstore/kv.ts";
import type { EventDraft } from "./core/event.ts";
import type { AnyEventRule, RuleRows } from "./core/event-rule.ts";
import type { EventHub } from "./event-hub.ts";

/**
 * Revisions of the past that a node reads when it starts; what is older is not in its events. They are read once per
 * rule: a thousand of them cost some ten milliseconds, five thousand a second.
 */
export const EVENTS_REVISIONS_READ_MAX = 1_000;
/** Events of one revision; the others of it are left out. */
export const EVENTS_PER_REVISION_MAX = 1_000;

const RETRY_MS = SECOND_MS;

export interface StoreEventsPorts {
  readonly kv: Pick<Kv, "list" | "watch" | "revision" | "oldestRevision">;
  readonly hub: Pick<EventHub, "add" | "say" | "beginAfter" | "noteRevision">;
  readonly rules: readonly AnyEventRule[];
  readonly onFatal: (error: unknown) => void;
}

interface OpenRule extends AnyEventRule {
  readonly rows: RuleRows;
}

export class StoreEvents {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: StoreEventsPorts;
  private readonly self: NodeId;
  private readonly rules: readonly OpenRule[];
  private readonly scope: TaskScope;
  /** Everything up to this revision was read, and the rows are those of it; undefined before the first time. */
  private readTo: number | undefined;
  /** What is read up to this revision happened before this node read it. */
  private pastTo = 0;
  /** The latest time that a row has named. */
  private rowMs: number | undefined;

  constructor(env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: StoreEventsPorts, self: NodeId) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.self = self;
    this.rules = ports.rules.map((rule) => ({ ...rule, rows: rule.open() }));
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  start(): void {
    this.scope.spawn("store-events", (signal) => this.run(signal));
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.follow(signal);
      } catch (error) {
        signal.throwIfAborted();
        const { code, message } = toAetherError(error);
        this.log.info({ event: "events.watch-interrupted", code, reason: message });
      }
      await this.clock.sleep(RETRY_MS, signal);
    }
  }

  /** Until the watch ends. */
  private async follow(signal: AbortSignal): Promise<void> {
    const { kv } = this.ports;
    const from = await this.findBegin();
    const ended = createDeferred<never>();
    const onAbort = (): void => ended.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const watch = kv.watch(this.rules.map(({ prefix }) => prefix), {
      onChanges: (set) => this.take(set),
      onProgress: (revision) => this.note(revision),
      onEnd: (reason) => ended.reject(reason),
    }, { fromRevision: from + 1 });
    try {
      signal.throwIfAborted();
      await ended.promise;
    } finally {
      watch.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** The revision after which it goes on; the rows are those of it. */
  private async findBegin(): Promise<number> {
    const { kv, hub } = this.ports;
    const { oldestRevision, revision } = kv;
    const { readTo } = this;
    if (readTo !== undefined && readTo + 1 >= oldestRevision) return readTo;
    const from = Math.max(0, oldestRevision - 1, revision - EVENTS_REVISIONS_READ_MAX);
    for (const rule of this.rules) if (rule.keepsRows) rule.rows.load(await this.rowsAt(rule.prefix, from));
    this.pastTo = revision;
    this.readTo = from;
    hub.beginAfter(from);
    if (readTo !== undefined && from > readTo) {
      const fields = { by: this.self, from: readTo + 1, to: from };
      hub.say({ kind: "events.missed", fields }, this.clock.wallMs());
    }
    return from;
  }

  private async rowsAt(prefix: string, revision: number): Promise<readonly KvEntry[]> {
    const entries: KvEntry[] = [];
    if (revision === 0) return entries;
    let query: KvListQuery = { prefix, revision };
    for (;;) {
      const page = await this.ports.kv.list(query, { consistency: "local" });
      entries.push(...page.entries);
      const after = page.entries.at(-1)?.key;
      if (!page.more || after === undefined) return entries;
      query = { prefix, revision, after };
    }
  }

  private take({ revision, changes }: KvChangeSet): void {
    const drafts = this.rules.flatMap(({ prefix, rows }) => {
      const ofRule = changes.filter((change) => keyOf(change).startsWith(prefix));
      return ofRule.length === 0 ? [] : rows.take(ofRule);
    });
    drafts.slice(0, EVENTS_PER_REVISION_MAX).forEach((draft, index) => {
      this.ports.hub.add(draft, { kind: "store", revision, index }, this.timeOf(draft, revision));
    });
    this.note(revision);
  }

  private note(revision: number): void {
    this.readTo = revision;
    this.ports.hub.noteRevision(revision);
  }

  /** What says no time and happened before this node read it is not older than what came before it. */
  private timeOf({ atMs }: EventDraft, revision: number): number {
    if (atMs !== undefined) this.rowMs = Math.max(atMs, this.rowMs ?? 0);
    return atMs ?? (revision > this.pastTo ? this.clock.wallMs() : this.rowMs ?? this.clock.wallMs());
  }
}

function keyOf(change: KvChange): string {
  return change.kind === "put" ? change.entry.key : change.key;
}
