// Owns: this node's copy of the store: applies what consensus decided, answers local reads, and writes checkpoints.
// Does not own: agreement (consensus), deadlines and callers (kv-store.ts).
//
// The disk changes only by checkpoints: one atomic, synced write with all changed entries, the revision, the rolling
// hash and the mark of consensus, taken at the end of a slot. Everything later is rebuilt by consensus after a crash.
import { assert, unreachable } from "../base/assert.ts";
import { decode } from "../base/codec.ts";
import { createDeferred, type Deferred } from "../base/deferred.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import { MiB, SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { KeyRange as StoreRange, StoreEntry } from "../env/store.ts";
import type { Log } from "../env/telemetry.ts";
import type {
  CheckpointGate,
  ConsensusMark,
  ReplicatedStateMachine,
  SnapshotReader,
  SnapshotWriter,
} from "../consensus/state-machine.ts";
import { CheckpointRun, type CheckpointEnd } from "./checkpoint-run.ts";
import {
  CHECKPOINT_ROW,
  encodeCheckpoint,
  NO_SLOT,
  parseCheckpoint,
  refuseForeign,
  type Checkpoint,
} from "./core/checkpoint.ts";
import { compareKeyText, type KeyText } from "./core/key.ts";
import { PAGE_BYTES_MAX, PAGE_ENTRIES_MAX } from "./core/limits.ts";
import { PAGE_PLACES } from "./core/request-page.ts";
import type { KvEntry, LeaseId } from "./core/schema.ts";
import { KvStateMachine, type CommandResult, type StoredChange } from "./core/state-machine.ts";
import type { KeyRange } from "./core/sorted-runs.ts";
import { decodeRow, toKvEntry, type StoredEntry } from "./core/stored-entry.ts";
import { FIRST_KEY, LEASE_ROWS, leaseOfRow, parseLeaseRow, type LeaseRow } from "./core/system-rows.ts";
import type { KvListQuery, KvPage, KvRead, LeaseInfo, StoreUsage } from "./kv.ts";
import type { Generation, KvGenerations } from "./kv-generations.ts";
import { LayeredEntries, type Layered } from "./layered-entries.ts";
import type { Weighed } from "./read-turns.ts";
import { KvSnapshotReader } from "./snapshot-reader.ts";
import { KvSnapshotWriter } from "./snapshot-writer.ts";

export interface KvStateOptions {
  /** Where the state of this node is. Its opener closes it, after this state. */
  readonly generations: KvGenerations;
  readonly clock: Clock;
  readonly log: Log;
  /** Name of the cluster: state of another one is refused. */
  readonly cluster: string;
  /** The state cannot be trusted or kept any more: the node must stop. Called at most once. */
  onFatal(error: AetherError): void;
}

/** Result of a command that reached this node after its state had failed: applied by others, perhaps. */
export interface LostResult {
  readonly kind: "lost";
}

/** What `applyBatch` gives for each command. */
export type ApplyResult = CommandResult | LostResult;

/** What became of leases. */
export type LeaseResult = Extract<CommandResult, { kind: "granted" | "renewed" | "ended" }>;
export type LeaseListener = (result: LeaseResult) => void;

export type ChangeListener = (revision: number, changes: readonly StoredChange[]) => void;

/** Entries as they were at an earlier revision, for keys that have changed since. */
export type Undone = ReadonlyMap<KeyText, Layered>;

// A checkpoint is due at any of these. Rows and bytes bound what is kept in memory, changes what is replayed after a
// crash. Rare checkpoints are cheap ones: a key that changed often is written once, and a key that waits to be written
// is not read from the disk when it changes again. A quarter of this halved the rate of puts on 100,000 keys.
const CHECKPOINT_ROWS = 131_072;
const CHECKPOINT_BYTES = 40 * MiB;
const CHECKPOINT_CHANGES = 262_144;
/** When there is little to write. */
const CHECKPOINT_INTERVAL_MS = 10 * SECOND_MS;

const LOST: LostResult = { kind: "lost" };
/** Where a new state begins. */
const EMPTY = { revision: 0, stateHash: 0, machine: undefined };

