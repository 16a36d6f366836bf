// Owns: this node's row in `job-beats/`: its sign of life for as long as it owns jobs, the fence of its workers, and
// how it learns that others took it for dead. Does not own: which jobs it owns (runner.ts), taking those of others
// (take-over.ts).
import { TaskScope } from "../../base/task-scope.ts";
import type { NodeId } from "../../base/ids.ts";
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import { storable } from "../../cluster/core/plain-value.ts";
import type { NodeLife } from "../../cluster/core/rows.ts";
import { RowView } from "../../cluster/row-view.ts";
import { StoreOutage } from "../../cluster/store-outage.ts";
import { Wake } from "../../cluster/wake.ts";
import type { Group } from "../../consensus/group.ts";
import type { Env } from "../../env/env.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { Ownership, OWNERSHIP_DEFAULTS, type OwnershipConfig } from "../core/life/ownership.ts";
import { parseBeatRow, type BeatRow } from "../core/rows.ts";
import { FenceCell } from "./fence-cell.ts";

export interface OwnershipPorts {
  readonly kv: Kv;
  readonly group: Pick<Group, "status">;
  readonly onFatal: (error: unknown) => void;
}

export interface OwnershipServiceConfig {
  readonly self: NodeLife;
  /** Other times than the usual ones, for tests. */
  readonly times?: OwnershipConfig;
}

/** A node's sign of life as this node has applied it. */
export interface SeenBeat {
  readonly node: NodeId;
  readonly key: KeyText;
  readonly modRevision: number;
  /** Undefined for one that cannot be read: it stands still like that of a dead node. */
  readonly row: BeatRow | undefined;
}

/** Beats go on for so long after the last job: the next one need not wait for the store. */
const LINGER_MS = 5_000;

export class OwnershipService {
  /** What the workers of this node's agents look at before they act. */
  readonly fence = new FenceCell();
  private readonly env: Pick<Env, "clock" | "workers" | "telemetry">;
  private readonly ports: OwnershipPorts;
  private readonly self: NodeLife;
  private readonly times: OwnershipConfig;
  private readonly core: Ownership;
  private readonly beats: RowView<BeatRow & { readonly node: NodeId }>;
  private readonly outage: StoreOutage;
  private readonly wake: Wake;
  private readonly scope: TaskScope;
  private readonly listeners: (() => void)[] = [];
  private readonly key: KeyText;
  private owning = 0;
  private wantedAtMs = Number.NEGATIVE_INFINITY;
  private whenBeaten: Deferred<void> = createDeferred<void>();
  /** This node's row as it wrote or found it last; undefined before the first time. */
  private own: { readonly modRevision: number; readonly row: BeatRow } | undefined;

  constructor(
    env: Pick<Env, "clock" | "workers" | "telemetry">, ports: OwnershipPorts, config: OwnershipServiceConfig,
  ) {
    const { log } = env.telemetry;
    this.env = env;
    this.ports = ports;
    this.self = config.self;
    this.times = config.times ?? OWNERSHIP_DEFAULTS;
    this.core = new Ownership(this.times);
    this.key = formatKey({ kind: "job-beat", node: config.self.node });
    this.outage = new StoreOutage(log, "job-ownership");
    this.wake = new Wake(env.clock);
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
    this.beats = new RowView({ clock: env.clock, log }, ports.kv, prefixOf({ kind: "job-beats" }), (key, value) =>
      key.kind === "job-beat" ? { ...parseBeatRow(value), node: key.node } : undefined);
    this.beats.subscribe(() => this.observe());
  }

  start(): void {
    this.beats.open();
    this.scope.spawn("job-beats", (signal) => this.run(signal));
  }

  async close(): Promise<void> {
    this.fence.replace();
    await this.scope.close();
    await this.beats.close();
  }

  /** How many jobs this node owns now: while there are any, it gives its sign of life. */
  setOwning(count: number): void {
    if (this.owning > 0 && count === 0) this.wantedAtMs = this.env.clock.nowMs();
    this.owning = count;
    this.wake.notify();
  }

  get isValid(): boolean {
    return this.env.clock.nowMs() < this.core.validUntilMs();
  }

