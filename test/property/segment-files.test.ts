// The files of the journal on a disk that fails: whatever a write leaves when it is cut short or refused, and wherever
// a bit turns, a start has everything that was acknowledged, as it was, or refuses.
import fs from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AetherError } from "../../src/base/errors.ts";
import type { AppendLog } from "../../src/env/append-log.ts";
import { openSegmentLog } from "../../src/storage/segment-log-adapter.ts";

const SECTOR = 512;
const RUNS = 12;
/** Every step waits for the disk, which may be a busy one. */
const LIMIT_MS = 120_000;
const STEPS_MAX = 10;

/** What a disk does with one write before it reports an error, if it does. */
type Fault =
  | { readonly kind: "nothing" }
  /** Power fails, or space ends, after so many of its sectors. */
  | { readonly kind: "beginning"; readonly share: number }
  /** A disk may write the sectors of one write in any order. */
  | { readonly kind: "some"; readonly written: readonly boolean[] }
  | { readonly kind: "all" };

type Step =
  | { readonly kind: "append"; readonly sizes: readonly number[] }
  | { readonly kind: "fail"; readonly sizes: readonly number[]; readonly fault: Fault; readonly code: string }
  | { readonly kind: "cut"; readonly back: number }
  | { readonly kind: "reopen" };

const realWrite = fs.write;
let fault: { readonly what: Fault; readonly code: string } | undefined;

beforeEach(() => {
  Object.assign(fs, { write: writeOrFail });
  syncBuiltinESMExports();
});
afterEach(() => {
  fault = undefined;
  Object.assign(fs, { write: realWrite });
  syncBuiltinESMExports();
});

type Written = (error: NodeJS.ErrnoException | null, written: number, bytes: Buffer) => void;

/** As `fs.write` with these arguments; the fault that is set strikes once. */
function writeOrFail(...args: [number, Buffer, number, number, number, Written]): void {
  const [fd, bytes, , length, position, done] = args;
  const striking = fault;
  fault = undefined;
  if (striking === undefined) {
    realWrite(...args);
    return;
  }
  for (let at = 0; at < length; at += SECTOR) {
    if (isWritten(striking.what, at / SECTOR, length / SECTOR)) fs.writeSync(fd, bytes, at, SECTOR, position + at);
  }
  const error: NodeJS.ErrnoException = Object.assign(new Error(striking.code), { code: striking.code });
  setImmediate(() => done(error, 0, bytes));
}

function isWritten(what: Fault, sector: number, sectors: number): boolean {
  switch (what.kind) {
    case "nothing":
      return false;
    case "beginning":
      return sector < Math.floor(what.share * sectors);
    case "some":
      return what.written[sector % what.written.length] === true;
    case "all":
      return true;
  }
}

/** The log under test, and what it must have. */
class Subject {
  private readonly directory: string;
  private log: AppendLog;
  private first = 1;
  /** Acknowledged, by number. */
  private readonly kept = new Map<number, Uint8Array>();
  private last = 0;
  /** Handed over next and refused: it may be there all the same, if it is whole. */
  private doubtful: Uint8Array | undefined;
  private drawn = 0;

  constructor(directory: string, log: AppendLog) {
    this.directory = directory;
    this.log = log;
  }

  async take(step: Step): Promise<void> {
    switch (step.kind) {
      case "append":
        await this.append(step.sizes);
        return;
      case "fail":
        fault = { what: step.fault, code: step.code };
        await this.append(step.sizes);
        await this.reopen();
        return;
      case "cut":
        await this.cut(Math.max(this.first, this.last + 1 - step.back));
        return;
      case "reopen":
        await this.reopen();
    }
  }

  /** All at once; from the first that fails on none is acknowledged. */
  private async append(sizes: readonly number[]): Promise<void> {
    const records = sizes.map((size) => Buffer.alloc(size, 1 + (this.drawn++ % 255)));
    const failures = await Promise.all(records.map((bytes) => {
      return new Promise<Error | undefined>((resolve) => this.log.append(bytes, resolve));
    }));
    const failed = failures.findIndex((failure) => failure !== undefined);
    const acknowledged = failed < 0 ? records : records.slice(0, failed);
    for (const bytes of acknowledged) this.kept.set(++this.last, bytes);
    if (failed < 0) return;
    expect(failures.slice(failed).every((failure) => failure !== undefined)).toBe(true);
    this.doubtful = records[failed];
  }

