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
  let config: NodeConfig;
  try {
    config = loadNodeConfig(sources);
  } catch (error) {
    complain(toAetherError(error));
    return 1;
  }
  const stopping = stopOnSignals({ hasParent, limitMs: nodeStopMs(config) });
  try {
    return await runUntil(stopping.signal, config);
  } finally {
    stopping.ignore();
  }
}

async function runUntil(signal: AbortSignal, config: NodeConfig): Promise<number> {
  const { node: id, dataDir, durability, logLevel } = config;
  let node: Node;
  try {
    node = await startNode(config, createRealEnv({ node: id, dataDir, durability, logLevel }), { signal });
  } catch (error) {
    // It was asked to stop, and has.
    if (signal.aborted) return 0;
    complain(toAetherError(error));
    return 1;
  }
  signal.addEventListener("abort", () => void node.stop().catch((error: unknown) => complain(toAetherError(error))));
  if (config.durability === "memory") {
    process.stderr.write("aether: durability is memory: everything this node holds is lost when it stops\n");
  }
  node.ready().then(
    () => process.stdout.write(`aether node ${config.node} ready api=${node.apiUrl}\n`),
    () => undefined, // ignored: the reason comes with `ended`
  );
  const reason = await node.ended;
  if (reason === undefined) return 0;
  complain(reason);
  return 1;
}

/**
 * Aborts on the first signal, or when the parent that gave this process a channel is gone. A second signal, or
 * `limitMs` after the first, ends the process without waiting for calls in flight.
 */
function stopOnSignals({ hasParent, limitMs }: { readonly hasParent: boolean; readonly limitMs: number }): {
  readonly signal: AbortSignal;
  readonly ignore: () => void;
} {
  const stopping = new AbortController();
  const stop = (): void => {
    if (stopping.signal.aborted) return;
    setTimeout(() => process.exit(1), limitMs).unref();
    stopping.abort();
  };
  const onSignal = (): void => {
    if (stopping.signal.aborted) process.exit(1);
    stop();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  process.on("disconnect", stop);
  // It may have gone while the configuration was read.
  if (hasParent && !process.connected) stop();
  return {
    signal: stopping.signal,
    ignore: () => {
      process.off("disconnect", stop);
      // An open channel would keep the process alive.
      if (process.connected) process.disconnect();
    },
  };
}

function complain(error: AetherError): void {
  process.stderr.write(`aether: ${error.code}: ${error.message}\n`);
}
