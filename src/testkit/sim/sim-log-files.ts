// Owns: the files of a simulated log, on a simulated disk: the code that real nodes keep their journals with runs on
// them unchanged. A file is its name and size, and what was written to it, a row per write; the rest of it is zero.
// A crash leaves of each write under way what it likes: its sectors in any order, a length in between. What only the
// process lost can be read again, and goes with the power unless it is written once more.
import { assert } from "../../base/assert.ts";
import type { Random } from "../../base/random.ts";
import type { LogPort } from "../../env/append-log.ts";
import type { Clock } from "../../env/clock.ts";
import type { OrderedStore, StoreEntry, StoreOp, StorePort } from "../../env/store.ts";
import { SECTOR_BYTES } from "../../storage/core/segment-format.ts";
import type { LogFile, LogFiles } from "../../storage/log-files.ts";
import { openLogIn, type SegmentSizes } from "../../storage/segment-log.ts";
import type { FileRules } from "./sim-store.ts";

/** Small, so that a run of some seconds fills many. */
const SIZES: SegmentSizes = { first: 16 * SECTOR_BYTES, max: 64 * SECTOR_BYTES };

/** Before all rows of content. */
const FILE_PREFIX = "!";
const PLACE_DIGITS = 10;
/** Of the name of a file that is not complete. */
const FRESH_SUFFIX = ".new";

export interface SimLogPorts {
  readonly stores: StorePort;
  readonly clock: Pick<Clock, "defer">;
  /** Lets promises go on before the next event. */
  readonly settleSoon: () => void;
  readonly wrap?: WrapFiles;
}

/** Wraps the files of a log, for faults that a test plants there. */
export type WrapFiles = (files: LogFiles) => LogFiles;

export function createSimLogPort({ stores, clock, settleSoon, wrap = (files) => files }: SimLogPorts): LogPort {
  return {
    open: async (name) => {
      const store = await stores.open(name);
      try {
        const files = wrap(new SimLogFiles({ name, store, clock, settleSoon }));
        const log = await openLogIn({ files, openBase: () => stores.open(baseOf(name)), sizes: SIZES });
        const close = log.close.bind(log);
        log.close = async () => {
          await close();
          await store.close();
        };
        return log;
      } catch (error) {
        await store.close();
        throw error;
      }
    },
    destroy: async (name) => {
      await Promise.all([stores.destroy(name), stores.destroy(baseOf(name))]);
    },
  };
}

/** The store of a log's base. */
export function baseOf(name: string): string {
  return `${name}.base`;
}

/** What files have of writes that were cut short, and which of these a later write puts on the disk. */
export const FILE_RULES: FileRules = { leftOf, stillCached };

/** Nothing, all of it, or some of its sectors, in any order, and of a file that grows any length in between. */
function leftOf(
  ops: readonly StoreOp[], before: (key: Uint8Array) => Uint8Array | undefined, random: Random,
): readonly StoreOp[] {
  const kind = random.below(4);
  if (kind === 0) return [];
  if (kind === 1 || !isOneWrite(ops)) return ops;
  const sizeOp = ops.find((op) => op.kind === "put" && isFileKey(op.key));
  const size = sizeOp === undefined ? undefined : drawSize(ops, sizeOp.key, random);
  return ops.flatMap((op): readonly StoreOp[] => {
    if (isFileKey(op.key)) return [op === sizeOp && size !== undefined ? { ...op, key: size.key } : op];
    const old = before(op.key) ?? new Uint8Array(0);
    const full = op.kind === "put" ? op.value : new Uint8Array(old.byteLength);
    const room = size === undefined ? full.byteLength : Math.max(0, size.bytes - placeOf(op.key));
    const value = mixSectors(old, full.subarray(0, room), random);
    return value.byteLength === 0 ? [] : [{ kind: "put", key: op.key, value }];
  });
}

/** A place that is written, or one that is cleared; names are made, changed and removed as a whole. */
function isOneWrite(ops: readonly StoreOp[]): boolean {
  const rows = ops.filter((op) => !isFileKey(op.key));
  const puts = rows.filter((op) => op.kind === "put").length;
  const isOfOneFile = new Set(ops.map((op) => nameOf(op.key))).size === 1;
  const hasSizes = ops.length > rows.length;
  return isOfOneFile && (puts === 1 ? rows.length === 1 : puts === 0 && !hasSizes);
}

