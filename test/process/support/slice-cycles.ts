// Owns: one instance loaded, called and unloaded again and again in a process of its own, and what is left after it.
// By hand: node --expose-gc --import tsx test/process/support/slice-cycles.ts 1000
import { setTimeout as sleep } from "node:timers/promises";
import { KiB } from "../../../src/base/units.ts";
import { openFixture, runBundle, type Fixture } from "../../unit/slices-runtime/runtime-fixture.ts";

export interface CycleReport {
  readonly cycles: number;
  /** Growth per cycle over the second half, by least squares. */
  readonly heapBytesPerCycle: number;
  readonly rssBytesPerCycle: number;
  readonly liveWorkers: number;
  readonly hosted: number;
  /** What keeps the event loop alive, before the first cycle and after the last one. */
  readonly resourcesBefore: readonly string[];
  readonly resourcesAfter: readonly string[];
  readonly samples: readonly Sample[];
}

interface Sample {
  readonly cycle: number;
  readonly heapBytes: number;
  readonly rssBytes: number;
}

const WARM_UP_CYCLES = 20;
const SAMPLE_EVERY = 10;

async function runCycle(fixture: Fixture): Promise<void> {
  const { store } = fixture;
  const spec = fixture.publish(runBundle("async (input, ctx) => { ctx.log.info('called'); return input; }"));
  // One that lives as long as the process would remember each cycle.
  const { signal } = new AbortController();
  await store.load(spec, signal);
  await store.activate(spec.key, signal);
  await store.invoke({ instance: spec.key, method: "run", input: "x".repeat(KiB), timeoutMs: 10_000 });
  await store.deactivate(spec.key, signal);
  await store.unload(spec.key);
  fixture.lines.length = 0;
}

async function takeSample(cycle: number): Promise<Sample> {
  // What finalizers and the ends of threads leave is only freed in later turns.
  for (let round = 0; round < 3; round += 1) {
    globalThis.gc?.();
    await sleep(5);
  }
  const { heapUsed, rss } = process.memoryUsage();
  return { cycle, heapBytes: heapUsed, rssBytes: rss };
}

/** The slope of a line through these points that is off by the least squares. */
function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / points.length;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / points.length;
  const over = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return over / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

async function runCycles(cycles: number): Promise<CycleReport> {
  await using fixture = await openFixture();
  for (let cycle = 0; cycle < WARM_UP_CYCLES; cycle += 1) await runCycle(fixture);
  await takeSample(0);
  const resourcesBefore = process.getActiveResourcesInfo().sort();
  const samples: Sample[] = [];
  for (let cycle = 1; cycle <= cycles; cycle += 1) {
    await runCycle(fixture);
    if (cycle % SAMPLE_EVERY === 0) samples.push(await takeSample(cycle));
  }
  const late = samples.filter(({ cycle }) => cycle > cycles / 2);
  return {
    cycles,
    heapBytesPerCycle: Math.round(slopeOf(late.map(({ cycle, heapBytes }) => [cycle, heapBytes]))),
    rssBytesPerCycle: Math.round(slopeOf(late.map(({ cycle, rssBytes }) => [cycle, rssBytes]))),
    liveWorkers: fixture.liveWorkers(),
    hosted: fixture.store.hosted().size,
    resourcesBefore,
    resourcesAfter: process.getActiveResourcesInfo().sort(),
    samples,
  };
}

process.stdout.write(`${JSON.stringify(await runCycles(Number(process.argv[2] ?? 1_000)))}\n`);
