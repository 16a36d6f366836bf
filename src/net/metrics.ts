// Owns: the metrics of this area.
import type { Counter, Gauge, Telemetry } from "../env/telemetry.ts";

export interface NetMetrics {
  readonly frames: Counter;
  readonly messages: Counter;
  readonly bytes: Counter;
  readonly reconnects: Counter;
  readonly refused: Counter;
  readonly connected: Gauge;
}

export function createNetMetrics(telemetry: Telemetry): NetMetrics {
  return {
    frames: telemetry.counter({
      name: "aether_net_frames_total",
      help: "Frames exchanged with peers.",
      labels: ["direction"],
    }),
    messages: telemetry.counter({
      name: "aether_net_messages_total",
      help: "Messages exchanged with peers, by channel.",
      labels: ["direction", "channel"],
    }),
    bytes: telemetry.counter({
      name: "aether_net_bytes_total",
      help: "Bytes of frames exchanged with peers.",
      labels: ["direction"],
    }),
    reconnects: telemetry.counter({
      name: "aether_net_reconnects_total",
      help: "Connections to a peer that had been connected before.",
      labels: ["peer"],
    }),
    refused: telemetry.counter({
      name: "aether_net_refused_total",
      help: "Connections, frames and messages that were not accepted, by reason.",
      labels: ["reason"],
    }),
    connected: telemetry.gauge({ name: "aether_net_peers_connected", help: "Peers connected now." }),
  };
}
