import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import type { Env } from "../../../src/env/env.ts";
import { createRealEnv, type RealEnvOptions } from "../../../src/node/real-env.ts";

const KEY = Uint8Array.of(1);

function openEnv(dataDir: string, durability: RealEnvOptions["durability"]): Env {
  return createRealEnv({ node: parseNodeId("n1"), dataDir, durability, logLevel: "silent" });
}

async function write(env: Env): Promise<void> {
  const store = await env.store.open("kv");
  const failure = await new Promise((resolve) => store.write([{ kind: "put", key: KEY, value: KEY }], resolve));
  expect(failure).toBeUndefined();
  await store.close();
}

async function read(env: Env): Promise<Uint8Array | undefined> {
  const store = await env.store.open("kv");
  const value = store.getSync(KEY);
  await store.close();
  return value;
}

test("with durability fsync what was written is there for the next process", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "aether-env-"));
  await write(openEnv(dataDir, "fsync"));
  expect([...((await read(openEnv(dataDir, "fsync"))) ?? [])]).toEqual([1]);
  await rm(dataDir, { recursive: true });
});

test("with durability memory nothing touches the disk and nothing outlives the environment", async () => {
  const dataDir = join(tmpdir(), "aether-env-that-must-not-exist");
  await write(openEnv(dataDir, "memory"));
  expect(await read(openEnv(dataDir, "memory"))).toBeUndefined();
  await expect(rm(dataDir)).rejects.toMatchObject({ code: "ENOENT" });
});

test("two environments draw different random numbers and share no metrics", async () => {
  const [a, b] = [openEnv("unused", "memory"), openEnv("unused", "memory")];
  expect(a.random.next()).not.toBe(b.random.next());
  a.telemetry.counter({ name: "aether_only_a_total", help: "Of a." }).add(1);
  expect(await a.telemetry.exposition()).toContain("aether_only_a_total 1");
  expect(await b.telemetry.exposition()).not.toContain("aether_only_a_total");
});
