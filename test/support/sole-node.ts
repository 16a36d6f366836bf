// Owns: the configuration of a node that is a cluster by itself and keeps nothing, for tests inside one process.
import { type NodeConfig, parseNodeConfig } from "../../src/node/config.ts";

/** Its ports are whatever is free. */
export function soleNodeConfig(dataDir: string): NodeConfig {
  return parseNodeConfig({
    cluster: "test",
    node: "n1",
    listen: "ws://127.0.0.1:0",
    api: "http://127.0.0.1:0",
    voters: { n1: "ws://127.0.0.1:0" },
    dataDir,
    durability: "memory",
  });
}