  /** Resolves once this node may own jobs; at once while it may. @throws what `signal` aborts with */
  async whenValid(signal: AbortSignal): Promise<void> {
    while (!this.isValid) {
      signal.throwIfAborted();
      this.wantedAtMs = this.env.clock.nowMs();
      this.wake.notify();
      const aborted = createDeferred<void>();
      const onAbort = (): void => aborted.resolve();
      signal.addEventListener("abort", onAbort, { once: true });
      await Promise.race([this.whenBeaten.promise, aborted.promise]);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Called when others took this node for dead: nothing may be done for what it owned. Must not throw. */
  onSeized(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** The signs of life of the other nodes. */
  othersSeen(): readonly SeenBeat[] {
    const read = [...this.beats.rows().values()].map(({ text, modRevision, value }): SeenBeat =>
      ({ node: value.node, key: text, modRevision, row: value }));
    const damaged = [...this.beats.damaged].flatMap(([text, { key, modRevision }]): SeenBeat[] =>
      key.kind === "job-beat" ? [{ node: key.node, key: text, modRevision, row: undefined }] : []);
    return [...read, ...damaged].filter(({ node }) => node !== this.self.node);
  }

  /** Whether a node's jobs may go to others; `extraMs` as in `Ownership`. */
  mayTakeFrom(node: NodeId, suspectedForMs: number | undefined, extraMs: number): boolean {
    const nowMs = this.env.clock.nowMs();
    this.core.setReady(this.isReady, nowMs);
    return this.core.mayTakeFrom(node, suspectedForMs, nowMs, extraMs);
  }

  private get isReady(): boolean {
    return this.ports.group.status().isReady && this.beats.isComplete;
  }

  private observe(): void {
    const nowMs = this.env.clock.nowMs();
    for (const { node, modRevision } of this.othersSeen()) this.core.observe(node, modRevision, nowMs);
  }

  private get isWanted(): boolean {
    return this.owning > 0 || this.env.clock.nowMs() - this.wantedAtMs < LINGER_MS;
  }

  private async run(signal: AbortSignal): Promise<void> {
    const lookEveryMs = this.times.beatEveryMs / 2;
    while (!signal.aborted) {
      this.core.setReady(this.isReady, this.env.clock.nowMs());
      if (this.isWanted && this.core.isBeatDue(this.env.clock.nowMs())) await this.beat(signal);
      await this.wake.wait(signal, this.isWanted ? lookEveryMs : undefined);
    }
  }

  private async beat(signal: AbortSignal): Promise<void> {
    const { clock } = this.env;
    const sentAtMs = clock.nowMs();
    const row: BeatRow = {
      life: this.self, count: (this.own?.row.count ?? 0) + 1, seizures: this.own?.row.seizures ?? 0,
    };
    try {
      const result = await this.ports.kv.transact({
        compare: [unchanged(this.key, this.own?.modRevision ?? 0)],
        then: [{ kind: "put", key: this.key, value: storable(row) }],
        else: [{ kind: "get", key: this.key }],
      }, { signal, timeoutMs: this.times.validMs });
      this.outage.noteSuccess();
      if (result.succeeded) return this.noteBeat({ modRevision: result.revision, row }, sentAtMs);
      const [found] = result.results;
      this.adopt(found?.kind === "get" ? found.entry : undefined);
      this.wake.notify();
    } catch (error) {
      signal.throwIfAborted();
      const waitMs = this.outage.noteFailure(error);
      await clock.sleep(Math.min(waitMs, this.times.beatEveryMs), signal);
      this.wake.notify();
    }
  }

  private noteBeat(own: { readonly modRevision: number; readonly row: BeatRow }, sentAtMs: number): void {
    this.own = own;
    this.core.acknowledge(sentAtMs);
    const leftMs = this.core.validUntilMs() - this.env.clock.nowMs();
    if (leftMs <= 0) return this.wake.notify();
    const threadsNowMs = this.env.workers.threadsNowMs();
    this.fence.setWall(this.env.clock.wallMs(), threadsNowMs);
    this.fence.extendUntil(threadsNowMs + leftMs);
    this.whenBeaten.resolve();
    this.whenBeaten = createDeferred<void>();
  }

  /** The row is not as this node left it: an own beat that came through late, an earlier life's, or others wrote it. */
  private adopt(entry: KvEntry | undefined): void {
    const before = this.own;
    const row = this.readBeat(entry);
    this.own = { modRevision: entry?.modRevision ?? 0, row };
    if (before === undefined || row.seizures === before.row.seizures) return;
    this.env.telemetry.log.warn({ event: "jobs.seized", seizures: row.seizures });
    this.core.loseAll();
    this.fence.replace();
    for (const listener of this.listeners) listener();
  }

  private readBeat(entry: KvEntry | undefined): BeatRow {
    try {
      if (entry !== undefined) return parseBeatRow(entry.value);
    } catch {
      // ignored: the view has said that it is damaged; another number makes this node begin anew.
    }
    return { life: this.self, count: 0, seizures: (this.own?.row.seizures ?? 0) + 1 };
  }
}
