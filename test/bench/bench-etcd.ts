// Owns: `npm run bench:etcd`: Aether and etcd measured beside each other in one run. Prints as it goes; on request
// keeps the numbers as JSON and writes the page of documentation from them. Asserts only that what was acknowledged is
// there.
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { AetherCluster } from "./aether-cluster.ts";
import type { BenchCluster } from "./cluster.ts";
import { EtcdCluster } from "./etcd/etcd-cluster.ts";
import { describeMachine } from "./machine.ts";
import { SECTIONS, type SectionName, planOf, type Plan } from "./plan.ts";
import { writePage } from "./report/page.ts";
import type { Results } from "./results.ts";
import { measureKeys, measureMemory } from "./sections/growth.ts";
import { measureKills } from "./sections/kills.ts";
import { measureThroughput } from "./sections/throughput.ts";
import { measureVoters } from "./sections/voters.ts";

const NODES = 3;

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    only: { type: "string" },
    from: { type: "string" },
    json: { type: "string" },
    write: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const HELP = `npm run bench:etcd -- [options]
  --quick         small numbers: does it work?
  --rounds N      rounds of each measurement; the median counts
  --only A,B      of ${SECTIONS.join(", ")}; "none" with --from to write the page only
  --from FILE     begin with the results of an earlier run; sections that run replace theirs
  --json FILE     keep the results
  --write         write docs/explanation/performance.md and its charts from the results
`;

function say(line: string): void {
  console.log(line);
}

/** Starts the clusters, measures, and stops them whatever happens. */
async function withClusters<T>(
  starts: readonly (() => Promise<BenchCluster>)[],
  measure: (clusters: readonly BenchCluster[]) => Promise<T>,
): Promise<T> {
  const clusters: BenchCluster[] = [];
  try {
    for (const start of starts) clusters.push(await start());
    return await measure(clusters);
  } finally {
    await Promise.all(clusters.map((cluster) => cluster.close()));
  }
}

type Measure = (plan: Plan, systems: Systems) => Promise<Partial<Results>>;

interface Systems {
  /** How to start one cluster of each system. */
  of(size: number): readonly (() => Promise<BenchCluster>)[];
}

const MEASURE: Readonly<Record<SectionName, Measure>> = {
  throughput: (plan, systems) => withClusters(systems.of(NODES), async (clusters) => {
    const targets = clusters.map((cluster) => cluster.connect("pinned"));
    for (const cluster of clusters) {
      if (cluster instanceof EtcdCluster) targets.push(await cluster.connectToLeader());
    }
    const throughput = await measureThroughput(targets, plan.throughput, say);
    for (const target of targets) target.close();
    return { throughput };
  }),
  kills: async (plan, systems) => {
    const kills = [];
    for (const start of systems.of(NODES)) {
      kills.push(await withClusters([start], async ([cluster]) => {
        if (cluster === undefined) throw new RangeError("no cluster");
        const isEtcd = cluster.system === "etcd";
        return measureKills(cluster, isEtcd ? plan.leaderKills : plan.anyKills, say);
      }));
    }
    return { kills };
  },
  memory: async (plan, systems) => ({
    memory: await oneByOne(systems, NODES, (cluster) => measureMemory(cluster, plan.memory, say)),
  }),
  keys: async (plan, systems) => ({
    keys: await oneByOne(systems, NODES, (cluster) => measureKeys(cluster, plan.keys, say)),
  }),
  voters: async (plan, systems) => {
    const voters = [];
    for (const size of plan.voters.sizes) {
      for (const clients of plan.voters.clients) {
        const { measureMs } = plan.voters;
        const load = { clients, measureMs };
        voters.push(...(await oneByOne(systems, size, (cluster) => measureVoters(cluster, load, say))));
      }
    }
    return { voters };
  },
};

async function oneByOne<T>(
  systems: Systems,
  size: number,
  measure: (cluster: BenchCluster) => Promise<T>,
): Promise<readonly T[]> {
  const results: T[] = [];
  for (const start of systems.of(size)) {
    results.push(await withClusters([start], async ([cluster]) => {
      if (cluster === undefined) throw new RangeError("no cluster");
      return measure(cluster);
    }));
  }
  return results;
}

function sectionsToRun(only: string | undefined): readonly SectionName[] {
  if (only === undefined) return SECTIONS;
  if (only === "none") return [];
  return only.split(",").map((name) => {
    const section = SECTIONS.find((known) => known === name);
    if (section === undefined) throw new Error(`--only ${name}: there are ${SECTIONS.join(", ")}`);
    return section;
  });
}

function explainMissingEtcd(): void {
  const line = "=".repeat(100);
  say(`${line}\nETCD IS NOT INSTALLED: only Aether is measured, and nothing is compared.`);
  say(`Install it (Debian, Ubuntu: apt-get install etcd-server) so that "etcd" is on the PATH.\n${line}`);
}

function readResults(file: string): Results {
  return JSON.parse(readFileSync(file, "utf8")) as Results;
}

async function run(): Promise<void> {
  const machine = describeMachine();
  const { etcd, cores, cpu, syncMs } = machine;
  say(`Aether ${machine.aether} on Node.js ${machine.node}, etcd ${etcd ?? "missing"}; ${cores} x ${cpu}`);
  say(`fdatasync of 4 KiB: p50 ${syncMs.p50.toFixed(2)} ms, p99 ${syncMs.p99.toFixed(2)} ms (${machine.fileSystem})`);
  if (etcd === undefined) explainMissingEtcd();
  const systems: Systems = {
    of: (size) => [
      () => AetherCluster.start(size),
      ...(etcd === undefined ? [] : [() => EtcdCluster.start(size)]),
    ],
  };
  const plan = planOf({ isQuick: flags.quick, rounds: flags.rounds === undefined ? undefined : Number(flags.rounds) });
  let results: Results = flags.from === undefined ? { machine } : readResults(flags.from);
  for (const section of sectionsToRun(flags.only)) {
    say(`\n--- ${section}`);
    results = { ...results, machine, ...(await MEASURE[section](plan, systems)) };
    if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(results, undefined, 1)}\n`);
  }
  if (flags.write) for (const file of writePage(results)) say(`wrote ${file}`);
}

if (flags.help) say(HELP);
else await run();
