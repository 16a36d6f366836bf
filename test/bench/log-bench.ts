// Owns: `npm run bench:log`: how long an fsynced record of the journal takes, in files and in LevelDB, one after the
// other as consensus writes them. Records go to both in turn, so that both meet the same moments of a busy machine.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AppendLog, LogPort } from "../../src/env/append-log.ts";
import { createLevelStorePort } from "../../src/storage/level-adapter.ts";
import { createOrderedLogPort } from "../../src/storage/ordered-append-log.ts";
import { createSegmentLogPort } from "../../src/storage/segment-log-adapter.ts";
import { readOptions } from "../support/read-options.ts";

const USAGE = `usage: npm run bench:log -- [options]
  --directory DIR   where the records go, which says which disk it is (${tmpdir()})
  --seconds N       for each size of records (10)`;

const flags = readOptions(USAGE, {
  directory: { type: "string", default: tmpdir() },
  seconds: { type: "string", default: "10" },
});

const SIZES = [256, 4_096, 65_536];
const LOGS: readonly { readonly name: string; open(directory: string): LogPort }[] = [
  { name: "files", open: createSegmentLogPort },
  { name: "LevelDB", open: (directory) => createOrderedLogPort(createLevelStorePort(directory)) },
];

interface Subject {
  readonly name: string;
  readonly directory: string;
  readonly log: AppendLog;
  readonly tookMs: number[];
}

async function open(index: number): Promise<Subject> {
  const { name, open: openPort } = LOGS[index] ?? { name: "none", open: createSegmentLogPort };
  const directory = await mkdtemp(join(flags.directory, "aether-log-bench-"));
  return { name, directory, log: await openPort(directory).open("journal"), tookMs: [] };
}

async function close({ log, directory }: Subject): Promise<void> {
  await log.close();
  await rm(directory, { recursive: true });
}

async function append({ log, tookMs }: Subject, bytes: Uint8Array): Promise<void> {
  const startMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    log.append(bytes, (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
  tookMs.push(performance.now() - startMs);
}

function show({ name, tookMs }: Subject, size: number): string {
  tookMs.sort((a, b) => a - b);
  const at = (part: number): string => `${(tookMs[Math.floor(tookMs.length * part)] ?? 0).toFixed(3)} ms`;
  const mean = tookMs.reduce((sum, ms) => sum + ms, 0) / tookMs.length;
  const perSecond = `${(1_000 / mean).toFixed(0).padStart(6)}/s`;
  const percentiles = `p50 ${at(0.5)}  p90 ${at(0.9)}  p99 ${at(0.99)}`;
  return `${String(size).padStart(6)} B  ${name.padEnd(8)} ${perSecond}  ${percentiles}\n`;
}

for (const size of SIZES) {
  // Not compressible, as the ids and sizes of real batches hardly are.
  const bytes = Buffer.from(Array.from({ length: size }, (_, at) => (at * 7_919 + (at >> 3) * 31) & 0xff));
  const subjects = [await open(0), await open(1)];
  const endMs = performance.now() + Number(flags.seconds) * 1_000;
  while (performance.now() < endMs) for (const subject of subjects) await append(subject, bytes);
  for (const subject of subjects) {
    process.stdout.write(show(subject, size));
    await close(subject);
  }
}
