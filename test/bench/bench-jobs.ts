// Owns: `npm run bench:jobs`: jobs of ten steps on three nodes with fsync, beside puts through the same API, in one
// run. Every result is read back through another node and checked. Prints medians; on request keeps the numbers as
// JSON. Asserts nothing about time.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createProcessIo } from "../../dist/cli/process-io.js";
import { runCli } from "../../dist/cli/program.js";
import { table } from "../../dist/cli/table.js";
import { NodeFleet } from "../support/node-fleet.ts";
import { medianRun, runClosedLoop, type LoopOptions, type LoopRequest, type LoopResult } from "./closed-loop.ts";
import { describeMachine } from "./machine.ts";

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

const HELP = `npm run bench:jobs -- [options]
  --quick      small numbers: does it work?
  --rounds N   rounds of each measurement; the median counts
  --json FILE  keep the results
`;

const AGENTS = fileURLToPath(new URL("./slices/steps", import.meta.url));
const STEPS = 10;
const SUM = (STEPS * (STEPS + 1)) / 2;
const RESULT_WAIT_MS = 30_000;

const plan = flags.quick
  ? { rounds: 1, warmUpMs: 500, measureMs: 1_500 }
  : { rounds: 3, warmUpMs: 5_000, measureMs: 8_000 };
const rounds = flags.rounds === undefined ? plan.rounds : Number(flags.rounds);
const CLIENTS = [1, 64];

async function send(method: string, url: string, body?: unknown): Promise<unknown> {
  const response = await fetch(url, {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new RangeError(`${method} ${url}: ${response.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

interface Api {
  /** One of the nodes; another one for the next number. */
  at(index: number): string;
}

/** Starts a job through one node and reads its result through another. */
function jobOf(api: Api, effect: "barrier" | "read"): LoopRequest {
  return async (client) => {
    const input = { steps: STEPS, effect };
    const { job } = (await send("POST", `${api.at(client)}/v1/jobs`, { agent: "steps", input })) as { job: string };
    const path = `/v1/jobs/${job}/result?waitMs=${RESULT_WAIT_MS}`;
    const answer = (await send("GET", `${api.at(client + 1)}${path}`)) as { result?: { output?: { sum?: number } } };
    if (answer.result?.output?.sum !== SUM) throw new RangeError(`job ${job}: ${JSON.stringify(answer)}`);
  };
}

function putOf(api: Api): LoopRequest {
  return (client, count) => send("PUT", `${api.at(client)}/v1/kv/data/bench/${client}/${count % 100}`, "x".repeat(256));
}

async function measure(api: Api): Promise<ReadonlyMap<string, readonly LoopResult[]>> {
  const series = new Map<string, LoopResult[]>();
  for (let round = 0; round < rounds; round++) {
    for (const clients of CLIENTS) {
      const loop: LoopOptions = { clients, warmUpMs: plan.warmUpMs, measureMs: plan.measureMs };
      const requests = {
        "put through HTTP": putOf(api),
        [`job of ${STEPS} steps`]: jobOf(api, "barrier"),
        [`job of ${STEPS} steps that only read`]: jobOf(api, "read"),
      };
      for (const [name, request] of Object.entries(requests)) {
        const key = `${name}, ${clients} at once`;
        series.set(key, [...(series.get(key) ?? []), await runClosedLoop(loop, request)]);
      }
    }
  }
  return series;
}

async function run(): Promise<void> {
  const { date, cpu, cores, node } = describeMachine();
  console.log(`${date}, ${cores} x ${cpu}, node ${node}; ${rounds} rounds of ${plan.measureMs / 1_000} s each`);
  console.log("closed loop over HTTP; three nodes with fsync and the load share the machine; results are read back");
  console.log("not measured: networks, large inputs, tools, jobs that wait, long logs");
  const fleet = await NodeFleet.create({ cluster: "bench" });
  try {
    await fleet.startAll();
    const api: Api = { at: (index) => fleet.api(fleet.names[index % fleet.names.length] ?? "n1") };
    const io = { ...createProcessIo(), print: () => undefined, report: () => undefined };
    await runCli(["--api", api.at(0), "slice", "push", AGENTS], io);
    const slices = { steps: { artifact: "bench:steps@^1.0.0", instances: 0 } };
    await send("PUT", `${api.at(0)}/v1/blueprints/bench`, { slices });
    const series = await measure(api);
    const rows = [...series].map(([name, results]) => {
      const { perSecond, p50Ms, p99Ms, failed } = medianRun(results) ?? { perSecond: 0, p50Ms: 0, p99Ms: 0, failed: 0 };
      const all = results.map((result) => result.perSecond).join(" ");
      return [name, String(perSecond), p50Ms.toFixed(2), p99Ms.toFixed(2), String(failed), all];
    });
    console.log(table(["what", "median/s", "p50 ms", "p99 ms", "failed", "all rounds/s"], rows));
    const results = { machine: describeMachine(), plan, series: Object.fromEntries(series) };
    if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(results, undefined, 2)}\n`);
  } finally {
    await fleet.close();
  }
}

if (flags.help) console.log(HELP);
else await run();
