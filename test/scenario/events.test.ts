// Events on simulated nodes: the same on all of them, whatever breaks meanwhile.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { present } from "../../src/base/assert.ts";
import { defineContract, defineSlice, method } from "../../src/sdk/index.ts";
import type { ClusterParts } from "../../src/testkit/node-seams.ts";
import { nameNodes } from "../../src/testkit/sim-node.ts";
import { inlineSlice } from "../../src/testkit/index.ts";
import { TestCluster } from "../../src/testkit/test-cluster.ts";

const echo = defineContract("echo", {
  say: method({ input: z.object({}), output: z.object({}) }),
});
const SLICE = inlineSlice({
  artifact: "test:echo:1.0.0",
  create: () => defineSlice({ contract: echo, methods: { say: () => Promise.resolve({}) } }),
});
const ALL = { limit: 10_000 };
const blueprint = (instances: number) => ({
  name: "shop", slices: { echo: { artifact: "test:echo:1.0.0", instances } },
});

interface Watched {
  readonly cluster: TestCluster;
  /** What a node has read from the store. */
  told(node: string): readonly string[];
  /** Lets time pass until these nodes have read the same, up to the same revision. */
  agree(...nodes: readonly string[]): Promise<readonly string[]>;
}

async function open(seed: number): Promise<Watched> {
  let parts: ClusterParts | undefined;
  const seams = { parts: (given: ClusterParts) => (parts = given) };
  const cluster = await TestCluster.form({ seed, nodes: nameNodes(3), labels: {}, wallSkewMs: 0, seams });
  onTestFinished(() => cluster.close());
  await cluster.push(SLICE);
  const told = (node: string): readonly string[] => {
    const { events } = present(parts, "told before any node boots").events(node).list({}, ALL);
    return events.flatMap(({ id, kind, subject }) => (/^\d/.test(id) ? [`${id} ${kind} ${subject}`] : []));
  };
  const agree = async (...nodes: readonly string[]): Promise<readonly string[]> => {
    const [first = "n1"] = nodes;
    await cluster.until(() => nodes.every((node) => told(node).join("\n") === told(first).join("\n")));
    return told(first);
  };
  return { cluster, told, agree };
}

function kindsOf(lines: readonly string[]): readonly string[] {
  return lines.map((line) => line.split(" ").slice(1).join(" "));
}

test("all nodes tell the same of a deployment, each thing once", async () => {
  const { cluster, agree } = await open(1);
  await cluster.apply(blueprint(2));
  const lines = await agree("n1", "n2", "n3");
  expect(new Set(lines).size).toBe(lines.length);
  expect(kindsOf(lines)).toEqual(expect.arrayContaining([
    "node.on-duty node/n1", "node.on-duty node/n3", "blueprint.applied blueprint/shop", "instance.active slice/echo",
  ]));
});

test("a leader that dies leaves no gap and nothing twice", async () => {
  const { cluster, agree } = await open(2);
  await cluster.apply(blueprint(3));
  const leader = present(cluster.leader(), "one leads");
  cluster.kill(leader);
  const others = cluster.nodes.filter((node) => node !== leader);
  await cluster.until(() => cluster.leader() !== undefined);
  await cluster.until(async () => kindsOf(await agree(...others)).includes(`node.gone node/${leader}`));
  await cluster.apply(blueprint(2));
  const lines = await agree(...others);
  expect(new Set(lines).size).toBe(lines.length);
  expect(kindsOf(lines).filter((kind) => kind === `node.gone node/${leader}`)).toHaveLength(1);
  expect(kindsOf(lines).filter((kind) => kind.startsWith("leader.changed")).length).toBeGreaterThanOrEqual(2);
});

test("a node that starts again reads what happened before and while it was away", async () => {
  const { cluster, agree } = await open(3);
  await cluster.apply(blueprint(2));
  const before = await agree("n1", "n2", "n3");
  cluster.kill("n3");
  await cluster.apply(blueprint(1));
  await cluster.start("n3");
  const after = await agree("n1", "n2", "n3");
  expect(after.slice(0, before.length)).toEqual(before);
});

test("a node that was cut off reads what it has missed", async () => {
  const { cluster, agree, told } = await open(4);
  cluster.partition(["n1", "n2"], ["n3"]);
  await cluster.apply(blueprint(2));
  expect(kindsOf(told("n3"))).not.toContain("blueprint.applied blueprint/shop");
  cluster.heal();
  expect(kindsOf(await agree("n1", "n2", "n3"))).toContain("blueprint.applied blueprint/shop");
});

test("each node says for itself whom it does not hear, and that it sees no majority", async () => {
  let parts: ClusterParts | undefined;
  const seams = { parts: (given: ClusterParts) => (parts = given) };
  const cluster = await TestCluster.form({ seed: 5, nodes: nameNodes(3), labels: {}, wallSkewMs: 0, seams });
  onTestFinished(() => cluster.close());
  const said = (node: string): readonly string[] => {
    const { events } = present(parts, "told before any node boots").events(node).list({}, ALL);
    return events.flatMap(({ id, text }) => (/^\d/.test(id) ? [] : [text]));
  };
  cluster.partition(["n1", "n2"], ["n3"]);
  await cluster.until(() => said("n3").some((text) => text.includes("no writes")));
  expect(said("n1")).toEqual(["n3 is not heard by n1"]);
  expect(said("n3")).toEqual(expect.arrayContaining([
    "n1 is not heard by n3", "n2 is not heard by n3", "n3 sees 1 voters of the 2 that are needed: no writes",
  ]));
  cluster.heal();
  await cluster.until(() => said("n3").includes("n3 sees 3 voters again, 2 are needed")
    || said("n3").includes("n3 sees 2 voters again, 2 are needed"));
  await cluster.until(() => said("n1").includes("n3 is heard by n1 again"));
});