/** Between what the file had and what it would have had. */
function drawSize(
  ops: readonly StoreOp[], key: Uint8Array, random: Random,
): { readonly key: Uint8Array; readonly bytes: number } {
  const old = ops.find((op) => op.kind === "delete" && isFileKey(op.key));
  const [from, to] = [old === undefined ? 0 : sizeIn(old.key), sizeIn(key)];
  const bytes = from + SECTOR_BYTES * random.below((to - from) / SECTOR_BYTES + 1);
  return { key: fileKey(nameOf(key), bytes), bytes };
}

function mixSectors(old: Uint8Array, full: Uint8Array, random: Random): Uint8Array {
  const value = Uint8Array.from(full);
  for (let at = 0; at < value.byteLength; at += SECTOR_BYTES) {
    if (random.below(2) === 0) continue;
    value.fill(0, at, at + SECTOR_BYTES);
    value.set(old.subarray(at, Math.min(at + SECTOR_BYTES, value.byteLength)), at);
  }
  return value;
}

/** A write puts its own place on the disk, and with it the name and the length of its file. */
function stillCached(written: readonly Uint8Array[], cached: readonly Uint8Array[]): readonly Uint8Array[] {
  const names = new Set(written.map(nameOf));
  const hasName = (key: Uint8Array): boolean => isFileKey(key) && names.has(nameOf(key));
  const isRenamed = new Set(cached.map(nameOf)).size > 1;
  if (isRenamed) return cached.some(hasName) ? [] : cached;
  return cached.filter((key) => !hasName(key) && !written.some((place) => Buffer.compare(place, key) === 0));
}

interface FilePorts extends Pick<SimLogPorts, "clock" | "settleSoon"> {
  readonly name: string;
  readonly store: OrderedStore;
}

class SimLogFiles implements LogFiles {
  private readonly name: string;
  private readonly store: OrderedStore;
  private readonly ports: FilePorts;

  constructor(ports: FilePorts) {
    this.name = ports.name;
    this.store = ports.store;
    this.ports = ports;
  }

  pathOf(name: string): string {
    return `the simulated ${this.name}/${name}`;
  }

  async list(): Promise<readonly string[]> {
    const found = await this.files();
    const names = found.map(({ name, size }): StoreOp => {
      return { kind: "put", key: fileKey(name, size), value: new Uint8Array(0) };
    });
    if (names.length > 0) await this.write(names);
    return found.map(({ name }) => name);
  }

  async read(name: string): Promise<Buffer> {
    const bytes = Buffer.alloc(await this.sizeOf(name));
    for (const [key, value] of await this.rows(name)) bytes.set(value, placeOf(key));
    return bytes;
  }

  async open(name: string, mode: "existing" | "new"): Promise<LogFile> {
    if (mode === "new") {
      await this.remove(name);
      await this.write([{ kind: "put", key: fileKey(name, 0), value: new Uint8Array(0) }]);
    }
    const places = (await this.rows(name)).map(([key]) => placeOf(key));
    return new SimLogFile({ ...this.ports, name }, new Set(places), await this.sizeOf(name));
  }

  async rename(from: string, to: string): Promise<void> {
    const rows = await this.rows(from);
    const size = await this.sizeOf(from);
    await this.write([
      { kind: "delete", key: fileKey(from, size) },
      ...rows.map(([key]): StoreOp => ({ kind: "delete", key })),
      { kind: "put", key: fileKey(to, size), value: new Uint8Array(0) },
      ...rows.map(([key, value]): StoreOp => ({ kind: "put", key: rowKey(to, placeOf(key)), value })),
    ]);
  }

  async remove(name: string): Promise<void> {
    const rows = await this.rows(name);
    const found = (await this.files()).filter((file) => file.name === name);
    const keys = [...found.map(({ size }) => fileKey(name, size)), ...rows.map(([key]) => key)];
    if (keys.length > 0) await this.write(keys.map((key): StoreOp => ({ kind: "delete", key })));
  }

  defer(fire: () => void): void {
    this.ports.clock.defer(fire);
  }

  private async sizeOf(name: string): Promise<number> {
    const found = (await this.files()).find((file) => file.name === name);
    assert(found !== undefined, "a file of the simulator is there when it is opened");
    return found.size;
  }

