// Slow. A real node that holds no artifact: a blueprint brings what it needs from a web server over a directory that
// the command line has written.
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { ask, NodeFleet } from "../support/node-fleet.ts";
import { openWebServer } from "../support/web-server.ts";

const PROBE = fileURLToPath(new URL("./slices/probe", import.meta.url));

test("a blueprint is applied with artifacts that only a web server has, and runs when that is gone", async () => {
  const directory = mkdtempSync(join(tmpdir(), "aether-source-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const server = await openWebServer((request, response) => {
    readFile(join(directory, request.url ?? "")).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  onTestFinished(() => server.close());
  const { url } = server;
  const fleet = await NodeFleet.create({ names: ["n1"], config: { artifacts: { sources: [{ url }] } } });
  onTestFinished(() => fleet.close());
  await fleet.startAll();
  const aether = async (...args: readonly string[]): Promise<string> => {
    const command = fleet.run(["--api", fleet.api("n1"), ...args]);
    const { code } = await command.waitForEnd(60_000);
    expect(code, command.transcript()).toBe(0);
    return command.stdout.join("\n");
  };

  await aether("slice", "build", PROBE, "--out", directory);
  expect(await aether("slice", "index", directory)).toMatch(/index\.json: 1 artifacts$/);
  const body = { slices: { probe: { artifact: "test:probe@^1.0.0", instances: 1 } } };
  expect(await ask(`${fleet.api("n1")}/v1/blueprints/probe`, { method: "PUT", body })).toMatchObject({ status: 200 });
  server.close();
  expect(await aether("slice", "list")).toContain("test:probe:1.0.0");
  await fleet.process("n1").stop("SIGKILL");
  await fleet.start("n1");
  expect(await aether("call", "probe", "where", "{}")).toContain("pid");
});
