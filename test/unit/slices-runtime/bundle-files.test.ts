import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sha256 } from "../../../src/base/digest.ts";
import { createBundleFiles } from "../../../src/slices/host/bundle-files-adapter.ts";

const BUNDLE = new TextEncoder().encode("export default 1;");
const DIGEST = sha256(BUNDLE);
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "aether-bundles-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test("a bundle is one file under its digest, however often and at once it is put", async () => {
  const files = createBundleFiles(join(directory, "deep", "bundles"));
  const urls = await Promise.all([files.put(BUNDLE, DIGEST), files.put(BUNDLE, DIGEST), files.put(BUNDLE, DIGEST)]);
  expect(new Set(urls).size).toBe(1);
  expect(await readdir(join(directory, "deep", "bundles"))).toEqual([`${DIGEST}.mjs`]);
  expect(await readFile(new URL(urls[0] ?? ""))).toEqual(Buffer.from(BUNDLE));
});

test("a damaged file is written again before anybody imports it", async () => {
  const url = new URL(await createBundleFiles(directory).put(BUNDLE, DIGEST));
  await writeFile(url, "export default 2;");
  await createBundleFiles(directory).put(BUNDLE, DIGEST);
  expect(await readFile(url)).toEqual(Buffer.from(BUNDLE));
});

test("a file that cannot even be read is written again", async () => {
  await symlink(`${DIGEST}.mjs`, join(directory, `${DIGEST}.mjs`));
  const url = new URL(await createBundleFiles(directory).put(BUNDLE, DIGEST));
  expect(await readFile(url)).toEqual(Buffer.from(BUNDLE));
});

test("a directory that cannot be written is a clear error", async () => {
  const path = join(directory, "file");
  await writeFile(path, "");
  await expect(createBundleFiles(path).put(BUNDLE, DIGEST)).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
});
