// Owns: the metrics of this area.
import type { Counter, Gauge, Histogram, Telemetry } from "../env/telemetry.ts";

export interface InvocationMetrics {
  readonly calls: Counter;
  readonly retries: Counter;
  readonly durationSeconds: Histogram;
  readonly inFlight: Gauge;
  readonly breakersOpen: Gauge;
}

export interface RpcMetrics {
  readonly refused: Counter;
  readonly repliesDropped: Counter;
}

export function createInvocationMetrics(telemetry: Telemetry): InvocationMetrics {
  return {
    calls: telemetry.counter({
      name: "aether_calls_total",
      help: "Calls made from this node that ended, by result: ok or an error code.",
      labels: ["result"],
    }),
    retries: telemetry.counter({
      name: "aether_call_retries_total",
      help: "Attempts of calls beyond the first.",
    }),
    durationSeconds: telemetry.histogram({
      name: "aether_call_duration_seconds",
      help: "Time from a call to its result, all attempts included.",
      buckets: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    }),
    inFlight: telemetry.gauge({
      name: "aether_calls_in_flight",
      help: "Calls made from this node that have not ended.",
    }),
    breakersOpen: telemetry.gauge({
      name: "aether_call_breakers_open",
      help: "Instances that calls from this node avoid, because too many of the last ones failed.",
    }),
  };
}

export function createReplayCounter(telemetry: Telemetry): Counter {
  return telemetry.counter({
    name: "aether_calls_replayed_total",
    help: "Calls with an idempotency key that were answered on this node with what an earlier one had got.",
  });
}

export function createCachedCounter(telemetry: Telemetry): Counter {
  return telemetry.counter({
    name: "aether_calls_cached_total",
    help: "Calls made from this node that were answered with an answer it had kept.",
  });
}

export function createRpcMetrics(telemetry: Telemetry): RpcMetrics {
  return {
    refused: telemetry.counter({
      name: "aether_rpc_refused_total",
      help: "Messages of peers on the rpc channel that were not understood.",
    }),
    repliesDropped: telemetry.counter({
      name: "aether_rpc_replies_dropped_total",
      help: "Replies that came after their call had ended, or could not be sent.",
      labels: ["reason"],
    }),
  };
}
