// Owns: which pages are generated, and from what.
import { renderConfigReference } from "./config-reference.ts";
import { renderErrorsReference } from "./errors-reference.ts";
import { renderEventsReference } from "./events-reference.ts";

export const GENERATED_PAGES: ReadonlyMap<string, () => string> = new Map([
  ["docs/reference/config.md", renderConfigReference],
  ["docs/reference/errors.md", renderErrorsReference],
  ["docs/reference/events.md", renderEventsReference],
]);
