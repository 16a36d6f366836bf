// `aether dev` as people run it: its nodes are processes of their own, and none of them outlives it.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { findTestPorts } from "../support/test-ports.ts";
import { AetherProcess } from "../support/node-fleet.ts";

const NODES = 3;

interface Dev {
  readonly process: AetherProcess;
  readonly apis: readonly string[];
}

/** Three nodes that are all ready. */
async function startDev(): Promise<Dev> {
  const directory = await mkdtemp(join(tmpdir(), "aether-dev-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  const port = await findTestPorts(2 * NODES);
  const ports = ["--peer-port", String(port), "--api-port", String(port + NODES)];
  const dev = new AetherProcess(["dev", "--dir", directory, ...ports]);
  const apis = Array.from({ length: NODES }, (_, at) => `http://127.0.0.1:${port + NODES + at}`);
  for (const api of apis) await until(() => isReady(api));
  return { process: dev, apis };
}

async function isReady(api: string): Promise<boolean> {
  // That nobody answers yet is no failure here.
  return fetch(`${api}/readyz`).then(({ ok }) => ok, () => false);
}

async function isGone(api: string): Promise<boolean> {
  return fetch(`${api}/livez`).then(() => false, () => true);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect.fail("it did not come to hold in 20 s");
}

test("Ctrl-C ends the nodes in order, with exit code 0", async () => {
  const { process, apis } = await startDev();
  expect(await process.stop("SIGINT")).toEqual({ code: 0, signal: null });
  for (const api of apis) expect(await isGone(api)).toBe(true);
});

test("nodes do not outlive a command that was killed, so that their ports and data are free", async () => {
  const { process, apis } = await startDev();
  await process.stop("SIGKILL");
  for (const api of apis) await until(() => isGone(api));
});
