// Owns: ports for nodes of tests. Test files run side by side, each with nodes that are away for a while: so that no
// other test takes their ports meanwhile, each worker of the test runner has a range of its own.
import { randomInt } from "node:crypto";
import { SeededRandom } from "../../src/base/random.ts";
import { findFreePorts } from "../../src/cli/demo/free-ports.ts";

/** Below those of demos and development clusters, which tests start too. */
const FIRST_PORT = 10_000;
const PORTS_PER_WORKER = 2_500;
const WORKERS_MAX = 4;

/** The first of `count` ports in a row that are free, and that no other test has. */
export async function findTestPorts(count: number): Promise<number> {
  const worker = Number(process.env["VITEST_POOL_ID"] ?? 0) % WORKERS_MAX;
  const range = { first: FIRST_PORT + worker * PORTS_PER_WORKER, count: PORTS_PER_WORKER };
  return findFreePorts(count, new SeededRandom(randomInt(2 ** 31)), range);
}
