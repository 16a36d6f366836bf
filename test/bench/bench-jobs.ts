// Owns: `npm run bench:jobs`: jobs on three nodes with fsync, what long logs and many jobs cost, and the same jobs of
// ten steps in Restate and DBOS, in alternating rounds on the same machine. Every result is checked. Prints medians; on
// request keeps the numbers as JSON. Asserts nothing about time.
import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { table } from "../../dist/cli/table.js";
import { medianRun, type LoopOptions, type LoopResult } from "./closed-loop.ts";
import { JobsCluster } from "./jobs/jobs-cluster.ts";
import { measureLengths, measureReplay } from "./jobs/long-logs.ts";
import { measureMany } from "./jobs/many-jobs.ts";
import { measureCalls, measureWork, STEPS, WORKS, type RateResult } from "./jobs/rates.ts";
import { Rivals, VERSIONS, type Rival } from "./jobs/rivals.ts";
import { describeMachine } from "./machine.ts";

const SECTIONS = ["rates", "rivals", "logs", "many"] as const;

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    only: { type: "string", multiple: true },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

const HELP = `npm run bench:jobs -- [options]
  --quick       small numbers: does it work?
  --rounds N    rounds of each rate; the median counts
  --only NAME   ${SECTIONS.join(", ")}; may be given several times
  --json FILE   keep the results
`;

const plan = flags.quick
  ? {
    rounds: 1, settleMs: 1_000, warmUpMs: 500, measureMs: 1_500, calls: 20, lengths: [100, 1_000], lengthSteps: 20,
    replaySteps: 1_000,
    many: { waiting: 300, running: 20, lookMs: 1_000, looks: 2 },
  }
  : {
    rounds: 3, settleMs: 60_000, warmUpMs: 3_000, measureMs: 6_000, calls: 200, lengths: [100, 1_000, 10_000],
    lengthSteps: 100, replaySteps: 10_000, many: { waiting: 10_000, running: 100, lookMs: 5_000, looks: 3 },
  };
const rounds = flags.rounds === undefined ? plan.rounds : Number(flags.rounds);
const CLIENTS = [1, 64];
const SETTLING_CLIENTS = 64;
/** What the other systems run too. */
const REFERENCE = `job of ${STEPS} steps`;

function has(section: (typeof SECTIONS)[number]): boolean {
  return flags.only === undefined || flags.only.includes(section);
}

function loopOf(clients: number): LoopOptions {
  return { clients, warmUpMs: plan.warmUpMs, measureMs: plan.measureMs };
}

/** What has just started is several times slower than the same after a minute: V8 compiles what it finds busy. */
async function settle(cluster: JobsCluster, rivals: readonly Rival[]): Promise<void> {
  const loop: LoopOptions = { clients: SETTLING_CLIENTS, warmUpMs: 0, measureMs: plan.settleMs };
  for (const work of WORKS.filter(({ name }) => name === REFERENCE)) await measureWork(cluster, work, loop);
  for (const rival of rivals) await rival.measure([loop]);
}

/** Round after round, so that what changes on the machine changes for all. */
async function measureRates(cluster: JobsCluster, rivals: readonly Rival[]): Promise<Series> {
  const series = new Map<string, RateResult[]>();
  const add = (name: string, result: RateResult): void => {
    series.set(name, [...(series.get(name) ?? []), result]);
  };
  for (let round = 0; round < rounds; round++) {
    for (const work of has("rates") ? WORKS : WORKS.filter(({ name }) => name === REFERENCE)) {
      for (const clients of work.clients) {
        add(`${work.name}, ${clients} at once`, await measureWork(cluster, work, loopOf(clients)));
      }
    }
    for (const rival of rivals) {
      const results = await rival.measure(CLIENTS.map(loopOf));
      for (const result of results) {
        add(`${rival.name}: job of ${STEPS} steps, ${result.clients} at once`, { ...result, cpuMs: Number.NaN });
      }
    }
  }
  return series;
}

