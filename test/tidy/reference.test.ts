import { describe, expect, test } from "vitest";
import { ERRORS } from "../../src/base/error-catalog.ts";
import { readProject } from "./project.ts";
import { renderErrorsReference } from "./reference/errors-reference.ts";
import { GENERATED_PAGES } from "./reference/pages.ts";

describe("generated pages are up to date", () => {
  const files = new Map(readProject().map((file) => [file.path, file.text]));

  test.each([...GENERATED_PAGES])("%s is what `npm run docs` writes", (path, render) => {
    expect(files.get(path)).toBe(render());
  });

  test("every error code has its row", () => {
    const page = renderErrorsReference();
    expect(Object.keys(ERRORS).filter((code) => !page.includes(`\n| \`${code}\` |`))).toEqual([]);
  });

  test("the catalog gives each code a sentence and a matching HTTP class", () => {
    for (const [code, spec] of Object.entries(ERRORS)) {
      expect(spec.doc, code).toMatch(/^[A-Z].*\.$/);
      expect(spec.http, code).toBeGreaterThanOrEqual(400);
    }
  });
});
