import { describe, expect, test } from "vitest";
import { plant, placesOf } from "./planted.ts";
import { describeFindings, readProject } from "./project.ts";
import { findForbiddenWords, findPrivateHosts, findSilentCatches, findTestsSwitchedOff } from "./rules/leftovers.ts";

const PATH = "src/net/frame.ts";

describe("nothing is left behind in text", () => {
  test("in this project", () => {
    expect(describeFindings(findForbiddenWords(readProject()))).toEqual([]);
  });

  test.each(["// TODO later", "// TODO(me)", "// FIXME", "// HACK", "// @ts-ignore", "I, as an AI,", "see /work/x/y"])(
    "finds %s",
    (text) => {
      expect(placesOf(findForbiddenWords(plant({ [PATH]: `// Owns: frames.\n${text}\n` })))).toEqual([`${PATH}:2`]);
    },
  );

  test.each(["// TODO(#123): compress", "an AI agent", "src/work/thing.ts", "const hackney = 1;"])(
    "accepts %s",
    (text) => {
      expect(findForbiddenWords(plant({ [PATH]: text }))).toEqual([]);
    },
  );
});

describe("no address points into somebody's own network", () => {
  test("in this project", () => {
    expect(describeFindings(findPrivateHosts(readProject()))).toEqual([]);
  });

  test.each(["https://npm.acme.internal/x", "http://10.1.2.3:4873/", "http://192.168.0.7/", "https://registry.corp/"])(
    "finds %s",
    (address) => {
      expect(placesOf(findPrivateHosts(plant({ "README.md": `# A\n${address}\n` })))).toEqual(["README.md:2"]);
    },
  );

  test("finds a package that does not come from the public registry", () => {
    const files = plant({ "package-lock.json": '{\n"resolved": "https://mirror.example.org/ws.tgz"\n}' });
    expect(placesOf(findPrivateHosts(files))).toEqual(["package-lock.json:2"]);
  });

  test.each(["http://127.0.0.1:7201/v1", "http://localhost:7201", "https://registry.npmjs.org/ws"])(
    "accepts %s",
    (address) => {
      expect(findPrivateHosts(plant({ "README.md": address }))).toEqual([]);
    },
  );
});

describe("no error is swallowed in silence", () => {
  test("in this project", () => {
    expect(describeFindings(findSilentCatches(readProject()))).toEqual([]);
  });

  test.each([
    ["an empty catch", "try {\n  a();\n} catch {}", 3],
    ["an empty catch with another comment", "try {\n  a();\n} catch {\n  // never mind\n}", 3],
    ["an empty handler", "await a()\n  .catch(() => {});", 1],
    ["a handler that drops the error", "await a().catch(() => undefined);", 1],
  ])("finds %s", (_what, text, line) => {
    expect(placesOf(findSilentCatches(plant({ [PATH]: text })))).toEqual([`${PATH}:${line}`]);
  });

  test.each([
    ["a reason inside", "try {\n  a();\n} catch {\n  // ignored: the file is gone already\n}"],
    ["a reason above the handler", "// ignored: closing twice is fine\nawait a().catch(() => {});"],
    ["a catch that translates", "try {\n  a();\n} catch (cause) {\n  throw new AetherError(cause);\n}"],
    ["a handler that does something", "await a().catch((error) => log(error));"],
  ])("accepts %s", (_what, text) => {
    expect(findSilentCatches(plant({ [PATH]: text }))).toEqual([]);
  });
});

describe("no test is switched off or narrowed", () => {
  test("in this project", () => {
    expect(describeFindings(findTestsSwitchedOff(readProject()))).toEqual([]);
  });

  test.each(['test.skip("a", f);', 'describe.only("a", f);', 'it.todo("a");', 'test.skip.each(table)("a", f);'])(
    "finds %s",
    (text) => {
      expect(placesOf(findTestsSwitchedOff(plant({ "test/unit/a.test.ts": text })))).toEqual(["test/unit/a.test.ts:1"]);
    },
  );

  test("accepts a test for one platform", () => {
    expect(findTestsSwitchedOff(plant({ "test/unit/a.test.ts": 'test.skipIf(isMac)("a", f);' }))).toEqual([]);
  });
});
