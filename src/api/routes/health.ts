// Owns: what probes and scrapers ask: /livez, /readyz, /metrics.
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

export function healthRoutes(services: ApiServices): readonly Route[] {
  return [
    {
      method: "GET",
      path: "/livez",
      summary: "Whether the process runs; 503 means restart it",
      answer: "{ live }",
      isProbe: true,
      handle: () => {
        const isLive = services.health.isLive();
        return jsonResponse(isLive ? 200 : 503, { live: isLive });
      },
    },
    {
      method: "GET",
      path: "/readyz",
      summary: "Whether the node is in quorum, caught up and applying; 503 with a reason otherwise",
      answer: "{ ready, reason? }",
      isProbe: true,
      handle: () => {
        const { isReady, reason } = services.health.readiness();
        return jsonResponse(isReady ? 200 : 503, { ready: isReady, ...(reason === undefined ? {} : { reason }) });
      },
    },
    {
      method: "GET",
      path: "/metrics",
      summary: "Metrics in the Prometheus text format",
      answer: "text/plain",
      isProbe: true,
      handle: async () =>
        new Response(await services.metricsText(), {
          status: 200,
          headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
        }),
    },
  ];
}
