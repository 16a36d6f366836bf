// Owns: the Env of a real node: real time, sockets, disk, threads, logs. Only wiring: each part is an adapter.
import type { NodeId } from "../base/ids.ts";
import { type LogLevel, LogLevels } from "../base/log-levels.ts";
import type { Clock } from "../env/clock.ts";
import type { Env } from "../env/env.ts";
import type { Telemetry } from "../env/telemetry.ts";
import type { WorkersPort } from "../env/workers.ts";
import { createOtelTracing } from "../metrics/otel-tracing-adapter.ts";
import { createProcessMeter } from "../metrics/process-meter-adapter.ts";
import { createPrometheusMetrics } from "../metrics/prometheus-adapter.ts";
import { createWsNetwork, PEER_SOCKETS_MAX } from "../net/ws-adapter.ts";
import { createThreadWorkers } from "../slices/host/thread-adapter.ts";
import { createLevelStorePort } from "../storage/level-adapter.ts";
import { takeOverLevelLog } from "../storage/level-log-adapter.ts";
import { createMemoryStorePort } from "../storage/memory-store.ts";
import { createOrderedLogPort } from "../storage/ordered-append-log.ts";
import { createSegmentLogPort } from "../storage/segment-log-adapter.ts";
import { connectionsMax } from "./connection-limits.ts";
import { createRealClock } from "./env-clock-adapter.ts";
import { createJsonLog } from "./env-log-adapter.ts";
import { createRealRandom } from "./env-random-adapter.ts";

export interface RealEnvOptions {
  readonly node: NodeId;
  /** The stores of this node are directories in it. Unused when durability is `memory`. */
  readonly dataDir: string;
  /** `memory` keeps nothing: a node that stops has lost its data. */
  readonly durability: "fsync" | "memory";
  readonly logLevel: LogLevel;
  /** Worker threads when absent. */
  readonly workersPort?: WorkersPort;
}

export function createRealEnv(options: RealEnvOptions): Env {
  const clock = createRealClock();
  const telemetry = createTelemetry(options);
  return {
    clock,
    telemetry,
    meter: createProcessMeter(options.dataDir),
    random: createRealRandom(),
    network: createWsNetwork(telemetry, connectionsMax("peers", PEER_SOCKETS_MAX)),
    ...createDisk(options, clock),
    workers: options.workersPort ?? createThreadWorkers(),
  };
}

function createTelemetry({ node, logLevel }: RealEnvOptions): Telemetry {
  const levels = new LogLevels(logLevel);
  const log = createJsonLog({ node, levels });
  const tracing = createOtelTracing({ "aether.node": node });
  return { log, levels, tracing, ...createPrometheusMetrics({ processMetrics: "on" }) };
}

function createDisk({ dataDir, durability }: RealEnvOptions, clock: Clock): Pick<Env, "store" | "logs"> {
  if (durability === "fsync") return openDataDirectory(dataDir);
  const store = createMemoryStorePort(clock);
  return { store, logs: createOrderedLogPort(store) };
}

/** The stores and logs in a data directory. */
export function openDataDirectory(dataDir: string): Pick<Env, "store" | "logs"> {
  const store = createLevelStorePort(dataDir);
  const logs = createSegmentLogPort(dataDir);
  return {
    store,
    logs: {
      async open(name) {
        await takeOverLevelLog(dataDir, name, store);
        return logs.open(name);
      },
      destroy: (name) => logs.destroy(name),
    },
  };
}
