// Owns: `npm run bench:metrics`: what it costs a node to report and to keep the cluster's metrics. First the work of
// one second alone, in this process; then real nodes with and without it, in turns, idle and under a steady load.
// Not measured: counting on the paths of calls and writes, which goes on with collection off too; see the rates of
// `npm run bench`.
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { connect } from "../../dist/client/connect.js";
import { NodeFleet } from "../support/node-fleet.ts";
import { describeMachine } from "./machine.ts";
import { secondOfMetrics } from "./metrics/one-second.ts";
import { cpuSeconds } from "./process-stats.ts";
import { median } from "./statistics.ts";

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "15" },
    rate: { type: "string", default: "500" },
    help: { type: "boolean", default: false },
  },
});

const HELP = `npm run bench:metrics -- [options]
  --rounds N    fleets with and without collection, in turns (5)
  --seconds N   how long each is measured, idle and under load (15)
  --rate N      writes per second under load, begun on time whatever becomes of the others (500)
`;

const NODES = ["n1", "n2", "n3"];
const SETTLE_MS = 3_000;
const BEAT_MS = 10;

interface Round {
  /** Of all nodes together, in percent of one core, per node. */
  readonly idle: number;
  readonly loaded: number;
}

function say(line: string): void {
  console.log(line);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Percent of one core that a node used while `work` went on, on average over the nodes. */
async function percentOfCore(pids: readonly number[], work: () => Promise<void>): Promise<number> {
  const [cpuBefore, startMs] = [cpuSeconds(pids) ?? Number.NaN, performance.now()];
  await work();
  const seconds = (performance.now() - startMs) / 1_000;
  return (((cpuSeconds(pids) ?? Number.NaN) - cpuBefore) / seconds / pids.length) * 100;
}

async function load(apis: readonly string[], ms: number): Promise<void> {
  const clients = apis.map((api) => connect({ nodes: [api], discovery: "off" }));
  const perBeat = (Number(flags.rate) * BEAT_MS) / 1_000;
  const under = new Set<Promise<unknown>>();
  const startMs = performance.now();
  for (let sent = 0; performance.now() - startMs < ms; await pause(BEAT_MS)) {
    const due = Math.floor(((performance.now() - startMs) / BEAT_MS) * perBeat);
    for (; sent < due; sent++) {
      const client = clients[sent % clients.length];
      // ignored: what a node refuses costs it too, and what it refuses with and without metrics is alike
      const write = client?.kv.put(`data/bench/${sent % 1_000}`, sent).catch(() => undefined);
      if (write === undefined) continue;
      under.add(write);
      void write.finally(() => under.delete(write));
    }
  }
  await Promise.all(under);
  for (const client of clients) client.close();
}

async function measure(collect: "on" | "off"): Promise<Round> {
  const fleet = await NodeFleet.create({ config: { logLevel: "warn", metrics: { collect } } });
  try {
    await fleet.start(...NODES);
    await pause(SETTLE_MS);
    const pids = NODES.map((name) => fleet.process(name).pid);
    const ms = Number(flags.seconds) * 1_000;
    const idle = await percentOfCore(pids, () => pause(ms));
    const loaded = await percentOfCore(pids, () => load(fleet.apis, ms));
    return { idle, loaded };
  } finally {
    await fleet.close();
  }
}

async function compare(): Promise<void> {
  const rounds: { readonly on: Round[]; readonly off: Round[] } = { on: [], off: [] };
  for (let round = 0; round < Number(flags.rounds); round++) {
    // In turns, and each first as often as the other: a machine that warms up is no one's fault.
    const order = round % 2 === 0 ? (["off", "on"] as const) : (["on", "off"] as const);
    for (const collect of order) rounds[collect].push(await measure(collect));
  }
  for (const part of ["idle", "loaded"] as const) {
    const [off, on] = [rounds.off.map((round) => round[part]), rounds.on.map((round) => round[part])];
    const shown = (values: readonly number[]): string => values.map((value) => value.toFixed(2)).join(" ");
    say(`${part}: percent of a core per node, off ${shown(off)}; on ${shown(on)}`);
    const [offMedian, onMedian] = [median(off), median(on)];
    say(`  medians: off ${offMedian.toFixed(2)}, on ${onMedian.toFixed(2)}: ${(onMedian - offMedian).toFixed(2)} more`);
  }
}

if (flags.help) {
  say(HELP);
} else {
  const { date, cpu, cores, memoryGiB, system, node } = describeMachine();
  say(`${date}, ${cores} cores (${cpu}), ${memoryGiB} GiB, ${system}, Node.js ${node}`);
  for (const size of [{ nodes: 3, methods: 0 }, { nodes: 3, methods: 20 }, { nodes: 7, methods: 200 }]) {
    const { reportMs, leadMs, keepMs } = secondOfMetrics(size);
    const total = (reportMs + leadMs + keepMs) / 10;
    say(
      `${size.nodes} nodes with ${size.methods} methods each, per second: report ${reportMs.toFixed(3)} ms, ` +
        `keep ${keepMs.toFixed(3)} ms, lead ${leadMs.toFixed(3)} ms: ${total.toFixed(3)} % of a core on the leader`,
    );
  }
  if (Number(flags.rounds) > 0) await compare();
}
