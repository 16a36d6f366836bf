// Owns: one node as an operating system process: configuration, the ready line, signals, exit codes.
import { type AetherError, toAetherError } from "../base/errors.ts";
import { type ConfigSources, loadNodeConfig, type NodeConfig } from "./config.ts";
import { type Node, startNode } from "./node.ts";
import { createRealEnv } from "./real-env.ts";
import { nodeStopMs } from "./time-limits.ts";

/**
 * Runs a node until SIGTERM or SIGINT (exit code 0) or until it must not go on (1). A refusal is one line on stderr:
 * `aether: E_…: what, and what to do`.
 */
export async function runNode(sources: ConfigSources): Promise<number> {
  const hasParent = process.connected === true;
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
  const ignoreSignals = stopOnSignals(node, { hasParent, limitMs: nodeStopMs(config) });
  node.ready().then(
    () => process.stdout.write(`aether node ${config.node} ready api=${node.apiUrl}\n`),
    () => undefined, // ignored: the reason comes with `ended`
  );
  const reason = await node.ended;
  ignoreSignals();
  if (reason === undefined) return 0;
  complain(reason);
  return 1;
}

/**
 * Stops the node on the first signal, or when the parent that gave it a channel is gone. A second signal, or `limitMs`
 * after the first, ends the process without waiting for calls in flight. Answers how to undo it.
 */
function stopOnSignals(
  node: Node, { hasParent, limitMs }: { readonly hasParent: boolean; readonly limitMs: number },
): () => void {
  let isStopping = false;
  const stop = (): void => {
    if (isStopping) return;
    isStopping = true;
    setTimeout(() => process.exit(1), limitMs).unref();
    node.stop().catch((error: unknown) => complain(toAetherError(error)));
  };
  const onSignal = (): void => {
    if (isStopping) process.exit(1);
    stop();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  process.on("disconnect", stop);
  // It may have gone while the node was opened.
  if (hasParent && !process.connected) stop();
  return () => {
    process.off("disconnect", stop);
    // An open channel would keep the process alive.
    if (process.connected) process.disconnect();
  };
}

function complain(error: AetherError): void {
  process.stderr.write(`aether: ${error.code}: ${error.message}\n`);
}
