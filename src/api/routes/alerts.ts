// Owns: /v1/alerts: what stands now. What fired and what is over are events (events.ts).
import { z } from "zod";
import type { Alerts } from "../../alerts/alert-service.ts";
import { ALERT_PHASES } from "../../metrics/core/leader-word.ts";
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";

const alertsQuery = z.strictObject({
  severity: z.enum(["warning", "error"]).exactOptional().describe("Only alerts of this severity"),
  state: z.enum(ALERT_PHASES).exactOptional()
    .describe("Only alerts that fire, or only those that are about to; both without it"),
});

export function alertsRoute(alerts: Alerts): Route {
  return {
    method: "GET",
    path: "/v1/alerts",
    summary: "Alerts that fire, and those that are about to (pending), as the leader judged them last and as this " +
      "node judges itself; errors first",
    query: alertsQuery,
    answer: "{ alerts: [{ id, alert, severity, state, subject, value, sinceMs, text, action }], judged: { by, ageMs, " +
      "isStale } | null, webhooks: [{ name, waiting, told, failed, givenUp, problem? }] }; stale: nobody judges the " +
      "cluster now, or this node does not hear it",
    handle: (request) => jsonResponse(200, alerts.list(request.query(alertsQuery))),
  };
}