  private async cut(firstKept: number): Promise<void> {
    const base = Buffer.from(`before ${firstKept}`);
    const failure = await new Promise<Error | undefined>((resolve) => this.log.cut(firstKept, base, resolve));
    expect(failure).toBeUndefined();
    for (let number = this.first; number < firstKept; number++) this.kept.delete(number);
    this.first = firstKept;
  }

  async reopen(): Promise<void> {
    await this.log.close();
    this.log = await openSegmentLog(this.directory);
    await this.check();
  }

  private async check(): Promise<void> {
    if (this.log.last === this.last + 1 && this.doubtful !== undefined) this.kept.set(++this.last, this.doubtful);
    this.doubtful = undefined;
    expect([this.log.first, this.log.last]).toEqual([this.first, this.last]);
    expect(await contentOf(this.log)).toEqual([...this.kept]);
  }

  /** A bit of the files turns: then all is as it was, or is refused. */
  async checkTurned(draw: number): Promise<void> {
    await this.log.close();
    const names = (await readdir(this.directory)).filter((name) => name.endsWith(".seg"));
    const path = join(this.directory, names[draw % names.length] ?? "");
    const bytes = await readFile(path);
    // Where there is something, most of the time.
    const used = draw % 5 === 0 ? bytes.byteLength : bytes.findLastIndex((byte) => byte !== 0) + 1;
    const bit = Math.floor(draw / 7) % (used * 8);
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    await writeFile(path, bytes);
    let log: AppendLog | undefined;
    try {
      log = await openSegmentLog(this.directory);
      expect(await contentOf(log)).toEqual([...this.kept]);
    } catch (error) {
      if (!(error instanceof AetherError)) throw error;
      expect(error.code).toBe("E_DATA_CORRUPT");
    } finally {
      await log?.close();
    }
  }
}

async function contentOf(log: AppendLog): Promise<(readonly [number, Uint8Array])[]> {
  const found: (readonly [number, Uint8Array])[] = [];
  for await (const { number, bytes } of log.records()) found.push([number, Buffer.from(bytes)]);
  return found;
}

const size = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 3 * SECTOR }) },
  { weight: 1, arbitrary: fc.constantFrom(SECTOR - 29, SECTOR - 28, 60_000, 300_000) },
);
const sizes = fc.array(size, { minLength: 1, maxLength: 4 });
const anyFault: fc.Arbitrary<Fault> = fc.oneof(
  fc.constant({ kind: "nothing" } as const),
  fc.record({ kind: fc.constant("beginning" as const), share: fc.double({ min: 0, max: 0.99, noNaN: true }) }),
  fc.record({
    kind: fc.constant("some" as const),
    written: fc.array(fc.boolean(), { minLength: 2, maxLength: 5 }),
  }),
  fc.constant({ kind: "all" } as const),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("append" as const), sizes }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("fail" as const), sizes, fault: anyFault, code: fc.constantFrom("EIO", "ENOSPC"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cut" as const), back: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
);

const steps = fc.array(step, { minLength: 1, maxLength: STEPS_MAX });

test("what was acknowledged is there after any fault, and nothing else; a turned bit does no harm", async () => {
  const play = async (planned: readonly Step[], draw: number): Promise<void> => {
    const directory = await mkdtemp(join(tmpdir(), "aether-segment-files-"));
    try {
      const subject = new Subject(directory, await openSegmentLog(directory));
      for (const next of planned) await subject.take(next);
      await subject.reopen();
      await subject.checkTurned(draw);
    } finally {
      fault = undefined;
      await rm(directory, { recursive: true, force: true });
    }
  };
  await fc.assert(fc.asyncProperty(steps, fc.noBias(fc.nat()), play), { numRuns: RUNS });
}, LIMIT_MS);
