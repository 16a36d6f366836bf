import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import { type Node, startNode } from "../../../src/node/node.ts";
import { createRealEnv } from "../../../src/node/real-env.ts";
import { eventually } from "../../support/node-fleet.ts";
import { soleNodeConfig } from "../../support/sole-node.ts";

const KEY = parseKeyText("data/a");

async function startOne(): Promise<Node> {
  const dataDir = await mkdtemp(join(tmpdir(), "aether-node-"));
  const config = soleNodeConfig(dataDir);
  const env = createRealEnv({ node: parseNodeId("n1"), dataDir, durability: "memory", logLevel: "silent" });
  const node = await startNode(config, env);
  onTestFinished(async () => {
    await node.stop();
    await rm(dataDir, { recursive: true, force: true });
  });
  await node.ready();
  return node;
}

/** The values of all series, by name and labels. */
async function metricsOf(node: Node): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`${node.apiUrl}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const end = line.lastIndexOf(" ");
      return [line.slice(0, end), Number(line.slice(end))];
    }),
  );
}

test("what a node is and has can be read at any time: quorum, store, past, watches", async () => {
  const node = await startOne();
  const before = await metricsOf(node);
  const { revision } = await node.kv.transact({ compare: [], then: [{ kind: "put", key: KEY, value: 1 }], else: [] });
  let isFull = true;
  let codes: unknown[] = [];
  const onEnd = (reason: unknown): void => {
    codes = [...codes, reason];
  };
  const handlers = { onChanges: () => undefined, onEnd, isFull: () => isFull };
  const slow = node.kv.watch("data/", handlers, { fromRevision: revision });
  node.kv.watch("data/", { onChanges: () => undefined, onEnd }, { fromRevision: revision + 1_000, timeoutMs: 1 });
  await eventually("the watch of a revision that never comes has ended", () => codes.length === 1 || undefined);
  const found = await metricsOf(node);
  expect(Object.fromEntries(found)).toMatchObject({
    aether_node_ready: 1,
    'aether_members{role="voter"}': 1,
    'aether_members{role="member"}': 0,
    aether_quorum_needed: 1,
    aether_quorum_seen: 1,
    aether_cluster_version: 1,
    aether_catch_up_slots: 0,
    aether_catch_up_snapshot_bytes: 0,
    aether_watches_behind: 1,
    'aether_watches_ended_total{code="E_UNAVAILABLE"}': 1,
    aether_history_oldest_revision: 1,
    aether_store_quota_bytes: 8 * 1024 ** 3,
    aether_consensus_patience_total: expect.any(Number) as number,
  });
  expect(found.get("aether_consensus_batches_total")).toBeGreaterThan(0);
  expect(found.get("aether_consensus_batch_commands_total")).toBeGreaterThan(0);
  expect(found.get('aether_consensus_slots_total{outcome="value",learned="voted"}')).toBeGreaterThan(0);
  for (const growing of ["aether_store_revision", "aether_store_live_bytes", 'aether_history_bytes{place="memory"}']) {
    expect(found.get(growing), growing).toBeGreaterThan(before.get(growing) ?? Number.POSITIVE_INFINITY);
  }
  isFull = false;
  await eventually("the slow watch has everything", async () => {
    return (await metricsOf(node)).get("aether_watches_behind") === 0 || undefined;
  });
  const open = (await metricsOf(node)).get("aether_watches") ?? 0;
  slow.cancel();
  expect((await metricsOf(node)).get("aether_watches")).toBe(open - 1);
});
