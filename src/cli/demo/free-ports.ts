// Owns: finding ports for a cluster on this machine, so that the demo runs beside whatever else listens.
import { createServer } from "node:net";
import { AetherError } from "../../base/errors.ts";
import type { Random } from "../../base/random.ts";

const FIRST_PORT = 20_000;
/** Below 32,768: from there on systems hand out ports to outgoing connections. */
const PORTS = 12_000;
const TRIES_MAX = 50;

/** The first of `count` ports in a row that are free now. @throws AetherError E_PORT_IN_USE when none is found. */
export async function findFreePorts(count: number, random: Random): Promise<number> {
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    const first = FIRST_PORT + random.below(PORTS);
    const areFree = await Promise.all(Array.from({ length: count }, (_, at) => isFree(first + at)));
    if (areFree.every(Boolean)) return first;
  }
  throw new AetherError("E_PORT_IN_USE", `found no ${count} free ports in a row from ${FIRST_PORT} on: free some`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.on("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}
