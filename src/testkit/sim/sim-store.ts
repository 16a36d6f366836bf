// Owns: disks that lose what was not fsynced. A disk outlives the processes that open it.
//
// Writes reach the disk one after the other, as OrderedStore promises. A crash keeps any number of the oldest writes
// under way, so a write may be durable although its callback never ran, and drops the others. Files, which are no
// database, may keep any part of any of them; and what was under way when only the process died can be read by the next
// one, and be gone once more when power is cut later.
import { assert } from "../../base/assert.ts";
import { crc32 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";
import type { KeyRange, OrderedStore, StoreBatch, StoreEntry, StoreOp } from "../../env/store.ts";
import { createOpBatch } from "../../storage/op-batch.ts";
import type { SimProcess } from "./sim-process.ts";
import type { World } from "./world.ts";

/** How the disks of one node behave now; the nemesis edits it. */
export interface DiskProfile {
  /** 1 = a good SSD: 0.1 to 3 ms, rarely some 50 ms. */
  slowness: number;
  /** The next fsync takes so much longer. */
  stallMs: number;
  /** Every write fails. */
  failing?: "io" | "full";
}

export type WriteStage = "queued" | "durable";

/** Puts right bits back, unless what they were in was written anew. */
export type Repair = () => void;

interface PendingWrite {
  readonly ops: readonly StoreOp[];
}

const SMOOTH_MS_MIN = 0.1;
const SMOOTH_MS_MEAN = 0.6;
const SMOOTH_MS_MAX = 3;
const HICCUP_RATE = 0.01;
const HICCUP_MS_MAX = 50;
const FAILURES = {
  io: "the simulated disk reports an I/O error",
  full: "the simulated disk has no space left",
} as const;

/** What is special about files. */
export interface FileRules {
  /** What a crash leaves of a write that was under way. */
  leftOf(
    ops: readonly StoreOp[], before: (key: Uint8Array) => Uint8Array | undefined, random: Random,
  ): readonly StoreOp[];
  /** What only memory has, of one write, also after these places were written. */
  stillCached(written: readonly Uint8Array[], cached: readonly Uint8Array[]): readonly Uint8Array[];
}

/** What a place held on the disk while memory had something else. */
interface Cached {
  readonly key: Uint8Array;
  readonly onDisk: StoreEntry | undefined;
}

/** The bytes of one store of one node. */
export class SimDisk {
  /** Keyed by the key's bytes as latin-1 text, whose order is the order of the bytes. */
  private readonly content = new Map<string, StoreEntry>();
  private pending: PendingWrite[] = [];
  isOpen = false;
  private readonly files: FileRules | undefined;
  /** What the next power cut may undo, write by write. */
  private cached: (readonly Cached[])[] = [];

  constructor(files?: FileRules) {
    this.files = files;
  }

  get size(): number {
    return this.content.size;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.content.get(textOf(key))?.[1];
  }

  enqueue(ops: readonly StoreOp[]): PendingWrite {
    const write = { ops };
    this.pending.push(write);
    return write;
  }

  get pendingCount(): number {
    return this.pending.length;
  }

  /** What is on the disk, for a restore of this moment. */
  copy(): ReadonlyMap<string, StoreEntry> {
    return new Map(this.content);
  }

  /** Replaces everything; only for a disk that nobody has open. */
  restore(content: ReadonlyMap<string, StoreEntry>): void {
    assert(!this.isOpen, "a simulated disk is restored while nobody has it open");
    this.content.clear();
    this.cached = [];
    for (const [key, entry] of content) this.content.set(key, entry);
  }

  /** The oldest write under way has come to its end: from now on it is on the disk, or it failed. */
  complete(write: PendingWrite, result: "durable" | "failed"): void {
    const oldest = this.pending.shift();
    assert(oldest === write, "simulated writes become durable in the order of calls");
    if (result === "durable") this.settle(write.ops);
  }

  /** Turns one bit of one value. */
  rot(random: Random): Repair | undefined {
    const entries = [...this.content].filter(([, [, value]]) => value.byteLength > 0);
    const found = entries[random.below(entries.length)];
    if (found === undefined) return undefined;
    const [text, [key, right]] = found;
    const rotten = Uint8Array.from(right);
    const at = random.below(rotten.byteLength);
    rotten[at] = (rotten[at] ?? 0) ^ (1 << random.below(8));
    this.content.set(text, [key, rotten]);
    return () => {
      if (this.content.get(text)?.[1] === rotten) this.content.set(text, [key, right]);
    };
  }

  /** Power is cut, or only the process is gone. */
  crash(kind: "power" | "process", random: Random): void {
    const { files, pending } = this;
    this.pending = [];
    this.isOpen = false;
    if (files === undefined) {
      for (const { ops } of pending.slice(0, random.below(pending.length + 1))) this.apply(ops);
      return;
    }
    if (kind === "power") this.loseCached(random);
    for (const { ops } of pending) {
      const left = files.leftOf(ops, (key) => this.get(key), random);
      if (kind === "process") this.cached.push(left.map(({ key }) => ({ key, onDisk: this.content.get(textOf(key)) })));
      this.apply(left);
    }
  }

  private loseCached(random: Random): void {
    for (const write of this.cached.reverse()) {
      if (random.below(2) === 0) continue;
      for (const { key, onDisk } of write) {
        if (onDisk === undefined) this.content.delete(textOf(key));
        else this.content.set(textOf(key), onDisk);
      }
    }
    this.cached = [];
  }

  entries(range: KeyRange): StoreEntry[] {
    const from = range.from === undefined ? undefined : textOf(range.from);
    const to = range.to === undefined ? undefined : textOf(range.to);
    const keys: string[] = [];
    for (const key of this.content.keys()) {
      if ((from === undefined || key >= from) && (to === undefined || key < to)) keys.push(key);
    }
    keys.sort(byCodeUnit);
    if (range.reverse === true) keys.reverse();
    const picked: StoreEntry[] = [];
    for (const key of keys) {
      const entry = this.content.get(key);
      if (entry !== undefined) picked.push(entry);
    }
    return picked;
  }

  private settle(ops: readonly StoreOp[]): void {
    this.apply(ops);
    const { files, cached } = this;
    if (files === undefined || cached.length === 0) return;
    const written = ops.map(({ key }) => key);
    this.cached = cached.flatMap((write) => {
      const still = files.stillCached(written, write.map(({ key }) => key));
      return still.length === 0 ? [] : [write.filter(({ key }) => still.includes(key))];
    });
  }

  private apply(ops: readonly StoreOp[]): void {
    for (const op of ops) {
      if (op.kind === "put") this.content.set(textOf(op.key), [op.key, op.value]);
      else this.content.delete(textOf(op.key));
    }
  }
}

/** One process's handle on a disk. */
export class SimStore implements OrderedStore {
  private readonly world: World;
  private readonly process: SimProcess;
  private readonly disk: SimDisk;
  private readonly profile: DiskProfile;
  private readonly random: Random;
  private readonly onWrite: (stage: WriteStage) => void;
  private busyUntilMs = 0;
  private isClosing = false;
  private whenIdle: (() => void)[] = [];

  constructor(ports: {
    readonly world: World;
    readonly process: SimProcess;
    readonly disk: SimDisk;
    readonly profile: DiskProfile;
    readonly random: Random;
    readonly onWrite?: (stage: WriteStage) => void;
  }) {
    this.world = ports.world;
    this.process = ports.process;
    this.disk = ports.disk;
    this.profile = ports.profile;
    this.random = ports.random;
    this.onWrite = ports.onWrite ?? ((): void => undefined);
    this.disk.isOpen = true;
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    return this.disk.get(key);
  }

  write(ops: readonly StoreOp[], done: (failure?: Error) => void): void {
    // What a dead process still does in its last turn reaches nothing.
    if (!this.process.isAlive) return;
    if (!this.disk.isOpen || this.isClosing) {
      const failure = new AetherError("E_UNAVAILABLE", "a write came after the simulated store was closed");
      this.world.schedule({ delayMs: 0, kind: "fsync", process: this.process }, () => done(failure));
      return;
    }
    const write = this.disk.enqueue(ops.map(copyOf));
    const startMs = Math.max(this.world.nowMs, this.busyUntilMs);
    this.busyUntilMs = startMs + this.drawFsyncMs();
    const delayMs = Math.max(this.busyUntilMs - this.world.nowMs, SMOOTH_MS_MIN);
    this.world.schedule({ delayMs, kind: "fsync", process: this.process, checksum: checksumOf(ops) }, () => {
      const { failing } = this.profile;
      this.disk.complete(write, failing === undefined ? "durable" : "failed");
      if (failing === undefined) {
        this.onWrite("durable");
        done();
      } else done(new AetherError("E_UNAVAILABLE", FAILURES[failing]));
      this.notifyIdle();
    });
    this.onWrite("queued");
  }

  begin(): StoreBatch {
    return createOpBatch(this);
  }

  entries(range: KeyRange): AsyncIterable<StoreEntry> {
    return iterate(this.disk.entries(range));
  }

  /** Resolves once the writes under way are durable. */
  async close(): Promise<void> {
    this.isClosing = true;
    if (this.disk.pendingCount > 0) {
      await new Promise<void>((resolve) => {
        this.whenIdle.push(resolve);
      });
    }
    this.disk.isOpen = false;
  }

  private notifyIdle(): void {
    if (this.disk.pendingCount > 0) return;
    const waiting = this.whenIdle;
    this.whenIdle = [];
    for (const resolve of waiting) resolve();
  }

  private drawFsyncMs(): number {
    const { stallMs } = this.profile;
    this.profile.stallMs = 0;
    const hiccup = this.random.next() < HICCUP_RATE ? this.random.next() * HICCUP_MS_MAX : 0;
    const smooth = SMOOTH_MS_MIN - Math.log(1 - this.random.next()) * (SMOOTH_MS_MEAN - SMOOTH_MS_MIN);
    return (Math.min(smooth, SMOOTH_MS_MAX) + hiccup) * this.profile.slowness + stallMs;
  }
}

/** The caller of `entries` has its snapshot before it asks for the first entry. */
async function* iterate(entries: readonly StoreEntry[]): AsyncGenerator<StoreEntry> {
  for (const entry of entries) yield await Promise.resolve(entry);
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

function byCodeUnit(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

/** A disk keeps bytes, not references to a caller's buffers. */
function copyOf(op: StoreOp): StoreOp {
  if (op.kind === "delete") return { kind: "delete", key: Uint8Array.from(op.key) };
  return { kind: "put", key: Uint8Array.from(op.key), value: Uint8Array.from(op.value) };
}

function checksumOf(ops: readonly StoreOp[]): number {
  let checksum = ops.length;
  for (const op of ops) {
    checksum = crc32(op.key, checksum);
    if (op.kind === "put") checksum = crc32(op.value, checksum);
  }
  return checksum;
}
