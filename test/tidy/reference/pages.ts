// Owns: which pages are generated, and from what.
import { renderConfigReference } from "./config-reference.ts";
import { renderErrorsReference } from "./errors-reference.ts";
import { METRICS_PAGE, renderMetricsReference } from "./metrics-reference.ts";
import { renderEventsReference } from "./events-reference.ts";
import { ALERTS_PAGE, renderAlertsReference } from "./alerts-reference.ts";
import { renderRulesReference } from "./rules-reference.ts";

export const GENERATED_PAGES: ReadonlyMap<string, () => string> = new Map([
  ["docs/reference/config.md", renderConfigReference],
  ["docs/reference/errors.md", renderErrorsReference],
  [METRICS_PAGE, renderMetricsReference],
  ["docs/reference/events.md", renderEventsReference],
  [ALERTS_PAGE, renderAlertsReference],
  ["docs/reference/scaling-rules.md", renderRulesReference],
]);
