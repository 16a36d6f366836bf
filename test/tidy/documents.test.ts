import { describe, expect, test } from "vitest";
import { plant, placesOf } from "./planted.ts";
import { describeFindings, readProject } from "./project.ts";
import { findBrokenLinks, findUnknownErrorCodes, findUnknownScripts } from "./rules/documents.ts";

describe("links lead somewhere", () => {
  const around = {
    "src/a.ts": "one\ntwo\n",
    "docs/other.md": "# Other page\n\n## What `x` does\n\n## Again\n\n## Again\n\n```\n# not a heading\n```\n",
  };

  test("in this project", () => {
    expect(describeFindings(findBrokenLinks(readProject()))).toEqual([]);
  });

  test.each([
    ["a file that is not there", "[x](gone.md)"],
    ["a heading that is not there", "[x](other.md#gone)"],
    ["a heading that is only code", "[x](other.md#not-a-heading)"],
    ["a heading of its own page that is not there", "[x](#gone)"],
    ["a line beyond the end", "[x](../src/a.ts#L12)"],
    ["a heading in a source file", "[x](../src/a.ts#place)"],
    ["the name of a file that is not there", "see `src/gone.ts`"],
  ])("finds %s", (_what, text) => {
    const files = plant({ ...around, "docs/page.md": `# Page\n${text}\n` });
    expect(placesOf(findBrokenLinks(files))).toEqual(["docs/page.md:2"]);
  });

  test.each([
    ["a file", "[`a`](../src/a.ts)"],
    ["a line", "[x](../src/a.ts#L1-L2)"],
    ["a directory", "[x](../src)"],
    ["a heading", "[x](other.md#what-x-does)"],
    ["the second heading of one name", "[x](other.md#again-1)"],
    ["a heading of its own page", "[x](#page)"],
    ["an address elsewhere", "[x](https://example.org/a.md)"],
    ["the name of a file", "see `src/a.ts`"],
    ["a link that is only an example", "`[x](gone.md)`"],
  ])("accepts a link to %s", (_what, text) => {
    expect(findBrokenLinks(plant({ ...around, "docs/page.md": `# Page\n${text}\n` }))).toEqual([]);
  });
});

describe("commands in documents exist", () => {
  const manifest = { "package.json": '{ "scripts": { "demo": "x", "test": "y" } }' };

  test("as scripts, in this project", () => {
    expect(describeFindings(findUnknownScripts(readProject()))).toEqual([]);
  });

  test.each(["Use `npm run gone`.", "```\nnpm ci && npm run gone\n```", "`npm start`"])("finds %j", (text) => {
    const files = plant({ ...manifest, "README.md": text });
    expect(findUnknownScripts(files).map((finding) => finding.path)).toEqual(["README.md"]);
  });

  test("accepts scripts of package.json", () => {
    const files = plant({ ...manifest, "README.md": "```sh\nnpm ci && npm run demo -- --keep\nnpm test\n```" });
    expect(findUnknownScripts(files)).toEqual([]);
  });
});

describe("the check of a clean checkout", () => {
  test("is what the README tells people to run", () => {
    const files = new Map(readProject().map((file) => [file.path, file.text]));
    expect(files.get("README.md") ?? "").toContain("npm ci && npm test");
    expect(files.get(".ci/run") ?? "").toContain("npm ci && npm test");
  });
});

describe("error codes in documents are in the catalog", () => {
  test("in this project", () => {
    expect(describeFindings(findUnknownErrorCodes(readProject()))).toEqual([]);
  });

  test("finds a code that nobody throws", () => {
    const files = plant({ "README.md": "`E_INVALID`\nor E_GONE_MAD" });
    expect(placesOf(findUnknownErrorCodes(files))).toEqual(["README.md:2"]);
  });
});
