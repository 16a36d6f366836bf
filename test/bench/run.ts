// Owns: `npm run bench`: puts, linearizable gets and calls on three node processes with fsync, through the client
// library.
// Prints medians of several runs; asserts nothing. The load generator shares the machine with the nodes.
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { createProcessIo } from "../../dist/cli/process-io.js";
import { runCli } from "../../dist/cli/program.js";
import { table } from "../../dist/cli/table.js";
import { type Client, connect } from "../../dist/client/connect.js";
import { readOptions } from "../support/read-options.ts";
import { AetherCluster } from "./aether-cluster.ts";
import { type LoopResult, medianRun, runClosedLoop } from "./closed-loop.ts";

const NODE_COUNT = 3;
const VALUE = "x".repeat(256);
const SLICES = fileURLToPath(new URL("./slices/", import.meta.url));
const ECHO_PAYLOAD = "y".repeat(256);

const USAGE = `usage: npm run bench -- [options]
  --runs N         of each measurement; the median counts (3)
  --seconds N      of each run (3)
  --clients A,B    requests under way at once (1,16,64,256)
  --only NAME      put, get, call or cross`;

const flags = readOptions(USAGE, {
  runs: { type: "string", default: "3" },
  seconds: { type: "string", default: "3" },
  clients: { type: "string", default: "1,16,64,256" },
  only: { type: "string" },
});
const runs = Number(flags.runs);
const timing = { warmUpMs: 1_000, measureMs: Number(flags.seconds) * 1_000 };
const clientCounts = flags.clients.split(",").map(Number);

interface Section {
  readonly name: string;
  readonly title: string;
  /** Readies the cluster; answers the clients to use. */
  prepare(cluster: AetherCluster, clients: readonly Client[]): Promise<readonly Client[]>;
  request(client: Client, index: number, count: number): Promise<unknown>;
}

/** The client connected to the node of this index. */
function at(clients: readonly Client[], index: number): Client {
  const client = clients[index % clients.length];
  if (client === undefined) throw new RangeError("no clients");
  return client;
}

const echo = (slice: string) => (client: Client) =>
  client.call({ slice, method: "echo", effect: "read", input: { text: ECHO_PAYLOAD } });

const sections: readonly Section[] = [
  {
    name: "put",
    title: "puts, 256-byte values, clients spread over the three nodes",
    prepare: (_cluster, clients) => Promise.resolve(clients),
    request: (client, index, count) => client.kv.put(`data/bench/${index}/${count % 64}`, VALUE),
  },
  {
    name: "get",
    title: "linearizable gets, 256-byte values",
    prepare: (_cluster, clients) => Promise.resolve(clients),
    request: (client, index, count) => client.kv.get(`data/bench/${index}/${count % 64}`),
  },
  {
    name: "call",
    title: "calls of a slice with an instance on every node (same node), 256-byte echo",
    prepare: async (cluster, clients) => {
      await publish(cluster, "everywhere");
      return clients;
    },
    request: echo("everywhere"),
  },
  {
    name: "cross",
    title: "calls of a slice with one instance, from the other two nodes (cross-node), 256-byte echo",
    prepare: async (cluster, clients) => {
      await publish(cluster, "lone");
      const node = await nodeOfLone(cluster);
      return clients.filter((_, index) => `n${index + 1}` !== node);
    },
    request: echo("lone"),
  },
];

async function nodeOfLone(cluster: AetherCluster): Promise<string | undefined> {
  const response = await fetch(`${cluster.apis[0]}/v1/blueprints/lone/status`);
  const status = (await response.json()) as { slices: { lone: { instances: { node: string }[] } } };
  return status.slices.lone.instances[0]?.node;
}

async function publish(cluster: AetherCluster, slice: string): Promise<void> {
  const [api = ""] = cluster.apis;
  const io = { ...createProcessIo(), print: () => undefined };
  await runCli(["--api", api, "slice", "push", `${SLICES}${slice}`], io);
  await runCli(["--api", api, "blueprint", "apply", `${SLICES}${slice}.yaml`, "--wait"], io);
}

async function measure(section: Section, clients: readonly Client[]): Promise<void> {
  const rows: string[][] = [];
  for (const count of clientCounts) {
    const results: LoopResult[] = [];
    for (let run = 0; run < runs; run++) {
      results.push(
        await runClosedLoop({ clients: count, ...timing }, (index, n) => section.request(at(clients, index), index, n)),
      );
    }
    const median = medianRun(results);
    if (median === undefined) continue;
    const all = results.map((result) => result.perSecond).join(" ");
    rows.push([
      String(count),
      String(median.perSecond),
      median.p50Ms.toFixed(2),
      median.p99Ms.toFixed(2),
      String(median.failed),
      all,
    ]);
  }
  console.log(`\n${section.title}`);
  console.log(table(["clients", "median/s", "p50 ms", "p99 ms", "failed", "all runs/s"], rows));
}

console.log(
  `node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? "cpu"}; ${runs} runs of ${flags.seconds} s`,
);
console.log(
  "three node processes with fsync and this load generator share the machine; closed loop, one connection per node",
);
console.log("not measured: networks, disks slower than this one, open-loop latency, values above 256 bytes, long runs");
const cluster = await AetherCluster.start(NODE_COUNT);
const clients = cluster.apis.map((api) => connect({ nodes: [api], discovery: "off" }));
try {
  for (const section of sections) {
    if (flags.only !== undefined && flags.only !== section.name) continue;
    await measure(section, await section.prepare(cluster, clients));
  }
} finally {
  for (const client of clients) client.close();
  await cluster.close();
}
