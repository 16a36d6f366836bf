// Owns: the metrics of consensus that are told as they happen; those that are read are in node/status-metrics.ts.
import type { Telemetry } from "../env/telemetry.ts";

export function declareConsensusMetrics(telemetry: Telemetry) {
  return {
    writeSeconds: telemetry.histogram({
      name: "aether_consensus_write_seconds",
      help: "Time of one durable journal write, queue excluded.",
      buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
    }),
  };
}

export type ConsensusMetrics = ReturnType<typeof declareConsensusMetrics>;
