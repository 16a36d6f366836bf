// Owns: `npm run chaos`: real node processes under faults, for some minutes; a report, a picture, and exit code 1 when
// something is wrong.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SeededRandom } from "../../src/base/random.ts";
import { NODES, runChaos } from "./chaos-run.ts";
import { FAULT_KINDS, type FaultKind } from "./faults.ts";
import { renderLatency } from "./latency-chart.ts";
import type { ChaosNetwork } from "./network/chaos-network.ts";
import { findEntrance, INSIDE_FLAG, runInside } from "./network/entering.ts";
import { NamespaceNetwork } from "./network/namespace-network.ts";
import { ProxyNetwork } from "./network/proxy-network.ts";
import { renderReport } from "./report.ts";

const MINUTE_MS = 60_000;
const PACE = { faultMsMin: 500, faultMsSpan: 4_000, restMs: 1_500 } as const;
const SEED_MAX = 1_000_000;

const { values: flags } = parseArgs({
  options: {
    minutes: { type: "string", default: "2" },
    seed: { type: "string" },
    network: { type: "string", default: "best" },
    faults: { type: "string" },
    out: { type: "string", default: "data/chaos" },
    help: { type: "boolean", default: false },
    [INSIDE_FLAG.slice(2)]: { type: "boolean", default: false },
  },
});

const HELP = `npm run chaos -- [options]
  --minutes N      how long faults go on (2)
  --seed N         which faults, in which order; drawn when absent
  --network best|proxy   best: namespaces of its own where that is permitted; proxy: never
  --faults A,B     only these: ${FAULT_KINDS.join(", ")}
  --out DIRECTORY  where report and picture go (data/chaos)
`;

async function run(seed: number, network: ChaosNetwork, reasons: readonly string[]): Promise<number> {
  const durationMs = Number(flags.minutes) * MINUTE_MS;
  const kinds = faultKinds();
  const played = await runChaos({ seed, durationMs, pace: PACE, network, disk: "small", kinds, say: console.log });
  const result = { ...played, skipped: [...reasons, ...played.skipped] };
  const report = renderReport(result);
  mkdirSync(flags.out, { recursive: true });
  writeFileSync(join(flags.out, `report-${seed}.txt`), report);
  writeFileSync(join(flags.out, `latency-${seed}.svg`), renderLatency(result));
  for (const [node, lines] of result.logs) {
    writeFileSync(join(flags.out, `${node}-${seed}.log`), `${lines.join("\n")}\n`);
  }
  console.log(`\n${report}\nwritten to ${flags.out}`);
  if (result.violations.length > 0) console.log(`again: npm run chaos -- --minutes ${flags.minutes} --seed ${seed}`);
  return result.violations.length === 0 ? 0 : 1;
}

function faultKinds(): readonly FaultKind[] {
  if (flags.faults === undefined) return FAULT_KINDS;
  return flags.faults.split(",").map((name) => {
    const kind = FAULT_KINDS.find((known) => known === name);
    if (kind === undefined) throw new Error(`--faults ${name}: there are ${FAULT_KINDS.join(", ")}`);
    return kind;
  });
}

async function main(): Promise<number> {
  const seed = flags.seed === undefined ? Math.trunc(performance.timeOrigin) % SEED_MAX : Number(flags.seed);
  if (process.argv.includes(INSIDE_FLAG)) return run(seed, await NamespaceNetwork.open(NODES), []);
  const entrance = flags.network === "proxy" ? ({ kind: "closed", reason: "not asked for" } as const) : findEntrance();
  if (entrance.kind === "open") return runInside(entrance);
  const network = await ProxyNetwork.open(NODES, new SeededRandom(seed));
  return run(seed, network, [`no network namespaces (${entrance.reason}): proxies stand in for the network`]);
}

if (flags.help) console.log(HELP);
else process.exitCode = await main();