export class KvState implements ReplicatedStateMachine {
  readonly loadedMark: ConsensusMark | undefined;
  readonly loadedGeneration: number;
  private readonly options: KvStateOptions;
  private entries: LayeredEntries;
  private machine: KvStateMachine;
  private seed: string | undefined;
  private isAside: boolean;
  private readonly checkpointListeners: ((appliedSlots: number) => void)[] = [];
  private readonly listeners = new Set<ChangeListener>();
  private readonly leaseListeners = new Set<LeaseListener>();
  private readonly resetListeners = new Set<(revision: number) => void>();
  /** Where the applied state stands; undefined inside a slot, where no checkpoint can be taken. */
  private boundary: { readonly slot: number; readonly makeMark: () => ConsensusMark } | undefined;
  /** Slots ended since the start of the last checkpoint. */
  private isDirty = false;
  private writing: { readonly run: CheckpointRun; readonly ended: Deferred<void> } | undefined;
  private installing: "no" | "writing" | "finishing" = "no";
  private timer: Timer | undefined;
  private failure: AetherError | undefined;
  private isClosed = false;
  /** No checkpoint will be written any more. */
  private hasSkipped = false;
  private gate: CheckpointGate = (ready) => {
    ready("write");
  };
  private beforeCheckpoint: (ready: () => void) => void = (ready) => ready();

  /** @throws AetherError E_DATA_CORRUPT, E_VERSION, E_DATA_FOREIGN (state of another cluster) */
  static open(options: KvStateOptions): KvState {
    const { generations, cluster } = options;
    const row = generations.current.store.getSync(CHECKPOINT_ROW);
    const loaded = row === undefined ? undefined : parseCheckpoint(row);
    if (loaded !== undefined) refuseForeign(loaded, cluster);
    return new KvState(options, loaded);
  }

  private constructor(options: KvStateOptions, loaded: Checkpoint | undefined) {
    const { generations } = options;
    this.options = options;
    this.entries = new LayeredEntries(generations.current.store);
    this.machine = new KvStateMachine(this.entries, loaded ?? EMPTY);
    this.loadedMark = loaded?.slot === NO_SLOT ? undefined : loaded?.mark;
    this.loadedGeneration = generations.current.number;
    this.seed = loaded?.seedDigest;
    this.isAside = generations.hasSetAside;
  }

  get revision(): number {
    return this.machine.revision;
  }

  get stateHash(): number {
    return this.machine.stateHash;
  }

  /** A lease as it is applied here. @throws AetherError E_DATA_CORRUPT, E_UNAVAILABLE once the state has failed */
  lease(lease: LeaseId): LeaseInfo | undefined {
    this.refuseWhenFailed();
    try {
      const row = this.machine.lease(lease);
      return row === undefined ? undefined : toLeaseInfo(lease, row);
    } catch (error) {
      throw this.readFailure(error);
    }
  }

  /** How many leases are applied here. @throws as `lease` */
  leaseCount(): number {
    this.refuseWhenFailed();
    try {
      return this.machine.leaseCount;
    } catch (error) {
      throw this.readFailure(error);
    }
  }

  /** Rows that go when the lease ends. */
  leaseWeight(lease: LeaseId): number {
    try {
      const row = this.machine.lease(lease);
      return row === undefined ? 0 : 1 + row.keys + row.slots + row.reach / PAGE_PLACES;
    } catch (error) {
      // ignored: the state has failed with this and the node stops, or the next look reads it
      this.readFailure(error);
      return 0;
    }
  }

  /** All leases, as of the moment of this call. @throws AetherError E_DATA_CORRUPT, E_DISK */
  async leases(): Promise<readonly LeaseInfo[]> {
    const changed = this.entries.changed(LEASE_ROWS, new Map(), Number.POSITIVE_INFINITY);
    const disk = this.options.generations.current.store.entries(diskRangeOf(LEASE_ROWS));
    const leases: LeaseInfo[] = [];
    try {
      for await (const [key, entry] of mergeRows(changed, disk, 1)) {
        const lease = leaseOfRow(key);
        if (lease !== undefined) leases.push(toLeaseInfo(lease, parseLeaseRow(entry.value)));
      }
    } catch (error) {
      throw this.readFailure(error);
    }
    return leases;
  }