type Series = ReadonlyMap<string, readonly RateResult[]>;

function showRates(series: Series): void {
  const rows = [...series].map(([name, results]) => {
    const { perSecond, p50Ms, p99Ms, failed, cpuMs } = medianRun(results) ?? NOTHING;
    const all = results.map((result: LoopResult) => result.perSecond).join(" ");
    const cpu = Number.isNaN(cpuMs) ? "" : cpuMs.toFixed(2);
    return [name, String(perSecond), p50Ms.toFixed(2), p99Ms.toFixed(2), String(failed), cpu, all];
  });
  console.log(table(["what", "median/s", "p50 ms", "p99 ms", "failed", "CPU ms each", "all rounds/s"], rows));
}

const NOTHING: RateResult = { clients: 0, perSecond: 0, p50Ms: 0, p99Ms: 0, failed: 0, cpuMs: Number.NaN };

async function measureLogs(cluster: JobsCluster): Promise<unknown> {
  const callMs = await measureCalls(cluster, plan.calls);
  console.log(`one call that is made once after the other: ${callMs.toFixed(2)} ms (mean of ${plan.calls} in a job)`);
  const lengths = await measureLengths(cluster, plan.lengths, plan.lengthSteps);
  for (const { events, stepMs } of lengths) console.log(`a step after ${events} events: ${stepMs.toFixed(2)} ms`);
  const replay = await measureReplay(cluster, plan.replaySteps);
  const { events, replayMs, signalToResultMs, storedBytesPerStep } = replay;
  console.log(`replay of ${events} events: ${replayMs.toFixed(0)} ms, ${signalToResultMs.toFixed(0)} ms from the ` +
    `signal to the result; the store holds ${storedBytesPerStep.toFixed(0)} bytes for each step`);
  return { callMs, lengths, replay };
}

async function measureManyJobs(): Promise<unknown> {
  const cluster = await JobsCluster.start();
  try {
    const stretches = await measureMany(cluster, plan.many);
    for (const { what, cpuPercent, residentBytes } of stretches) {
      const looks = residentBytes.map((look) => look.map((bytes) => Math.round(bytes / 2 ** 20)).join("/")).join(", ");
      console.log(`${what}: ${cpuPercent.toFixed(1)} % of a core for three nodes, resident MiB ${looks}`);
    }
    return stretches;
  } finally {
    await cluster.close();
  }
}

async function run(): Promise<void> {
  const machine = describeMachine();
  const { date, cpu, cores, node, fileSystem, syncMs: { p50: syncMs } } = machine;
  const load = (): string => loadavg().map((each) => each.toFixed(1)).join(" ");
  console.log(`${date}, ${cores} x ${cpu}, node ${node}, ${fileSystem}, fdatasync ${syncMs.toFixed(2)} ms`);
  console.log("three nodes with fsync and the load share the machine; results, read through another node, are checked");
  console.log(`load at the beginning ${load()}`);
  const skip = (name: string, why: string): void => console.log(`NOT MEASURED: ${name}: ${why}`);
  const rivals = has("rivals") ? await Rivals.start(skip) : undefined;
  let cluster: JobsCluster | undefined;
  const results: Record<string, unknown> = { machine, plan, versions: VERSIONS };
  try {
    cluster = await JobsCluster.start();
    if (has("rates") || has("rivals")) {
      await settle(cluster, rivals?.started ?? []);
      const series = await measureRates(cluster, rivals?.started ?? []);
      showRates(series);
      results["rates"] = Object.fromEntries(series);
    }
    if (has("logs")) results["logs"] = await measureLogs(cluster);
  } finally {
    await cluster?.close();
    await rivals?.close();
  }
  if (has("many")) results["many"] = await measureManyJobs();
  console.log(`load at the end ${load()}`);
  if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(results, undefined, 2)}\n`);
}

if (flags.help) console.log(HELP);
else await run();
