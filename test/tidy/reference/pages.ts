// Owns: which pages are generated, and from what.
import { renderErrorsReference } from "./errors-reference.ts";

export const GENERATED_PAGES: ReadonlyMap<string, () => string> = new Map([
  ["docs/reference/errors.md", renderErrorsReference],
]);
