// Owns: `npm run bench:log`: how many fsynced records a second the journal takes, in files and in LevelDB, one after
// the other as consensus writes them. Rounds alternate between both: a machine is not equally busy all the time.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { AppendLog, LogPort } from "../../src/env/append-log.ts";
import { createLevelStorePort } from "../../src/storage/level-adapter.ts";
import { createOrderedLogPort } from "../../src/storage/ordered-append-log.ts";
import { createSegmentLogPort } from "../../src/storage/segment-log-adapter.ts";

const { values: flags } = parseArgs({
  options: {
    directory: { type: "string", default: tmpdir() },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "1" },
  },
});

const SIZES = [256, 4_096, 65_536];
const LOGS: readonly { readonly name: string; open(directory: string): LogPort }[] = [
  { name: "files", open: createSegmentLogPort },
  { name: "LevelDB", open: (directory) => createOrderedLogPort(createLevelStorePort(directory)) },
];

interface Round {
  readonly perSecond: number;
  readonly msP50: number;
  readonly msP99: number;
}

function append(log: AppendLog, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    log.append(bytes, (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
}

async function run(open: (directory: string) => LogPort, size: number, measureMs: number): Promise<Round> {
  const directory = await mkdtemp(join(flags.directory, "aether-log-bench-"));
  const log = await open(directory).open("journal");
  // Not compressible, as the ids and sizes of real batches hardly are.
  const bytes = Buffer.from(Array.from({ length: size }, (_, at) => (at * 7_919 + (at >> 3) * 31) & 0xff));
  const tookMs: number[] = [];
  const startMs = performance.now();
  for (let nowMs = startMs; nowMs < startMs + measureMs; ) {
    await append(log, bytes);
    const endMs = performance.now();
    tookMs.push(endMs - nowMs);
    nowMs = endMs;
  }
  await log.close();
  await rm(directory, { recursive: true });
  tookMs.sort((a, b) => a - b);
  const at = (part: number): number => tookMs[Math.floor(tookMs.length * part)] ?? 0;
  return { perSecond: (tookMs.length * 1_000) / measureMs, msP50: at(0.5), msP99: at(0.99) };
}

/** By throughput; a round that was disturbed is at one end. */
function median(rounds: readonly Round[]): Round | undefined {
  return [...rounds].sort((a, b) => a.perSecond - b.perSecond)[rounds.length >> 1];
}

for (const size of SIZES) {
  const rounds = new Map<string, Round[]>(LOGS.map(({ name }) => [name, []]));
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const { name, open } of LOGS) rounds.get(name)?.push(await run(open, size, Number(flags.seconds) * 1_000));
  }
  for (const [name, list] of rounds) {
    const { perSecond = 0, msP50 = 0, msP99 = 0 } = median(list) ?? {};
    const shown = `${perSecond.toFixed(0).padStart(6)}/s  p50 ${msP50.toFixed(3)} ms  p99 ${msP99.toFixed(2)} ms`;
    process.stdout.write(`${String(size).padStart(6)} B  ${name.padEnd(8)} ${shown}\n`);
  }
}
