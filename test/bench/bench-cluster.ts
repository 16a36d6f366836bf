// Owns: three real node processes for a benchmark: fsync on, fresh data, loopback.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SeededRandom } from "../../dist/base/random.js";
import { DemoCluster } from "../../dist/cli/demo/demo-cluster.js";
import { findFreePorts } from "../../dist/cli/demo/free-ports.js";
import { createProcessIo } from "../../dist/cli/process-io.js";

const STOP_MS = 10_000;

export interface BenchCluster {
  readonly apis: readonly string[];
  stop(): Promise<void>;
}

export async function startBenchCluster(nodeCount: number): Promise<BenchCluster> {
  const directory = await mkdtemp(join(tmpdir(), "aether-bench-"));
  const firstPort = await findFreePorts(2 * nodeCount, new SeededRandom(process.pid));
  const cluster = await DemoCluster.create(createProcessIo(), directory, firstPort, nodeCount);
  await Promise.all(cluster.nodes.map((node) => cluster.start(node.name)));
  return {
    apis: cluster.apis,
    stop: async () => {
      await cluster.stopAll(STOP_MS);
      await rm(directory, { recursive: true, force: true });
    },
  };
}
