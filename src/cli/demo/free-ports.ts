// Owns: finding ports for a cluster on this machine, so that the demo runs beside whatever else listens.
import { createServer } from "node:net";
import { AetherError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";

export interface PortRange {
  readonly first: number;
  readonly count: number;
}

/** Below 32,768: from there on systems hand out ports to outgoing connections. */
const RANGE: PortRange = { first: 20_000, count: 12_000 };
const TRIES_MAX = 50;

/** The first of `count` ports in a row that are free now. @throws AetherError E_PORT_IN_USE when none is found. */
export async function findFreePorts(count: number, random: Random, range = RANGE): Promise<number> {
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    const first = range.first + random.below(range.count - count);
    const areFree = await Promise.all(Array.from({ length: count }, (_, at) => isFree(first + at)));
    if (areFree.every(Boolean)) return first;
  }
  throw new AetherError("E_PORT_IN_USE", `found no ${count} free ports in a row from ${range.first} on: free some`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.on("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}