  private async files(): Promise<readonly { readonly name: string; readonly size: number }[]> {
    this.ports.settleSoon();
    const rows = await collect(this.store, FILE_PREFIX, "\"");
    return rows.map(([key]) => ({ name: nameOf(key), size: sizeIn(key) }));
  }

  private rows(name: string): Promise<readonly StoreEntry[]> {
    return collect(this.store, `${name}/`, `${name}0`);
  }

  private write(ops: readonly StoreOp[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.store.write(ops, (failure) => {
        this.ports.settleSoon();
        if (failure === undefined) resolve();
        else reject(failure);
      });
    });
  }
}

class SimLogFile implements LogFile {
  private readonly name: string;
  private readonly store: OrderedStore;
  private readonly settleSoon: () => void;
  /** Where its rows begin. */
  private readonly places: Set<number>;
  private size: number;

  constructor({ name, store, settleSoon }: FilePorts, places: Set<number>, size: number) {
    this.name = name;
    this.store = store;
    // What is written to a file that is being made is waited for with promises; the end of a record is told at once.
    this.settleSoon = name.endsWith(FRESH_SUFFIX) ? settleSoon : () => undefined;
    this.places = places;
    this.size = size;
  }

  write(bytes: Buffer, at: number, done: (failure?: Error) => void): void {
    const end = at + bytes.byteLength;
    const isBlank = !bytes.some((byte) => byte !== 0);
    const ops: StoreOp[] = [...this.leftAfter(end, at)];
    for (const place of this.places) {
      if (place < at || place >= end || (place === at && !isBlank)) continue;
      ops.push({ kind: "delete", key: rowKey(this.name, place) });
      this.places.delete(place);
    }
    if (end > this.size) {
      ops.push({ kind: "delete", key: fileKey(this.name, this.size) });
      this.size = end;
      ops.push({ kind: "put", key: fileKey(this.name, end), value: new Uint8Array(0) });
    }
    if (!isBlank) ops.push({ kind: "put", key: rowKey(this.name, at), value: bytes });
    for (const op of ops) if (op.kind === "put" && op.value.byteLength > 0) this.places.add(placeOf(op.key));
    this.store.write(ops, (failure) => {
      this.settleSoon();
      done(failure);
    });
  }

  /** What a longer write at the same place had put behind the end of this one. */
  private leftAfter(end: number, at: number): readonly StoreOp[] {
    const before = this.places.has(at) ? this.store.getSync(rowKey(this.name, at)) : undefined;
    if (before === undefined || before.byteLength <= end - at) return [];
    return [{ kind: "put", key: rowKey(this.name, end), value: before.subarray(end - at) }];
  }

  readSync(bytes: Buffer, at: number): number {
    const row = this.store.getSync(rowKey(this.name, at));
    bytes.fill(0);
    if (row !== undefined) bytes.set(row.subarray(0, bytes.byteLength));
    return Math.min(bytes.byteLength, this.size - at);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

async function collect(store: OrderedStore, from: string, to: string): Promise<readonly StoreEntry[]> {
  const rows: StoreEntry[] = [];
  for await (const row of store.entries({ from: bytesOf(from), to: bytesOf(to) })) rows.push(row);
  return rows;
}

/** The size is part of the key: bits of a value rot, and no disk turns those of a file's size. */
function fileKey(name: string, size: number): Uint8Array {
  return bytesOf(`${FILE_PREFIX}${name}/${size}`);
}

function rowKey(name: string, place: number): Uint8Array {
  return bytesOf(`${name}/${String(place).padStart(PLACE_DIGITS, "0")}`);
}

function isFileKey(key: Uint8Array): boolean {
  return textOf(key).startsWith(FILE_PREFIX);
}

/** The file that a row is about. */
function nameOf(key: Uint8Array): string {
  const text = textOf(key);
  return text.slice(isFileKey(key) ? FILE_PREFIX.length : 0, text.lastIndexOf("/"));
}

function sizeIn(key: Uint8Array): number {
  const text = textOf(key);
  return Number(text.slice(text.lastIndexOf("/") + 1));
}

function placeOf(key: Uint8Array): number {
  return Number(textOf(key).slice(-PLACE_DIGITS));
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}
