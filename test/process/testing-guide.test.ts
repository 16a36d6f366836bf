// The guide to testing slices, followed in a project of its own that has this package installed: its files are those of
// the page, and vitest and tsc run there as its readers run them.
import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PROJECT_ROOT } from "../tidy/project.ts";

/** A line that begins with the name of a file and ends with a colon, then its content. */
const FILE = /^`([\w./-]+\.(?:ts|json))`[^\n]*(?:\n[^\n]+)*?:\n\n```(?:ts|json)\n([\s\S]*?)^```/gm;
const TSCONFIG = {
  compilerOptions: {
    target: "ES2022",
    lib: ["ES2023", "ESNext.Disposable"],
    module: "NodeNext",
    types: ["node"],
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    allowImportingTsExtensions: true,
  },
};

interface PageFile {
  readonly path: string;
  readonly text: string;
}

let project: string;
let pageFiles: readonly PageFile[];

beforeAll(async () => {
  const page = await readFile(join(PROJECT_ROOT, "docs/guides/testing-slices.md"), "utf8");
  pageFiles = [...page.matchAll(FILE)].map(([, path = "", text = ""]) => ({ path, text }));
  project = await mkdtemp(join(tmpdir(), "aether-guide-"));
  const installed = join(project, "node_modules/aether");
  await mkdir(installed, { recursive: true });
  for (const part of ["package.json", "dist"]) {
    await cp(join(PROJECT_ROOT, part), join(installed, part), { recursive: true });
  }
  await symlink(join(PROJECT_ROOT, "node_modules"), join(installed, "node_modules"));
  for (const name of ["vitest", "zod", "typescript", "@types"]) {
    await symlink(join(PROJECT_ROOT, "node_modules", name), join(project, "node_modules", name));
  }
  await writeFile(join(project, "package.json"), JSON.stringify({ name: "theatre", type: "module", private: true }));
  await writeFile(join(project, "tsconfig.json"), JSON.stringify(TSCONFIG));
});
afterAll(() => rm(project, { recursive: true, force: true }));

/** Later files of the page replace earlier ones of the same name. */
async function writeFiles(files: readonly PageFile[]): Promise<void> {
  for (const { path, text } of files) {
    await mkdir(dirname(join(project, path)), { recursive: true });
    await writeFile(join(project, path), text);
  }
}

interface Run {
  readonly exitCode: number | null;
  readonly output: string;
}

function run(script: string, args: readonly string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env["PATH"] ?? "", NO_COLOR: "1" };
    const child = spawn(process.execPath, [join(project, "node_modules", script), ...args], { cwd: project, env });
    let output = "";
    const hear = (text: Buffer): void => void (output += text.toString());
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("error", reject);
    child.on("close", (exitCode) => resolve({ exitCode, output }));
  });
}

function runTests(...files: readonly string[]): Promise<Run> {
  return run("vitest/vitest.mjs", ["run", ...files]);
}

test("its test finds the lost update in the wrong slice, passes on the right one, and survives a crash", async () => {
  const wrong = pageFiles.findIndex(({ path }) => path === "booking/slice.ts");
  const right = pageFiles.findIndex(({ path }, index) => path === "booking/slice.ts" && index > wrong);
  expect(wrong).toBeGreaterThanOrEqual(0);
  expect(right).toBeGreaterThan(wrong);

  await writeFiles(pageFiles.slice(0, right));
  const found = await runTests("booking.test.ts");
  expect(found.output).toContain("to have a length of 10 but got 12");
  expect(found.exitCode).toBe(1);

  await writeFiles(pageFiles.slice(right));
  const passed = await runTests();
  expect(passed.output).toContain("2 passed");
  expect(passed.output).toContain("6 passed");
  expect(passed.exitCode).toBe(0);
});

test("its files compile against the types of the package", async () => {
  await writeFiles(pageFiles);
  expect(await run("typescript/lib/tsc.js", ["-p", "tsconfig.json"])).toEqual({ exitCode: 0, output: "" });
});
