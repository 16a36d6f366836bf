import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { parseNodeId } from "../../../src/base/ids.ts";
import { findTestPorts } from "../../support/test-ports.ts";
import type { Env } from "../../../src/env/env.ts";
import { parseNodeConfig } from "../../../src/node/config.ts";
import { startNode, type Node } from "../../../src/node/node.ts";
import { createRealEnv } from "../../../src/node/real-env.ts";

let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "aether-node-"));
});

afterEach(async () => {
  await rm(dataDir, { recursive: true });
});

/** A cluster of one in this process. */
async function start(change: (env: Env) => Env = (env) => env): Promise<Node> {
  const port = await findTestPorts(1);
  const listen = `ws://127.0.0.1:${port}`;
  const config = parseNodeConfig({
    cluster: "demo", node: "n1", listen, api: "http://127.0.0.1:0", voters: { n1: listen }, dataDir,
    durability: "memory", logLevel: "silent",
  });
  const env = createRealEnv({ node: parseNodeId("n1"), dataDir, durability: "memory", logLevel: "silent" });
  return startNode(config, change(env));
}

test("a node that cannot close its parts ends all the same, and says why", async () => {
  const node = await start((env) => ({
    ...env,
    store: {
      ...env.store,
      open: async (name) => {
        const store = await env.store.open(name);
        return Object.assign(Object.create(store) as typeof store, {
          close: async () => {
            await store.close();
            throw new AetherError("E_DISK", `cannot close ${name}`);
          },
        });
      },
    },
  }));
  await node.ready();
  await node.stop();
  expect(await node.ended).toMatchObject({ code: "E_DISK" });
});

test("a node that was asked to stop ends without a reason", async () => {
  const node = await start();
  await node.ready();
  await Promise.all([node.stop(), node.stop()]);
  expect(await node.ended).toBeUndefined();
});
