// Owns: one file of a log: preallocated, written in place so that a write changes nothing but data, and read again.
// Does not own: which file is written (segment-log.ts), what is in it (core/segment-format.ts), the disk
// (log-files.ts).
import { assert, present } from "../base/assert.ts";
import { AetherError } from "../base/errors.ts";
import { MiB } from "../base/units.ts";
import {
  checkSegmentHead,
  damaged,
  decodeLogRecord,
  encodeLogRecord,
  encodeSegmentHead,
  type RecordPlace,
  scanSegment,
  SECTOR_BYTES,
} from "./core/segment-format.ts";
import type { LogFile, LogFiles } from "./log-files.ts";

/** Zeros are written and synced in pieces, so that a record that comes meanwhile waits for one piece only. */
const ZEROS = Buffer.alloc(MiB);

type Done = (failure?: Error) => void;

/** Where a segment is. */
export interface SegmentPlace {
  readonly files: LogFiles;
  readonly name: string;
  readonly sequence: number;
}

export class SegmentFile {
  readonly sequence: number;
  private readonly files: LogFiles;
  private readonly name: string;
  private readonly file: LogFile;
  private readonly bytes: number;
  /** Where the records are, in sectors; numbered from `first` on. */
  private readonly sectors: number[] = [];
  private firstNumber = 0;
  private end = 1;
  private isOpen = true;

  private constructor({ files, name, sequence }: SegmentPlace, file: LogFile, bytes: number) {
    this.files = files;
    this.name = name;
    this.sequence = sequence;
    this.file = file;
    this.bytes = bytes;
  }

  /** Makes an empty one. Until it is complete it has another name, which `open` does not know. */
  static async create(place: SegmentPlace, bytes: number): Promise<SegmentFile> {
    const { files, name, sequence } = place;
    const fresh = `${name}.new`;
    try {
      await writeBlank(files, fresh, { sequence, bytes });
      await files.rename(fresh, name);
    } catch (error) {
      // A full disk should not stay full of what failed.
      await files.remove(fresh);
      throw error;
    }
    return new SegmentFile(place, await files.open(name, "existing"), bytes);
  }

  /**
   * Reads and checks an existing one, whose first record is `expected`, or any when absent. "torn" when a write at its
   * end was cut short; `repair` removes what it left.
   * @throws AetherError E_DATA_CORRUPT, E_VERSION
   */
  static async open(
    place: SegmentPlace,
    expected: number | undefined,
  ): Promise<{ readonly segment: SegmentFile; readonly isTorn: boolean }> {
    const { files, name, sequence } = place;
    const bytes = await files.read(name);
    const path = files.pathOf(name);
    checkSegmentHead(bytes, sequence, path);
    const { records, end, isTorn } = scanSegment(bytes, expected, path);
    const segment = new SegmentFile(place, await files.open(name, "existing"), bytes.byteLength);
    for (const record of records) segment.note(record, end);
    segment.end = end;
    return { segment, isTorn };
  }

  /** For messages. */
  get path(): string {
    return this.files.pathOf(this.name);
  }

  /** The newest record, or 0. */
  get last(): number {
    return this.count === 0 ? 0 : this.firstNumber + this.count - 1;
  }

  /** The oldest record, or 0. */
  get first(): number {
    return this.count === 0 ? 0 : this.firstNumber;
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  get isHalfFull(): boolean {
    return this.end * SECTOR_BYTES * 2 > this.bytes;
  }

  private get count(): number {
    return this.sectors.length;
  }

  /** One that holds nothing takes a record of any size: its file grows. */
  hasRoomFor(record: Buffer): boolean {
    return this.isEmpty || this.end * SECTOR_BYTES + record.byteLength <= this.bytes;
  }

  /** Adds a record, encoded for this number. One write at a time; a failure is never retried. */
  write(number: number, record: Buffer, done: Done): void {
    const sector = this.end;
    this.file.write(record, sector * SECTOR_BYTES, (failure) => {
      if (failure === undefined) this.note({ number, sector }, sector + record.byteLength / SECTOR_BYTES);
      done(failure);
    });
  }

  /** @throws AetherError E_DATA_CORRUPT, E_UNAVAILABLE */
  read(number: number): Uint8Array {
    if (!this.isOpen) throw new AetherError("E_UNAVAILABLE", `cannot read from ${this.path}: it is closed`);
    const at = number - this.firstNumber;
    const sector = present(this.sectors[at], "the record is in this segment");
    const bytes = Buffer.allocUnsafe(((this.sectors[at + 1] ?? this.end) - sector) * SECTOR_BYTES);
    if (this.file.readSync(bytes, sector * SECTOR_BYTES) < bytes.byteLength) {
      throw damaged(this.path, `record ${number} is cut off`);
    }
    return decodeLogRecord(bytes, number, this.path);
  }

  /**
   * Clears what a torn write left, and writes the last record once more: it may have been read from memory that never
   * reached the disk.
   */
  async repair(state: "torn" | "whole"): Promise<void> {
    if (state === "torn") await writeZeros(this.file, this.end * SECTOR_BYTES, this.bytes);
    if (this.isEmpty) return;
    const sector = present(this.sectors.at(-1), "it has records");
    await write(this.file, encodeLogRecord(this.last, this.read(this.last)), sector * SECTOR_BYTES);
  }

  /** Not while a write is under way. */
  async close(): Promise<void> {
    if (!this.isOpen) return;
    this.isOpen = false;
    await this.file.close();
  }

  async remove(): Promise<void> {
    await this.close();
    await this.files.remove(this.name);
  }

  private note({ number, sector }: RecordPlace, end: number): void {
    if (this.isEmpty) this.firstNumber = number;
    assert(number === this.firstNumber + this.count, "records follow each other in a segment");
    this.sectors.push(sector);
    this.end = end;
  }
}

async function writeBlank(
  files: LogFiles, name: string, { sequence, bytes }: { readonly sequence: number; readonly bytes: number },
): Promise<void> {
  const file = await files.open(name, "new");
  try {
    await writeZeros(file, 0, bytes);
    await write(file, encodeSegmentHead(sequence), 0);
  } finally {
    await file.close();
  }
}

async function writeZeros(file: LogFile, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += ZEROS.byteLength) {
    await write(file, ZEROS.subarray(0, Math.min(ZEROS.byteLength, to - at)), at);
  }
}

function write(file: LogFile, bytes: Buffer, at: number): Promise<void> {
  return new Promise((resolve, reject) => {
    file.write(bytes, at, (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
}
