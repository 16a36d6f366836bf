// Owns: `npm run bench:rpc`: calls between slices beside Moleculer over TCP and Piscina, in one run, and what starting
// instances and finding endpoints costs. Prints medians; on request keeps the numbers as JSON. Asserts nothing.
import { randomInt } from "node:crypto";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { table } from "../../dist/cli/table.js";
import { SeededRandom } from "../../src/base/random.ts";
import { findFreePorts } from "../../src/cli/demo/free-ports.ts";
import { medianRun, type LoopOptions, type LoopResult } from "./closed-loop.ts";
import { describeMachine } from "./machine.ts";
import { AetherNodes } from "./rpc/aether-nodes.ts";
import { measureLookups } from "./rpc/lookup.ts";
import { Rivals, VERSIONS } from "./rpc/rivals.ts";
import { median, percentile } from "./statistics.ts";

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "cross,local,start,lookup" },
    rounds: { type: "string" },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

const HELP = `npm run bench:rpc -- [options]
  --quick      small numbers: does it work?
  --only A,B   of cross, local, start, lookup
  --rounds N   rounds of each measurement; the median counts
  --json FILE  keep the results
Installs moleculer and piscina into a temporary directory with npm.
`;

const TEXT = "x".repeat(256);
const plan = flags.quick
  ? { rounds: 1, warmUpMs: 300, measureMs: 700, coldStarts: 3, many: 20, lookups: 100_000 }
  : { rounds: 5, warmUpMs: 2_000, measureMs: 5_000, coldStarts: 30, many: 200, lookups: 2_000_000 };
const rounds = flags.rounds === undefined ? plan.rounds : Number(flags.rounds);
const loops: readonly LoopOptions[] = [1, 64].map((clients) => {
  return { clients, warmUpMs: plan.warmUpMs, measureMs: plan.measureMs };
});

type Series = Map<string, LoopResult[]>;

function keep(series: Series, system: string, results: readonly LoopResult[]): void {
  for (const result of results) {
    const name = `${system}, ${result.clients} at once`;
    series.set(name, [...(series.get(name) ?? []), result]);
  }
}

function show(title: string, series: Series): Readonly<Record<string, unknown>> {
  const rows: string[][] = [];
  const kept: Record<string, unknown> = {};
  for (const [name, results] of series) {
    const middle = medianRun(results);
    if (middle === undefined) continue;
    kept[name] = { median: middle, all: results };
    const all = results.map(({ perSecond }) => perSecond).join(" ");
    const times = [middle.p50Ms.toFixed(3), middle.p99Ms.toFixed(2)];
    rows.push([name, String(middle.perSecond), ...times, String(middle.failed), all]);
  }
  console.log(`\n${title}`);
  console.log(table(["system", "median/s", "p50 ms", "p99 ms", "failed", "all rounds/s"], rows));
  return kept;
}

/** A slice calls another one: worker, node, and the other worker, on the other node or on the same. */
async function driveSlices(target: "near" | "far"): Promise<readonly LoopResult[]> {
  const nodes = await AetherNodes.start("n1", "n2");
  try {
    await nodes.push("near", "far", "driver");
    await nodes.apply({
      near: { artifact: "bench:near@^1.0.0", labels: { at: "n1" } },
      far: { artifact: "bench:far@^1.0.0", labels: { at: "n2" } },
      driver: { artifact: "bench:driver@^1.0.0", labels: { at: "n1" } },
    });
    for (const slice of ["near", "far", "driver"]) await nodes.waitFor(slice, 1);
    const results: LoopResult[] = [];
    for (const loop of loops) results.push(await nodes.drive(target, TEXT, loop));
    return results;
  } finally {
    await nodes.close();
  }
}

async function measureCross(rivals: Rivals): Promise<unknown> {
  const series: Series = new Map();
  for (let round = 0; round < rounds; round++) {
    const firstPort = await findFreePorts(2, new SeededRandom(randomInt(2 ** 31)));
    keep(series, `Moleculer ${VERSIONS.moleculer}, TCP`, await rivals.callOverTcp(TEXT, loops, firstPort));
    keep(series, "Aether, slice to slice", await driveSlices("far"));
  }
  return show("calls from one process to another, 256-byte echo", series);
}

async function measureLocal(rivals: Rivals): Promise<unknown> {
  const series: Series = new Map();
  for (let round = 0; round < rounds; round++) {
    const { alone, together } = await rivals.callWorker(TEXT, loops);
    keep(series, `Piscina ${VERSIONS.piscina}, one task at a time`, alone);
    keep(series, `Piscina ${VERSIONS.piscina}, tasks together`, together);
    keep(series, "Aether, slice to slice on one node", await driveSlices("near"));
  }
  return show("calls into a worker of the same process, 256-byte echo", series);
}

async function measureStart(): Promise<unknown> {
  const nodes = await AetherNodes.start("n1");
  try {
    await nodes.push("far", "near");
    await nodes.apply({ far: { artifact: "bench:far@^1.0.0" } });
    await nodes.waitFor("far", 1);
    const coldMs: number[] = [];
    for (let at = 0; at < plan.coldStarts; at++) coldMs.push(await nodes.coldStart("far", 1));
    const manySeconds = await nodes.startMany("near", plan.many);
    console.log(`\nLOAD to ACTIVE, artifact cached, ${coldMs.length} times: median ${median(coldMs).toFixed(0)} ms, ` +
      `p99 ${percentile(coldMs, 0.99).toFixed(0)} ms`);
    console.log(`${plan.many} instances on one node, from apply until all are ACTIVE: ${manySeconds.toFixed(1)} s`);
    return { coldMs, many: plan.many, manySeconds };
  } finally {
    await nodes.close();
  }
}

function measureLookup(): unknown {
  const results = measureLookups(10_000, plan.lookups);
  console.log("\nfinding an endpoint, and finding and choosing one");
  const rows = results.map(({ shape, findMicros, findAndPickMicros }) => {
    return [shape, findMicros.toFixed(3), findAndPickMicros.toFixed(3)];
  });
  console.log(table(["index", "find us", "find and choose us"], rows));
  return results;
}

async function withRivals(measure: (rivals: Rivals) => Promise<unknown>): Promise<unknown> {
  const rivals = await Rivals.install();
  try {
    return await measure(rivals);
  } finally {
    rivals.close();
  }
}

const MEASURE: Readonly<Record<string, () => unknown>> = {
  cross: () => withRivals(measureCross),
  local: () => withRivals(measureLocal),
  start: measureStart,
  lookup: measureLookup,
};

async function run(): Promise<void> {
  const { date, cpu, cores, node } = describeMachine();
  console.log(`${date}, ${cores} x ${cpu}, node ${node}; ${rounds} rounds of ${plan.measureMs / 1_000} s each`);
  console.log("closed loop; the load is in the calling process, everything shares the machine");
  console.log("not measured: networks, open-loop latency, larger values, many slices at once");
  const results: Record<string, unknown> = { machine: describeMachine(), plan };
  for (const name of flags.only.split(",")) {
    const measure = MEASURE[name];
    if (measure === undefined) throw new RangeError(`--only takes ${Object.keys(MEASURE).join(", ")}, not ${name}`);
    results[name] = await measure();
  }
  if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(results, undefined, 2)}\n`);
}

if (flags.help) console.log(HELP);
else await run();
