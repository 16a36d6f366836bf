// Every end that a crash can leave of the last record: each subset of its sectors, later ones without earlier ones
// too, and, where the file grew for it, each length. A start has what was acknowledged, and the log goes on from there:
// nothing of the torn record is found by the start after that.
import { expect, test } from "vitest";
import type { AppendLog } from "../../../src/env/append-log.ts";
import type { LogFiles } from "../../../src/storage/log-files.ts";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { openLogIn } from "../../../src/storage/segment-log.ts";

const SECTOR = 512;
const SEGMENT_SECTORS = 16;
const SIZES = { first: SEGMENT_SECTORS * SECTOR, max: SEGMENT_SECTORS * SECTOR };
const RECORD_OVERHEAD = 29;

type Content = Map<string, Buffer>;

/** What one write does to one file. */
interface Written {
  readonly name: string;
  readonly at: number;
  readonly bytes: Buffer;
}

/** False for a write that is passed over, although its end is told. */
type OnWrite = (written: Written) => boolean | undefined;

function memoryFiles(content: Content, onWrite: OnWrite = () => true): LogFiles {
  const read = (name: string): Buffer => content.get(name) ?? Buffer.alloc(0);
  const put = ({ name, at, bytes }: Written): void => {
    const grown = Buffer.alloc(Math.max(read(name).byteLength, at + bytes.byteLength));
    read(name).copy(grown);
    bytes.copy(grown, at);
    content.set(name, grown);
  };
  return {
    pathOf: (name) => `memory/${name}`,
    list: () => Promise.resolve([...content.keys()]),
    read: (name) => Promise.resolve(Buffer.from(read(name))),
    open: (name, mode) => {
      if (mode === "new") content.set(name, Buffer.alloc(0));
      return Promise.resolve({
        write: (bytes, at, done) => {
          const written = { name, at, bytes: Buffer.from(bytes) };
          if (onWrite(written) !== false) put(written);
          setImmediate(done);
        },
        readSync: (bytes, at) => read(name).copy(bytes, 0, at),
        close: () => Promise.resolve(),
      });
    },
    rename: (from, to) => {
      content.set(to, read(from));
      content.delete(from);
      return Promise.resolve();
    },
    remove: (name) => {
      content.delete(name);
      return Promise.resolve();
    },
    defer: setImmediate,
  };
}

function open(content: Content, onWrite?: OnWrite): Promise<AppendLog> {
  const stores = createMemoryStorePort({ defer: setImmediate });
  return openLogIn({ files: memoryFiles(content, onWrite), openBase: () => stores.open("base"), sizes: SIZES });
}

