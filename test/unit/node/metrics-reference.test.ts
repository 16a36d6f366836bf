import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { startNode } from "../../../src/node/node.ts";
import { createRealEnv } from "../../../src/node/real-env.ts";
import { soleNodeConfig } from "../../support/sole-node.ts";
import { declaredMetrics, processMetrics } from "../../tidy/reference/metrics-reference.ts";

test("the reference has every metric that a real node declares, as it declares it, and no other", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "aether-node-"));
  const env = createRealEnv({ node: parseNodeId("n1"), dataDir, durability: "memory", logLevel: "silent" });
  const node = await startNode(soleNodeConfig(dataDir), env);
  onTestFinished(async () => {
    await node.stop();
    await rm(dataDir, { recursive: true, force: true });
  });
  await node.ready();
  const text = await (await fetch(`${node.apiUrl}/metrics`)).text();
  const told = new Map<string, string>();
  const kinds = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, what, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (what === "HELP") told.set(name, rest);
    if (what === "TYPE") kinds.set(name, rest);
  }
  const declared = declaredMetrics();
  const ofProcess = processMetrics().map(({ name }) => name);
  expect([...told.keys()].filter((name) => !ofProcess.includes(name)).sort()).toEqual(declared.map(({ name }) => name));
  for (const { name, help, kind } of declared) {
    expect(told.get(name), name).toBe(help);
    expect(kinds.get(name), name).toBe(kind);
  }
});
