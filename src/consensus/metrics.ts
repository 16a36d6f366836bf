// Owns: the metrics of consensus. Docs of them are generated from these declarations.
import type { Telemetry } from "../env/telemetry.ts";

export function declareConsensusMetrics(telemetry: Telemetry) {
  return {
    slotsDecided: telemetry.counter({
      name: "aether_consensus_slots_total",
      help: "Slots decided on this node, by outcome and by how it learned it.",
      labels: ["outcome", "learned"],
    }),
    phasesBeyondFirst: telemetry.counter({
      name: "aether_consensus_late_phases_total",
      help: "Slots that needed more than one phase of the binary agreement.",
    }),
    batchCommands: telemetry.histogram({
      name: "aether_consensus_batch_commands",
      help: "Commands in a batch of this node.",
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
    }),
    writeSeconds: telemetry.histogram({
      name: "aether_consensus_write_seconds",
      help: "Time of one durable journal write, queue excluded.",
      buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
    }),
    pendingCommands: telemetry.gauge({
      name: "aether_consensus_pending_commands",
      help: "Commands accepted on this node and not answered yet.",
    }),
    applied: telemetry.gauge({ name: "aether_consensus_applied_slots", help: "Slots applied on this node." }),
    logStart: telemetry.gauge({
      name: "aether_consensus_log_start_slots",
      help: "The oldest slot that this node can give to others; one that is further behind fetches the state.",
    }),
    refusedMessages: telemetry.counter({
      name: "aether_consensus_refused_messages_total",
      help: "Payloads of peers that could not be decoded.",
    }),
  };
}

export type ConsensusMetrics = ReturnType<typeof declareConsensusMetrics>;
