// Owns: one file of a log: preallocated, written in place so that a write changes nothing but data, and read again.
// Does not own: which file is written (segment-log-adapter.ts), what is in it (core/segment-format.ts).
import { close as closeFd, constants, openSync, readSync as readFd, write as writeFd } from "node:fs";
import { open as openFile, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
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
import { syncDirectory } from "./directory-adapter.ts";

/** Zeros are written and synced in pieces, so that a record that comes meanwhile waits for one piece only. */
const ZEROS = Buffer.alloc(MiB);

type Done = (failure?: Error) => void;

export class SegmentFile {
  readonly sequence: number;
  readonly path: string;
  private readonly fd: number;
  private readonly bytes: number;
  /** Where the records are, in sectors; numbered from `first` on. */
  private readonly sectors: number[] = [];
  private firstNumber = 0;
  private end = 1;
  private isOpen = true;

  private constructor(path: string, sequence: number, bytes: number) {
    this.path = path;
    this.sequence = sequence;
    this.bytes = bytes;
    // Each write returns when it is on the disk: one trip to the thread pool instead of one to write and one to sync.
    this.fd = openSync(path, constants.O_RDWR | constants.O_DSYNC);
  }

  /** Makes an empty one. Until it is complete it has another name, which `open` does not know. */
  static async create(path: string, sequence: number, bytes: number): Promise<SegmentFile> {
    const fresh = `${path}.new`;
    try {
      await writeZeros(fresh, sequence, bytes);
      await rename(fresh, path);
      await syncDirectory(dirname(path));
    } catch (error) {
      // A full disk should not stay full of what failed.
      await rm(fresh, { force: true });
      throw error;
    }
    return new SegmentFile(path, sequence, bytes);
  }

  /**
   * Reads and checks an existing one, whose first record is `expected`, or any when absent. "torn" when a write at its
   * end was cut short; `repair` removes what it left.
   * @throws AetherError E_DATA_CORRUPT, E_VERSION
   */
  static async open(
    path: string,
    sequence: number,
    expected: number | undefined,
  ): Promise<{ readonly segment: SegmentFile; readonly isTorn: boolean }> {
    const bytes = await readFile(path);
    checkSegmentHead(bytes, sequence, path);
    const { records, end, isTorn } = scanSegment(bytes, expected, path);
    const segment = new SegmentFile(path, sequence, bytes.byteLength);
    for (const record of records) segment.note(record, end);
    segment.end = end;
    return { segment, isTorn };
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
    this.writeAt(sector * SECTOR_BYTES, record, (failure) => {
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
    if (readAll(this.fd, bytes, sector * SECTOR_BYTES) < bytes.byteLength) {
      throw damaged(this.path, `record ${number} is cut off`);
    }
    return decodeLogRecord(bytes, number, this.path);
  }

  /**
   * Clears what a torn write left, and writes the last record once more: it may have been read from memory that never
   * reached the disk.
   */
  async repair(state: "torn" | "whole"): Promise<void> {
    if (state === "torn") {
      for (let at = this.end * SECTOR_BYTES; at < this.bytes; at += ZEROS.byteLength) {
        await this.rewrite(at, ZEROS.subarray(0, Math.min(ZEROS.byteLength, this.bytes - at)));
      }
    }
    if (this.isEmpty) return;
    const sector = present(this.sectors.at(-1), "it has records");
    await this.rewrite(sector * SECTOR_BYTES, encodeLogRecord(this.last, this.read(this.last)));
  }

  /** Not while a write is under way. */
  close(): Promise<void> {
    if (!this.isOpen) return Promise.resolve();
    this.isOpen = false;
    return new Promise((resolve, reject) => {
      closeFd(this.fd, (error) => (error === null || error === undefined ? resolve() : reject(error)));
    });
  }

  async remove(): Promise<void> {
    await this.close();
    await rm(this.path);
  }

  private note({ number, sector }: RecordPlace, end: number): void {
    if (this.isEmpty) this.firstNumber = number;
    assert(number === this.firstNumber + this.count, "records follow each other in a segment");
    this.sectors.push(sector);
    this.end = end;
  }

  private rewrite(at: number, bytes: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.writeAt(at, bytes, (failure) => (failure === undefined ? resolve() : reject(failure)));
    });
  }

  private writeAt(at: number, bytes: Buffer, done: Done): void {
    writeFd(this.fd, bytes, 0, bytes.byteLength, at, (error, written) => {
      if (error !== null) done(error);
      else if (written < bytes.byteLength) {
        done(new AetherError("E_DISK", `${this.path} took ${written} of ${bytes.byteLength} bytes`));
      } else done();
    });
  }
}

async function writeZeros(path: string, sequence: number, bytes: number): Promise<void> {
  const handle = await openFile(path, "w");
  try {
    for (let at = 0; at < bytes; at += ZEROS.byteLength) {
      await handle.write(ZEROS, 0, Math.min(ZEROS.byteLength, bytes - at), at);
      await handle.datasync();
    }
    const head = encodeSegmentHead(sequence);
    await handle.write(head, 0, head.byteLength, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function readAll(fd: number, bytes: Buffer, position: number): number {
  let done = 0;
  while (done < bytes.byteLength) {
    const count = readFd(fd, bytes, done, bytes.byteLength - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}