  get usage(): StoreUsage {
    const { liveBytes, quotaBytes } = this.machine;
    return { liveBytes, quotaBytes };
  }

  /** Called inside `applyBatch`, once per command that granted, renewed or ended leases. */
  onLeases(listener: LeaseListener): () => void {
    this.leaseListeners.add(listener);
    return () => this.leaseListeners.delete(listener);
  }

  get seedDigest(): string | undefined {
    return this.seed;
  }

  get needsSnapshot(): boolean {
    return this.isAside;
  }

  get damage(): AetherError | undefined {
    if (this.isAside) return this.options.generations.damage;
    return this.failure?.code === "E_DATA_CORRUPT" ? this.failure : undefined;
  }

  /** Called inside `applyBatch`, once per command that changed something. Returns the way to stop it. */
  onChanges(listener: ChangeListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Called when another state took the place of this one, at its revision: what came between is not told. */
  onReset(listener: (revision: number) => void): () => void {
    this.resetListeners.add(listener);
    return () => this.resetListeners.delete(listener);
  }

  gateCheckpoints(gate: CheckpointGate): void {
    this.gate = gate;
  }

  /**
   * Sets what goes before each checkpoint: called at the moment that the checkpoint is of, which is written once
   * `ready` is called.
   */
  precedeCheckpoints(before: (ready: () => void) => void): void {
    this.beforeCheckpoint = before;
  }

  onCheckpoint(listener: (appliedSlots: number) => void): void {
    this.checkpointListeners.push(listener);
  }

  async openSnapshot(): Promise<SnapshotReader | undefined> {
    const reader = await this.readCheckpoint();
    if (reader !== undefined || !this.isDirty) return reader;
    // Young: nobody has to wait until the first checkpoint is due.
    await this.checkpoint();
    return this.readCheckpoint();
  }

  beginInstall(): SnapshotWriter {
    assert(this.installing === "no", "one snapshot is installed at a time");
    this.installing = "writing";
    const { generations, cluster } = this.options;
    return new KvSnapshotWriter({
      generations,
      cluster,
      onFinishing: () => {
        this.installing = "finishing";
      },
      onInstall: (generation, checkpoint) => this.replace(generation, checkpoint),
      onEnd: () => {
        this.installing = "no";
      },
    });
  }

  async setAside(): Promise<void> {
    if (this.isAside) return;
    const { generations } = this.options;
    this.isAside = true;
    await this.writing?.ended.promise;
    generations.switchTo(await generations.create(), "keep");
    this.failure = undefined;
    this.reset(EMPTY);
  }

  applyBatch(batch: Uint8Array): readonly ApplyResult[] {
    this.boundary = undefined;
    const commands = this.decodeBatch(batch);
    const results: ApplyResult[] = [];
    for (const command of commands) results.push(this.applyCommand(command));
    return results;
  }

  endSlot(slot: number, makeMark: () => ConsensusMark): void {
    if (this.failure !== undefined) return;
    this.boundary = { slot, makeMark };
    this.isDirty = true;
    if (this.isCheckpointDue()) this.startCheckpoint();
    else if (!this.isClosed) this.startTimer();
  }

  /** The applied state, at once. @throws AetherError E_DATA_CORRUPT, E_UNAVAILABLE once the state has failed */
  getLocal(key: KeyText): KvRead {
    return this.weighLocal(key).value;
  }

  /** The same, with the bytes that were decoded for it. */
  weighLocal(key: KeyText): Weighed<KvRead> {
    this.refuseWhenFailed();
    const { revision } = this;
    try {
      const entry = this.entries.read(key);
      if (entry === undefined) return { value: { revision }, bytes: 0 };
      return { value: { entry: toKvEntry(key, entry), revision }, bytes: entry.block.length };
    } catch (error) {
      throw this.readFailure(error);
    }
  }

  /**
   * One page of the applied state as of this call, but for what is `undone`.
   * @throws AetherError E_INVALID for a bad limit, E_DATA_CORRUPT, E_UNAVAILABLE once the state has failed
   */
  async listLocal(query: KvListQuery, undone: Undone = new Map()): Promise<KvPage> {
    const limit = pageLimit(query);
    this.refuseWhenFailed();
    const { revision } = this;
    // Both before the first await: together they are the state of one moment.
    const changed = changesIn(this.entries, query, undone, limit);
    const disk = this.options.generations.current.store.entries(diskRangeTo(query));
    const page: KvEntry[] = [];
    let bytes = 0;
    try {
      for await (const [key, entry] of mergeRows(changed, disk, directionOf(query))) {
        bytes += entry.block.length;
        if (page.length === limit || (page.length > 0 && bytes > PAGE_BYTES_MAX)) {
          return { entries: page, revision, more: true };
        }
        page.push(toKvEntry(key, entry));
      }
    } catch (error) {
      throw this.readFailure(error);
    }
    return { entries: page, revision, more: false };
  }

  /** Resolves when everything up to the last ended slot is on disk, or when it never will be. */
  async checkpoint(): Promise<void> {
    // The one under way may have begun before the last slot; without one, the new one begins inside this call. One that
    // began meanwhile has that slot too: under load there always is one, and no moment without would ever come.
    if (this.writing !== undefined) await this.writing.ended.promise;
    if (this.isDirty && this.writing === undefined) this.startCheckpoint();
    await this.writing?.ended.promise;
  }

  /** Writes a last checkpoint. The store itself is closed by its opener. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.timer?.cancel();
    this.timer = undefined;
    await this.checkpoint();
  }

  /** The group behind it could not be opened: writes nothing any more and leaves no timer behind. */
  abandon(): void {
    this.hasSkipped = true;
    this.isClosed = true;
    this.timer?.cancel();
    this.timer = undefined;
  }

  private async readCheckpoint(): Promise<SnapshotReader | undefined> {
    this.refuseWhenFailed();
    try {
      const { liveBytes } = this.usage;
      const { store } = this.options.generations.current;
      const onDamage = (error: AetherError): void => {
        // Of a state that was replaced meanwhile it says nothing any more.
        if (store === this.options.generations.current.store) this.readFailure(error);
      };
      return await KvSnapshotReader.open(store, { bytesEstimated: liveBytes > 0 ? liveBytes : undefined, onDamage });
    } catch (error) {
      throw this.readFailure(error);
    }
  }

  private applyCommand(command: unknown): ApplyResult {
    if (this.failure !== undefined || this.isAside) return LOST;
    let result: CommandResult;
    try {
      result = this.machine.apply(command);
    } catch (error) {
      // Reading an entry is the one thing that fails without being a bug.
      if (!(error instanceof AetherError)) throw error;
      this.fail(error);
      return LOST;
    }
    this.tell(result);
    return result;
  }

  private tell(result: CommandResult): void {
    if ((result.kind === "done" || result.kind === "ended") && result.changes.length > 0) {
      for (const listener of this.listeners) listener(result.revision, result.changes);
    }
    if (result.kind === "granted" || result.kind === "renewed" || result.kind === "ended") {
      for (const listener of this.leaseListeners) listener(result);
    }
  }

  private decodeBatch(batch: Uint8Array): readonly unknown[] {
    const reason = "a decided batch is not a list of commands";
    try {
      const commands = decode(batch, batch.byteLength);
      if (Array.isArray(commands)) return commands;
      this.options.log.error({ event: "kv.batch-malformed", reason });
    } catch (error) {
      this.options.log.error({ event: "kv.batch-malformed", reason, error: toAetherError(error).message });
    }
    // Every replica has the same bytes and skips them alike.
    return [];
  }

  private isCheckpointDue(): boolean {
    if (this.writing !== undefined || this.isClosed) return false;
    const { changedRows, changedBytes, changeCount } = this.entries;
    return changedRows > CHECKPOINT_ROWS || changedBytes > CHECKPOINT_BYTES || changeCount > CHECKPOINT_CHANGES;
  }

  private startTimer(): void {
    this.timer ??= this.options.clock.setTimer(CHECKPOINT_INTERVAL_MS, () => {
      this.timer = undefined;
      if (this.isDirty && this.writing === undefined) this.startCheckpoint();
    });
  }

  private startCheckpoint(): void {
    const { boundary } = this;
    if (boundary === undefined || this.failure !== undefined || this.hasSkipped) return;
    // A snapshot that is complete on disk but not the state yet must never be older than where the log is cut.
    if (this.installing === "finishing" || this.isAside) return;
    this.isDirty = false;
    this.timer?.cancel();
    this.timer = undefined;
    const { clock, generations } = this.options;
    const run = new CheckpointRun({
      store: generations.current.store,
      clock,
      record: this.encodeRecord(boundary.slot, boundary.makeMark()),
      rows: this.entries.freeze(),
      gate: (ready) => this.beforeCheckpoint(() => this.gate(ready)),
      onEnd: (end) => this.onCheckpointEnd(end, boundary.slot),
    });
    this.writing = { run, ended: createDeferred() };
    run.start();
  }

  private encodeRecord(slot: number, mark: ConsensusMark): Uint8Array {
    const { revision, stateHash, seedDigest } = this;
    const machine = this.machine.save();
    return encodeCheckpoint({ cluster: this.options.cluster, revision, stateHash, slot, mark, machine, seedDigest });
  }

  private onCheckpointEnd(end: CheckpointEnd, slot: number): void {
    switch (end.kind) {
      case "written":
        this.entries.thaw();
        this.endCheckpoint();
        for (const listener of this.checkpointListeners) listener(slot + 1);
        // What came meanwhile may be too much already; the next slot would find out, but there may be none for long.
        if (this.isCheckpointDue()) this.startCheckpoint();
        return;
      case "skipped":
        // The group has stopped: the next start applies again, from its journal, what stays only in memory now.
        this.hasSkipped = true;
        this.endCheckpoint();
        return;
      case "failed":
        this.fail(writeFailure(end.failure));
        this.endCheckpoint();
        return;
      default:
        return unreachable(end);
    }
  }

  private endCheckpoint(): void {
    this.writing?.ended.resolve();
    this.writing = undefined;
  }

  /** Another state, complete on disk, takes the place of this one. */
  private replace(generation: Generation, checkpoint: Checkpoint): void {
    this.options.generations.switchTo(generation, "destroy");
    this.isAside = false;
    this.seed = checkpoint.seedDigest;
    this.reset(checkpoint);
  }

  /** Nothing of what was applied here counts any more, nor does the past that led there. */
  private reset(start: Pick<Checkpoint, "revision" | "stateHash" | "machine">): void {
    this.writing?.run.cancel();
    this.endCheckpoint();
    this.timer?.cancel();
    this.timer = undefined;
    this.boundary = undefined;
    this.isDirty = false;
    this.entries = new LayeredEntries(this.options.generations.current.store);
    this.machine = new KvStateMachine(this.entries, start);
    for (const listener of this.resetListeners) listener(this.revision);
  }

  /** Consensus goes on until the node has stopped, this state does not: a quorum's answer says nothing about it. */
  private refuseWhenFailed(): void {
    if (this.failure === undefined) return;
    const message = `this node's state has failed (${this.failure.message}): read through another node`;
    throw new AetherError("E_UNAVAILABLE", message, { outcome: "none", cause: this.failure });
  }

  private readFailure(thrown: unknown): AetherError {
    const error = toAetherError(thrown);
    // A read that came after close fails too, but says nothing about the data.
    if (error.code === "E_DATA_CORRUPT") this.fail(error);
    return error;
  }

  /** From here on nothing is applied or written: what was read may have been wrong. */
  private fail(error: AetherError): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.timer?.cancel();
    this.options.log.error({ event: "kv.state-failed", code: error.code, reason: error.message });
    this.options.onFatal(error);
  }
}