function append(log: AppendLog, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    log.append(bytes, (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
}

function contentOf(log: AppendLog): string[] {
  const found: string[] = [];
  for (let number = log.first; number <= log.last; number += 1) {
    found.push(Buffer.from(log.readSync(number) ?? Buffer.from("missing")).toString("latin1"));
  }
  return found;
}

function payload(sectors: number, kind: "full" | "blank" | "ending blank"): Buffer {
  const bytes = Buffer.alloc(sectors * SECTOR - RECORD_OVERHEAD, kind === "blank" ? 0 : 0x6b);
  if (kind === "ending blank") bytes.fill(0, SECTOR);
  return bytes;
}

interface Case {
  /** Acknowledged before, in this order. */
  readonly before: readonly Buffer[];
  readonly torn: Buffer;
}

/** The files as they were before the record was written, and the write. */
async function prepare({ before, torn }: Case): Promise<{ readonly old: Content; readonly written: Written }> {
  const content: Content = new Map();
  const writes: Written[] = [];
  const log = await open(content, (written) => {
    writes.push(written);
    return true;
  });
  for (const bytes of before) await append(log, bytes);
  // The next file is being made meanwhile.
  while ([...content.keys()].some((name) => name.endsWith(".new"))) await new Promise(setImmediate);
  const old: Content = new Map([...content].map(([name, bytes]) => [name, Buffer.from(bytes)]));
  await append(log, torn);
  const written = writes.findLast(({ bytes }) => bytes.includes(torn.subarray(0, SECTOR - RECORD_OVERHEAD)));
  await log.close();
  if (written === undefined) throw new RangeError("the record was not written");
  return { old, written };
}

/** The files as a crash leaves them that lets these sectors of the write through, of a file that has this length. */
function crashed(
  { old, written }: { readonly old: Content; readonly written: Written }, mask: readonly boolean[], length: number,
): Content {
  const content: Content = new Map([...old].map(([name, bytes]) => [name, Buffer.from(bytes)]));
  const { name, at, bytes } = written;
  const file = Buffer.alloc(length);
  old.get(name)?.copy(file);
  for (const [sector, isThere] of mask.entries()) {
    if (isThere) bytes.copy(file, at + sector * SECTOR, sector * SECTOR, (sector + 1) * SECTOR);
  }
  content.set(name, file);
  return content;
}

async function checkStarts(content: Content, { before, torn }: Case, onWrite?: OnWrite): Promise<void> {
  const kept = before.map((bytes) => bytes.toString("latin1"));
  const whole = [...kept, torn.toString("latin1")];
  const first = await open(content, onWrite);
  const found = contentOf(first);
  // Nobody was told of it: it is there as a whole, or not at all.
  expect(found.length === whole.length ? whole : kept).toEqual(found);
  await append(first, Buffer.from("next"));
  await first.close();
  const second = await open(content);
  expect(contentOf(second)).toEqual([...found, "next"]);
  await second.close();
}

function masks(sectors: number): readonly (readonly boolean[])[] {
  return Array.from({ length: 2 ** sectors }, (_, bits) => {
    return Array.from({ length: sectors }, (__, sector) => (bits >> sector) % 2 === 1);
  });
}

const BEFORE = [Buffer.from("first"), payload(3, "full")];

test.each(["full", "blank", "ending blank"] as const)("any sectors of a record (%s) may be missing", async (kind) => {
  let ends = 0;
  for (let sectors = 1; sectors <= 6; sectors += 1) {
    const torn = { before: BEFORE, torn: payload(sectors, kind) };
    const prepared = await prepare(torn);
    const length = prepared.old.get(prepared.written.name)?.byteLength ?? 0;
    for (const mask of masks(sectors)) {
      await checkStarts(crashed(prepared, mask, length), torn);
      ends += 1;
    }
  }
  expect(ends).toBe(2 + 4 + 8 + 16 + 32 + 64);
});

test("the file of a record that is larger than it may have any length in between, and any of its sectors", async () => {
  const sectors = SEGMENT_SECTORS + 3;
  const torn = { before: [], torn: payload(sectors, "full") };
  const prepared = await prepare(torn);
  const patterns: ((sector: number) => boolean)[] = [
    () => true,
    () => false,
    (sector) => sector % 2 === 0,
    (sector) => sector % 2 === 1,
    (sector) => sector > 0,
    (sector) => sector === 0,
    (sector) => sector === sectors - 1,
  ];
  for (let length = SEGMENT_SECTORS; length <= 1 + sectors; length += 1) {
    for (const isThere of patterns) {
      const mask = Array.from({ length: sectors }, (_, sector) => sector + 1 < length && isThere(sector));
      await checkStarts(crashed(prepared, mask, length * SECTOR), torn);
    }
  }
});

test("the last record that fits a file may be torn, with the next file there, or not, or not complete", async () => {
  const before = [payload(6, "full"), payload(5, "full")];
  const torn = { before, torn: payload(4, "full") };
  const prepared = await prepare(torn);
  expect([...prepared.old.keys()].sort()).toEqual(["0000000001.seg", "0000000002.seg"]);
  for (const mask of masks(4)) {
    for (const spare of ["there", "missing", "under another name"] as const) {
      const content = crashed(prepared, mask, SIZES.first);
      const name = "0000000002.seg";
      const bytes = content.get(name) ?? Buffer.alloc(0);
      if (spare !== "there") content.delete(name);
      if (spare === "under another name") content.set(`${name}.new`, bytes.subarray(0, 3 * SECTOR));
      await checkStarts(content, torn);
    }
  }
});

test("a start that leaves the torn end in place is found out by the next one", async () => {
  const torn = { before: BEFORE, torn: payload(4, "full") };
  const prepared = await prepare(torn);
  const length = prepared.old.get(prepared.written.name)?.byteLength ?? 0;
  const leavingBlanks: OnWrite = ({ name, bytes }) => name.endsWith(".new") || bytes.some((byte) => byte !== 0);
  let found = 0;
  for (const mask of masks(4)) {
    const content = crashed(prepared, mask, length);
    await checkStarts(content, torn, leavingBlanks).catch(() => {
      found += 1;
    });
  }
  // Those that left something right behind the record that is written next, but for the whole one.
  expect(found).toBe(8 - 1);
});
