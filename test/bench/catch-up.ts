// Owns: `npm run bench:catch-up`: what it costs when a node comes back after many writes, and when a new one joins a
// large store: how long it takes, what the others notice of it, and how much memory each takes for it.
import { parseArgs } from "node:util";
import { ALLOCATOR_VARIABLES } from "../../dist/cli/node-process.js";
import { connect } from "../../dist/client/connect.js";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { runRequests } from "./closed-loop.ts";
import { describeMachine } from "./machine.ts";
import { MemoryWatch } from "./memory-watch.ts";
import { SteadyWrites } from "./steady-writes.ts";

const { values: flags } = parseArgs({
  options: {
    writes: { type: "string", default: "1000000" },
    "value-bytes": { type: "string", default: "256" },
    "join-bytes": { type: "string", default: String(2 ** 30) },
    "join-value-bytes": { type: "string", default: "65536" },
    clients: { type: "string", default: "256" },
    "steady-clients": { type: "string", default: "16" },
    "calm-seconds": { type: "string", default: "10" },
    directory: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

const HELP = `npm run bench:catch-up -- [options]
  --writes N             writes while a node is away (1000000); 0 leaves this part out
  --value-bytes N        size of their values (256); each write is of a key of its own
  --join-bytes N         live data when a new node joins (1 GiB); 0 leaves this part out
  --join-value-bytes N   size of their values (65536)
  --clients N            concurrent writers while the store fills (256)
  --steady-clients N     writers that go on while a node catches up (16)
  --calm-seconds N       how long they are measured before and after (10)
  --directory DIR        where the data goes
`;

const MiB = 2 ** 20;
const MINUTE_MS = 60_000;
const TIMEOUT_MS = 60_000;
const LIMIT_MS = 30 * MINUTE_MS;

interface CatchUp {
  readonly kind: string;
}

function say(line: string): void {
  console.log(line);
}

/** Keys 0 to total - 1 under `prefix`, through these nodes. */
async function fill(apis: readonly string[], prefix: string, total: number, bytes: number): Promise<void> {
  const clients = apis.map((api) => connect({ nodes: [api], discovery: "off" }));
  const filling = "x".repeat(bytes);
  const startMs = performance.now();
  const concurrent = Math.max(2, Math.min(Number(flags.clients), Math.floor((64 * MiB) / bytes)));
  const failed = await runRequests(concurrent, total, async (client, count) => {
    const name = String(count).padStart(9, "0");
    const value = name + filling.slice(name.length);
    await clients[client % clients.length]?.kv.put(`${prefix}${name}`, value, { timeoutMs: TIMEOUT_MS });
  });
  for (const client of clients) client.close();
  const seconds = (performance.now() - startMs) / 1_000;
  say(`  ${total} writes of ${bytes} B: ${(total / seconds).toFixed(0)}/s, ${failed} failed`);
}

/** Waits until the node can serve; shows on the way how it catches up. Answers the ways it took. */
async function waitUntilReady(fleet: NodeFleet, name: string, others: readonly string[]): Promise<readonly string[]> {
  const ways = new Set<string>();
  await eventually(`${name} is ready`, async () => {
    if (!fleet.process(name).isRunning) throw new Error(fleet.process(name).transcript());
    const catchUp = await catchUpOf(fleet, name, others);
    if (catchUp !== undefined) ways.add(catchUp.kind);
    // ignored: it does not listen yet
    const answer = await ask(`${fleet.api(name)}/readyz`).catch(() => undefined);
    return answer?.status === 200 || undefined;
  }, LIMIT_MS);
  return [...ways];
}

async function catchUpOf(fleet: NodeFleet, name: string, others: readonly string[]): Promise<CatchUp | undefined> {
  for (const other of others) {
    // ignored: the next one is asked
    const answer = await ask(`${fleet.api(other)}/v1/cluster`).catch(() => undefined);
    const { nodes } = (answer?.body ?? { nodes: [] }) as { nodes: readonly { id: string; catchUp: CatchUp | null }[] };
    const found = nodes.find((node) => node.id === name)?.catchUp;
    if (found !== undefined && found !== null) return found;
  }
  return undefined;
}

/** Starts `name` while writers go on, and says what that was like. */
async function measureArrival(fleet: NodeFleet, name: string, others: readonly string[]): Promise<void> {
  const calmMs = Number(flags["calm-seconds"]) * 1_000;
  const writes = new SteadyWrites(others.map((other) => fleet.api(other)), Number(flags["steady-clients"]));
  const memory = new MemoryWatch(new Map(others.map((other) => [other, fleet.process(other).pid])));
  try {
    say(`  before:    ${await writes.during(calmMs)}`);
    memory.mark();
    const startMs = performance.now();
    const launched = await fleet.launch(name);
    memory.add(name, launched.pid);
    const arriving = writes.begin();
    const ways = await waitUntilReady(fleet, name, others);
    const readyMs = performance.now() - startMs;
    say(`  meanwhile: ${arriving.end()}`);
    const how = ways.join(", ") || "nothing that was seen";
    say(`  ${name} was ready after ${(readyMs / 1_000).toFixed(1)} s, by ${how}`);
    for (const line of memory.report()) say(`  ${line}`);
    memory.mark();
    say(`  after:     ${await writes.during(calmMs)}`);
    for (const line of memory.report()) say(`  ${line}`);
  } finally {
    memory.close();
    await writes.close();
  }
}

async function comeBack(fleet: NodeFleet): Promise<void> {
  say(`n3 is away for ${flags.writes} writes`);
  await fleet.process("n3").stop("SIGTERM");
  const apis = [fleet.api("n1"), fleet.api("n2")];
  await fill(apis, "data/away/", Number(flags.writes), Number(flags["value-bytes"]));
  await measureArrival(fleet, "n3", ["n1", "n2"]);
}

async function join(fleet: NodeFleet): Promise<void> {
  const bytes = Number(flags["join-value-bytes"]);
  const total = Math.ceil(Number(flags["join-bytes"]) / bytes);
  say(`n4 joins a store with ${flags["join-bytes"]} B more`);
  const apis = ["n1", "n2", "n3"].map((name) => fleet.api(name));
  await fill(apis, "data/join/", total, bytes);
  await measureArrival(fleet, "n4", ["n1", "n2", "n3"]);
}

if (flags.help) {
  say(HELP);
} else {
  const { date, cpu, cores, memoryGiB, system, node, fileSystem, syncMs } = describeMachine();
  say(`${date}, ${cores} cores (${cpu}), ${memoryGiB} GiB, ${system}, ${fileSystem}, Node.js ${node}`);
  say(`fdatasync of 4 KiB: p50 ${syncMs.p50.toFixed(2)} ms, p99 ${syncMs.p99.toFixed(2)} ms`);
  const fleet = await NodeFleet.create({
    names: ["n1", "n2", "n3", "n4"],
    firstVoters: ["n1", "n2", "n3"],
    config: { logLevel: "warn" },
    launchOf: () => ({ variables: ALLOCATOR_VARIABLES }),
    ...(flags.directory === undefined ? {} : { directory: flags.directory }),
  });
  try {
    await fleet.start("n1", "n2", "n3");
    if (Number(flags.writes) > 0) await comeBack(fleet);
    if (Number(flags["join-bytes"]) > 0) await join(fleet);
  } finally {
    await fleet.close();
  }
}
