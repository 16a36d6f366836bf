// Owns: disks that lose what was not fsynced. A disk outlives the processes that open it.
//
// Writes reach the disk one after the other, as OrderedStore promises. A crash keeps any number of the oldest writes
// under way, so a write may be durable although its callback never ran, and drops the others.
import { assert } from "../../base/assert.ts";
import { crc32 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";
import type { KeyRange, OrderedStore, StoreBatch, StoreEntry, StoreOp } from "../../env/store.ts";
import { createOpBatch } from "../../storage/op-batch.ts";
import type { SimProcess } from "./sim-process.ts";
import type { World } from "./world.ts";

/** How long fsyncs of one node take now; the nemesis edits it. */
export interface DiskProfile {
  /** 1 = a good SSD: 0.1 to 3 ms, rarely some 50 ms. */
  slowness: number;
}

interface PendingWrite {
  readonly ops: readonly StoreOp[];
}

const SMOOTH_MS_MIN = 0.1;
const SMOOTH_MS_MEAN = 0.6;
const SMOOTH_MS_MAX = 3;
const HICCUP_RATE = 0.01;
const HICCUP_MS_MAX = 50;

/** The bytes of one store of one node. */
export class SimDisk {
  /** Keyed by the key's bytes as latin-1 text, whose order is the order of the bytes. */
  private readonly content = new Map<string, StoreEntry>();
  private pending: PendingWrite[] = [];
  private isFailing = false;
  isOpen = false;

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

  /** From now on every write fails, as on a disk that reports an I/O error; a crash ends that. */
  failWrites(): void {
    this.isFailing = true;
  }

  /** What is on the disk, for a restore of this moment. */
  copy(): ReadonlyMap<string, StoreEntry> {
    return new Map(this.content);
  }

  /** Replaces everything; only for a disk that nobody has open. */
  restore(content: ReadonlyMap<string, StoreEntry>): void {
    assert(!this.isOpen, "a simulated disk is restored while nobody has it open");
    this.content.clear();
    for (const [key, entry] of content) this.content.set(key, entry);
  }

  /** The oldest write under way is on the disk from now on. */
  complete(write: PendingWrite): "durable" | "failed" {
    const oldest = this.pending.shift();
    assert(oldest === write, "simulated writes become durable in the order of calls");
    if (this.isFailing) return "failed";
    this.apply(write.ops);
    return "durable";
  }

  /** Power is cut: any number of the oldest writes under way had reached the disk. */
  crash(random: Random): void {
    const kept = random.below(this.pending.length + 1);
    for (const write of this.pending.slice(0, kept)) this.apply(write.ops);
    this.pending = [];
    this.isOpen = false;
    this.isFailing = false;
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
  private busyUntilMs = 0;
  private isClosing = false;
  private whenIdle: (() => void)[] = [];

  constructor(ports: {
    readonly world: World;
    readonly process: SimProcess;
    readonly disk: SimDisk;
    readonly profile: DiskProfile;
    readonly random: Random;
  }) {
    this.world = ports.world;
    this.process = ports.process;
    this.disk = ports.disk;
    this.profile = ports.profile;
    this.random = ports.random;
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
      if (this.disk.complete(write) === "durable") done();
      else done(new AetherError("E_UNAVAILABLE", "the simulated disk reports an I/O error"));
      this.notifyIdle();
    });
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
    const hiccup = this.random.next() < HICCUP_RATE ? this.random.next() * HICCUP_MS_MAX : 0;
    const smooth = SMOOTH_MS_MIN - Math.log(1 - this.random.next()) * (SMOOTH_MS_MEAN - SMOOTH_MS_MIN);
    return (Math.min(smooth, SMOOTH_MS_MAX) + hiccup) * this.profile.slowness;
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
