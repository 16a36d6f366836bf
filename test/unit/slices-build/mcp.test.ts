// Owns: slices that use `aether/mcp`, as the guide shows one: built without any server, with what of the SDK a client
// needs and nothing of its servers.
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { MiB } from "../../../src/base/units.ts";
import { buildSlice } from "../../../src/slices/build/build-slice.ts";
import { decodeArchive } from "../../../src/slices/core/archive.ts";
import { PROJECT_ROOT } from "../../tidy/project.ts";

let directory: string;

beforeEach(async () => {
  const guide = await readFile(join(PROJECT_ROOT, "docs/guides/mcp.md"), "utf8");
  const code = /```ts\n([\s\S]*?)```/.exec(guide)?.[1] ?? "";
  directory = await mkdtemp(join(tmpdir(), "aether-mcp-guide-"));
  await writeFile(join(directory, "slice.ts"), code);
  await writeFile(join(directory, "aether.json"), '{ "artifact": "demo:reporter", "version": "1.0.0" }');
});

afterEach(() => rm(directory, { recursive: true, force: true }));

test("the agent of the guide is built, and described without its server", async () => {
  await symlink(join(PROJECT_ROOT, "node_modules"), join(directory, "node_modules"));
  const { manifest, archive } = await buildSlice({ directory });
  expect(manifest.agents).toMatchObject({ reporter: {} });
  const bundle = Buffer.from(decodeArchive(archive).bundle).toString("utf8");
  expect(bundle.length).toBeLessThan(1 * MiB);
  // Not by `toContain`, which would print all of it.
  expect(bundle.includes("StreamableHTTPClientTransport")).toBe(true);
  expect(bundle.includes("body-parser")).toBe(false);
});

test("a slice whose project has no SDK is told what to install", async () => {
  const message = expect.stringMatching(/needs the package @modelcontextprotocol\/sdk: install it/) as unknown;
  await expect(buildSlice({ directory })).rejects.toMatchObject({ code: "E_INVALID", message });
});
