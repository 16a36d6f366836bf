// Owns: the API's metrics.
import type { Counter, Gauge, Histogram, Telemetry } from "../env/telemetry.ts";

export interface ApiMetrics {
  readonly requests: Counter;
  readonly requestSeconds: Histogram;
  readonly sessions: Gauge;
  readonly sessionMessages: Counter;
  readonly refused: Counter;
}

export function declareApiMetrics(telemetry: Telemetry): ApiMetrics {
  return {
    requests: telemetry.counter({
      name: "aether_api_requests_total",
      help: "HTTP requests answered, by route and status.",
      labels: ["route", "status"],
    }),
    requestSeconds: telemetry.histogram({
      name: "aether_api_request_seconds",
      help: "Time to answer an HTTP request, by route.",
      labels: ["route"],
      buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10],
    }),
    sessions: telemetry.gauge({
      name: "aether_api_sessions",
      help: "Open connections of the binary client protocol.",
    }),
    sessionMessages: telemetry.counter({
      name: "aether_api_session_messages_total",
      help: "Requests received over the binary client protocol.",
    }),
    refused: telemetry.counter({
      name: "aether_api_connections_refused_total",
      help: "Client connections that were closed for what came over them, or did not, by reason.",
      labels: ["reason"],
    }),
  };
}
