// Owns: one node as an operating system process: configuration, the ready line, signals, exit codes.
import { type AetherError, toAetherError } from "../base/errors.ts";
import { type ConfigSources, loadNodeConfig, type NodeConfig } from "./config.ts";
import { type Node, startNode } from "./node.ts";
import { createRealEnv } from "./real-env.ts";

/** A second signal, or this long after the first, ends the process without waiting for calls in flight. */
const STOP_MS_MAX = 35_000;

/**
 * Runs a node until SIGTERM or SIGINT (exit code 0) or until it must not go on (1). A refusal is one line on stderr:
 * `aether: E_…: what, and what to do`.
 */
export async function runNode(sources: ConfigSources): Promise<number> {
  let node: Node;
  let config: NodeConfig;
  try {
    config = loadNodeConfig(sources);
    const { node: id, dataDir, durability, logLevel } = config;
    node = await startNode(config, createRealEnv({ node: id, dataDir, durability, logLevel }));
  } catch (error) {
    complain(toAetherError(error));
    return 1;
  }
  if (config.durability === "memory") {
    process.stderr.write("aether: durability is memory: everything this node holds is lost when it stops\n");
  }
  stopOnSignals(node);
  node.ready().then(
    () => process.stdout.write(`aether node ${config.node} ready api=${node.apiUrl}\n`),
    () => undefined, // ignored: the reason comes with `ended`
  );
  const reason = await node.ended;
  if (reason === undefined) return 0;
  complain(reason);
  return 1;
}

function stopOnSignals(node: Node): void {
  let isStopping = false;
  const onSignal = (): void => {
    if (isStopping) process.exit(1);
    isStopping = true;
    setTimeout(() => process.exit(1), STOP_MS_MAX).unref();
    node.stop().catch((error: unknown) => complain(toAetherError(error)));
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}

function complain(error: AetherError): void {
  process.stderr.write(`aether: ${error.code}: ${error.message}\n`);
}