function toLeaseInfo(lease: LeaseId, { ttlMs, requests, keys, renewals }: LeaseRow): LeaseInfo {
  return { lease, ttlMs, requests, keys, renewals };
}

function pageLimit(query: KvListQuery): number {
  const limit = query.limit ?? PAGE_ENTRIES_MAX;
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= PAGE_ENTRIES_MAX) return limit;
  throw new AetherError("E_INVALID", `the limit of a list is ${limit}: use 1 to ${PAGE_ENTRIES_MAX}`, {
    details: { limit: PAGE_ENTRIES_MAX, actual: limit },
  });
}

/** 1 for ascending keys, -1 for descending ones. */
function directionOf({ order }: KvListQuery): 1 | -1 {
  return order === "descending" ? -1 : 1;
}

/** What the whole page needs comes first, except backwards: there all changes of the range are looked at. */
function changesIn(
  entries: LayeredEntries, query: KvListQuery, undone: Undone, limit: number,
): readonly (readonly [KeyText, Layered])[] {
  if (directionOf(query) === 1) return entries.changed(rangeOf(query), undone, limit);
  const { prefix, after } = query;
  const changed = entries.changed(rangeOf({ prefix }), undone, Number.POSITIVE_INFINITY).toReversed();
  return after === undefined ? changed : changed.filter(([key]) => compareKeyText(key, keyTextOf(after)) < 0);
}

