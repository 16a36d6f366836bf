// Owns: a numbered log in files of its own, the journal of a real node: which file is written, which may go, what a
// start finds. The base is a row of a small LevelDB beside them: it is replaced atomically there, and LevelDB's lock
// keeps a second process out, which Node offers in no other way.
// Does not own: what bytes mean (core/segment-format.ts), reading and writing one file (segment-file.ts), the disk
// (log-files.ts).
import { assert, present } from "../base/assert.ts";
import { crc32 } from "../base/digest.ts";
import { AetherError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import type { AppendLog, LogRecord } from "../env/append-log.ts";
import type { OrderedStore } from "../env/store.ts";
import { damaged, encodeLogRecord } from "./core/segment-format.ts";
import type { LogFiles } from "./log-files.ts";
import { SegmentFile } from "./segment-file.ts";

/** The first file of a log is small, because many logs stay small; each next one is twice as large, up to this. */
const SEGMENT_BYTES_MAX = 16 * MiB;
const SEGMENT_BYTES_FIRST = 1 * MiB;
const SIZES: SegmentSizes = { first: SEGMENT_BYTES_FIRST, max: SEGMENT_BYTES_MAX };

const SEGMENT_NAME = /^(\d{10})\.seg$/;
const BASE_KEY = Uint8Array.of(0);

type Done = (failure?: Error) => void;

export interface SegmentSizes {
  readonly first: number;
  readonly max: number;
}

export interface SegmentLogPlace {
  /** The segments, in a folder of the log's own. */
  readonly files: LogFiles;
  /** Where the base is: a store that nobody else has open. */
  readonly openBase: () => Promise<OrderedStore>;
  /** In bytes, multiples of a sector. */
  readonly sizes?: SegmentSizes;
}

/**
 * @throws AetherError E_DATA_LOCKED when another process has it, E_DATA_CORRUPT, E_VERSION, E_CONFIG when the folder
 * cannot be used, E_DISK
 */
export async function openLogIn({ files, openBase, sizes = SIZES }: SegmentLogPlace): Promise<AppendLog> {
  const store = await openBase();
  const folder: Folder = { files, sizes, path: files.pathOf("") };
  const segments: SegmentFile[] = [];
  try {
    const base = readBase(store, folder.path);
    await openSegments(folder, base, segments);
    return new SegmentLog(folder, store, base, segments);
  } catch (error) {
    for (const segment of segments) await segment.close();
    await store.close();
    if (error instanceof AetherError) throw error;
    throw new AetherError("E_DISK", `cannot open ${folder.path}: ${textOf(error)}; check the disk`, { cause: error });
  }
}

interface Folder {
  readonly files: LogFiles;
  readonly sizes: SegmentSizes;
  readonly path: string;
}

interface Base {
  readonly bytes: Uint8Array | undefined;
  readonly firstKept: number;
  /** The file that has the record `firstKept`, or will have it. */
  readonly firstSegment: number;
}

class SegmentLog implements AppendLog {
  base: Uint8Array | undefined;
  first: number;
  last: number;
  private readonly folder: Folder;
  private readonly store: OrderedStore;
  /** Oldest first. The last one is written; before it is full another one is prepared. */
  private readonly segments: SegmentFile[];
  private spare: Promise<SegmentFile> | undefined;
  /** What `spare` has become. */
  private ready: SegmentFile | undefined;
  private readonly queue: { readonly number: number; readonly record: Buffer; readonly done: Done }[] = [];
  private isWriting = false;
  private failure: Error | undefined;
  /** Removals of files under way. */
  private readonly removals = new Set<Promise<void>>();
  private closing: Promise<void> | undefined;
  private onIdle: (() => void) | undefined;

  constructor(folder: Folder, store: OrderedStore, base: Base, segments: SegmentFile[]) {
    this.folder = folder;
    this.store = store;
    this.base = base.bytes;
    this.first = base.firstKept;
    this.segments = segments;
    this.last = Math.max(base.firstKept - 1, ...segments.map((segment) => segment.last));
  }

  append(bytes: Uint8Array, done: Done): void {
    if (this.closing !== undefined) {
      this.folder.files.defer(() => done(new AetherError("E_UNAVAILABLE", "a record came after the log was closed")));
      return;
    }
    this.last += 1;
    this.queue.push({ number: this.last, record: encodeLogRecord(this.last, bytes), done });
    this.writeNext();
  }

  readSync(number: number): Uint8Array | undefined {
    if (number < this.first) return undefined;
    return this.segments.findLast((segment) => !segment.isEmpty && segment.first <= number && number <= segment.last)
      ?.read(number);
  }

  async *records(): AsyncGenerator<LogRecord> {
    for (let number = this.first; number <= this.last; number++) {
      const bytes = this.readSync(number);
      if (bytes === undefined) throw damaged(this.folder.path, `record ${number} is missing`);
      yield await Promise.resolve({ number, bytes });
    }
  }

  cut(firstKept: number, base: Uint8Array, done: Done): void {
    assert(firstKept >= this.first && firstKept <= this.last + 1, "a log is cut where it has records");
    const kept = this.segments.find((segment) => segment.last >= firstKept) ?? this.active;
    this.first = firstKept;
    this.base = Uint8Array.from(base);
    const row = encodeBase({ bytes: base, firstKept, firstSegment: kept.sequence });
    this.store.write([{ kind: "put", key: BASE_KEY, value: row }], (failure) => {
      if (failure === undefined) this.dropBefore(kept.sequence);
      else this.failure ??= failure;
      done(failure);
    });
  }

  close(): Promise<void> {
    this.closing ??= this.closeWhenIdle();
    return this.closing;
  }

  private get active(): SegmentFile {
    return present(this.segments.at(-1), "a log has a segment");
  }

  private writeNext(): void {
    const [next] = this.queue;
    if (this.isWriting || next === undefined) return;
    this.isWriting = true;
    if (this.failure !== undefined) this.folder.files.defer(() => this.end(this.failure));
    else if (!this.active.hasRoomFor(next.record)) this.useSpare();
    else this.active.write(next.number, next.record, (failure) => this.end(failure));
  }

  /** The oldest record that waits is written, or will never be: a write that failed once may have done anything. */
  private end(failure: Error | undefined): void {
    this.failure ??= failure;
    this.isWriting = false;
    this.queue.shift()?.done(this.failure);
    if (this.active.isHalfFull) void this.prepareSpare();
    this.writeNext();
    if (!this.isWriting) this.onIdle?.();
  }

  private prepareSpare(): Promise<SegmentFile> {
    if (this.spare === undefined) {
      this.spare = createSegment(this.folder, this.active.sequence + 1);
      this.spare.then(
        (segment) => {
          this.ready = segment;
        },
        // ignored: it is tried again, and reported, when it is needed
        () => {
          this.spare = undefined;
        },
      );
    }
    return this.spare;
  }

  private useSpare(): void {
    if (this.ready !== undefined) return this.continueIn(this.ready);
    this.prepareSpare().then(
      (segment) => this.continueIn(segment),
      (error: unknown) => this.end(error instanceof Error ? error : new AetherError("E_DISK", String(error))),
    );
  }

  private continueIn(segment: SegmentFile): void {
    this.spare = undefined;
    this.ready = undefined;
    this.segments.push(segment);
    this.isWriting = false;
    this.writeNext();
  }

  private dropBefore(sequence: number): void {
    const kept = this.segments.findIndex((segment) => segment.sequence >= sequence);
    for (const segment of this.segments.splice(0, kept)) {
      // ignored: the next start removes what is older than its base
      const removal = segment.remove().catch(() => undefined).finally(() => this.removals.delete(removal));
      this.removals.add(removal);
    }
  }

  private async closeWhenIdle(): Promise<void> {
    if (this.isWriting) {
      await new Promise<void>((resolve) => {
        this.onIdle = resolve;
      });
    }
    // Waits for the base that is being written, if any.
    await this.store.close();
    await Promise.all(this.removals);
    // ignored: what could not be prepared is not needed any more
    const spare = await this.spare?.catch(() => undefined);
    for (const segment of [...this.segments, ...(spare === undefined ? [] : [spare])]) await segment.close();
  }
}

/** Opens what there is, oldest first, and makes the end fit to be continued. */
async function openSegments(folder: Folder, base: Base, segments: SegmentFile[]): Promise<void> {
  const { files, path } = folder;
  const sequences = await listSegments(files, base.firstSegment);
  if (sequences.length === 0) {
    if (base.bytes !== undefined) throw damaged(path, `the file ${nameOf(base.firstSegment)} is missing`);
    segments.push(await createSegment(folder, base.firstSegment));
    return;
  }
  let expected = base.bytes === undefined ? 1 : undefined;
  let torn: SegmentFile | undefined;
  for (const [at, sequence] of sequences.entries()) {
    if (sequence !== base.firstSegment + at) {
      throw damaged(path, `the file ${nameOf(base.firstSegment + at)} is missing`);
    }
    const { segment, isTorn } = await SegmentFile.open({ files, name: nameOf(sequence), sequence }, expected);
    segments.push(segment);
    if (torn !== undefined && !segment.isEmpty) throw damaged(torn.path, `what follows record ${torn.last} is damaged`);
    if (isTorn) torn = segment;
    if (!segment.isEmpty) expected = segment.last + 1;
  }
  checkReaches(path, base, segments);
  await repairEnd(segments, torn);
}

/** The records that the base continues must be there. */
function checkReaches(path: string, { firstKept }: Base, segments: readonly SegmentFile[]): void {
  const first = segments.find((segment) => !segment.isEmpty)?.first ?? firstKept;
  const last = segments.findLast((segment) => !segment.isEmpty)?.last ?? firstKept - 1;
  if (first > firstKept) throw damaged(path, `it misses record ${firstKept} (found ${first})`);
  if (last < firstKept - 1) throw damaged(path, `it misses record ${firstKept - 1} (ends at ${last})`);
}

/** Clears torn ends, settles the last record, and lets go of empty files after the one that is written next. */
async function repairEnd(segments: SegmentFile[], torn: SegmentFile | undefined): Promise<void> {
  await torn?.repair("torn");
  const newest = segments.findLast((segment) => !segment.isEmpty);
  if (newest !== torn) await newest?.repair("whole");
  while (segments.length > 1 && segments.at(-1)?.isEmpty === true) await segments.pop()?.remove();
}

async function listSegments(files: LogFiles, firstSegment: number): Promise<readonly number[]> {
  const names = await files.list();
  for (const name of names) if (name.endsWith(".new")) await files.remove(name);
  const sequences = names.flatMap((name) => SEGMENT_NAME.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
  for (const sequence of sequences) if (sequence < firstSegment) await files.remove(nameOf(sequence));
  return sequences.filter((sequence) => sequence >= firstSegment);
}

function createSegment({ files, sizes }: Folder, sequence: number): Promise<SegmentFile> {
  const bytes = Math.min(sizes.first * 2 ** (sequence - 1), sizes.max);
  return SegmentFile.create({ files, name: nameOf(sequence), sequence }, bytes);
}

function nameOf(sequence: number): string {
  return `${String(sequence).padStart(10, "0")}.seg`;
}

const BASE_HEAD_BYTES = 20;

function encodeBase({ bytes, firstKept, firstSegment }: Base & { readonly bytes: Uint8Array }): Uint8Array {
  const row = Buffer.allocUnsafe(BASE_HEAD_BYTES + bytes.byteLength);
  row.writeBigUInt64BE(BigInt(firstKept), 4);
  row.writeBigUInt64BE(BigInt(firstSegment), 12);
  row.set(bytes, BASE_HEAD_BYTES);
  row.writeUInt32BE(crc32(row.subarray(4)), 0);
  return row;
}

function readBase(store: OrderedStore, path: string): Base {
  const found = store.getSync(BASE_KEY);
  if (found === undefined) return { bytes: undefined, firstKept: 1, firstSegment: 1 };
  const row = Buffer.from(found);
  if (row.byteLength < BASE_HEAD_BYTES || row.readUInt32BE(0) !== crc32(row.subarray(4))) {
    throw damaged(path, "its base is damaged");
  }
  return {
    firstKept: Number(row.readBigUInt64BE(4)),
    firstSegment: Number(row.readBigUInt64BE(12)),
    bytes: row.subarray(BASE_HEAD_BYTES),
  };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