function rangeOf({ prefix, after }: Pick<KvListQuery, "prefix" | "after">): KeyRange {
  // The store's own rows lie before it.
  const first = prefix < FIRST_KEY ? FIRST_KEY : keyTextOf(prefix);
  // The smallest key after `after` is `after` and a zero byte.
  const next = after === undefined ? first : keyTextOf(`${after}\u0000`);
  return { prefix, from: compareKeyText(next, first) > 0 ? next : first };
}

function diskRangeOf({ prefix, from }: KeyRange): Required<Pick<StoreRange, "from" | "to">> {
  // No byte of UTF-8 is 0xff: everything with the prefix lies before it.
  return { from: Buffer.from(from), to: Buffer.concat([Buffer.from(prefix), Uint8Array.of(0xff)]) };
}

function diskRangeTo(query: KvListQuery): StoreRange {
  if (directionOf(query) === 1) return diskRangeOf(rangeOf(query));
  const { prefix, after } = query;
  const { from, to } = diskRangeOf(rangeOf({ prefix }));
  const before = after === undefined ? to : Buffer.from(after);
  return { from, to: Buffer.compare(before, to) < 0 ? before : to, reverse: true };
}

/** Rows of the disk with the changes over them, both in the order of keys of this direction. */
async function* mergeRows(
  changed: readonly (readonly [KeyText, Layered])[],
  disk: AsyncIterable<StoreEntry>,
  direction: 1 | -1,
): AsyncGenerator<readonly [KeyText, StoredEntry]> {
  let next = 0;
  for await (const [keyBytes, row] of disk) {
    const key = keyTextOf(Buffer.from(keyBytes.buffer, keyBytes.byteOffset, keyBytes.byteLength).toString());
    for (; next < changed.length; next++) {
      const change = changed[next];
      if (change === undefined || direction * compareKeyText(change[0], key) >= 0) break;
      if (change[1] !== "absent") yield [change[0], change[1]];
    }
    if (changed[next]?.[0] === key) continue;
    yield [key, decodeRow(keyBytes, row)];
  }
  for (const [key, found] of changed.slice(next)) {
    if (found !== "absent") yield [key, found];
  }
}

/** Rows hold only keys that were parsed before they were proposed. */
function keyTextOf(text: string): KeyText {
  return text as KeyText;
}

function writeFailure(cause: Error): AetherError {
  const known = toAetherError(cause);
  if (known.code === "E_DATA_CORRUPT") return known;
  const message = `cannot write a checkpoint: ${cause.message}; what is on disk is not known, so the node stops`;
  return new AetherError("E_DISK", message, { cause });
}
