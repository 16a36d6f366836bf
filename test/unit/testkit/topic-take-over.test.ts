// A node dies, or is cut off, under the handler of a message: how soon another instance gets the message, and what the
// answer of the first handler is worth when it comes all the same.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { parseNodeId } from "../../../src/base/ids.ts";
import { ownerOf, partitionOf } from "../../../src/cluster/topics/core/message-share.ts";
import { defineContract, defineSlice, defineTopic, method } from "../../../src/sdk/index.ts";
import { createTestCluster, inlineSlice, type TestCluster } from "../../../src/testkit/index.ts";

const NODES = ["n1", "n2", "n3"];
const said = defineTopic("said", { payload: z.object({ who: z.string(), n: z.int() }), key: ({ who }) => who });
const mouth = defineContract("mouth", {
  say: method({ input: said.payload, output: z.object({}) }),
});

interface Run {
  readonly n: number;
  readonly beganMs: number;
  endedMs: number | undefined;
}

interface World {
  readonly cluster: TestCluster;
  /** Runs of the handler, in the order in which they began. */
  readonly runs: Run[];
  /** How long the next runs take, one after the other, and whether they fail; those after them take 20 ms. */
  readonly script: { readonly takesMs: number; readonly isFailure?: true }[];
}

async function open(seed: number, effect: "write" | "idempotent"): Promise<World> {
  const runs: Run[] = [];
  const script: World["script"] = [];
  const mouthSlice = inlineSlice({
    artifact: "test:mouth:1.0.0",
    create: () => defineSlice({
      contract: mouth,
      methods: { say: async (message, ctx) => (await ctx.publish(said, message), {}) },
    }),
  });
  const earSlice = inlineSlice({
    artifact: "test:ear:1.0.0",
    create: ({ sleep }) => defineSlice({
      contract: defineContract("ear", {
        hear: method({ input: said.payload, output: z.object({}), effect, timeoutMs: 60_000 }),
      }),
      on: { said: "hear" },
      methods: {
        hear: async ({ n }, ctx) => {
          ctx.log.info("hears");
          const run: Run = { n, beganMs: cluster.nowMs, endedMs: undefined };
          runs.push(run);
          const { takesMs, isFailure } = script.shift() ?? { takesMs: 20 };
          await sleep(takesMs);
          run.endedMs = cluster.nowMs;
          if (isFailure === true) throw new RangeError("not now");
          return {};
        },
      },
    }),
  });
  const cluster = await createTestCluster({
    nodes: NODES.length, seed, time: "virtual", slices: [mouthSlice, earSlice],
    blueprint: {
      name: "talk",
      slices: {
        mouth: { artifact: "test:mouth:1.0.0", instances: 3 }, ear: { artifact: "test:ear:1.0.0", instances: 2 },
      },
    },
  });
  onTestFinished(() => cluster.close());
  return { cluster, runs, script };
}

/** Where the last run began. */
function lastHearer(cluster: TestCluster): string {
  const found = / (n\d) .*"hears"/.exec(cluster.log().findLast((line) => line.includes(`"hears"`)) ?? "")?.[1];
  return found ?? "nobody";
}

async function earless(cluster: TestCluster): Promise<string> {
  const nodes = (await cluster.instances("ear")).map(({ node }) => String(node));
  return NODES.find((node) => !nodes.includes(node)) ?? "none";
}

/** Someone whose messages this node hands out. */
function handedOutBy(node: string): string {
  for (let index = 0; ; index += 1) {
    const who = `who${index}`;
    if (ownerOf(`said/ear/${partitionOf(who)}`, NODES.map(parseNodeId)) === node) return who;
  }
}

function others(node: string): readonly string[] {
  return NODES.filter((other) => other !== node);
}

function say(cluster: TestCluster, who: string, n: number, via: string): Promise<unknown> {
  return cluster.slice(mouth, { via }).say({ who, n });
}

/** A second of silence, two of a majority's suspicion, and what it takes to look, to tell and to try again. */
const AGAIN_WITHIN_MS = 4_000;

test.each([
  ["write", "with the node that has handed it out"], ["idempotent", "with the node that has handed it out"],
  ["write", "on another node"], ["idempotent", "on another node"],
] as const)("a handler (%s) dies %s: the message is soon another's", async (effect, where) => {
  const { cluster, runs, script } = await open(1, effect);
  const withoutEar = await earless(cluster);
  const [withEar = ""] = others(withoutEar);
  script.push({ takesMs: 60_000 });
  await say(cluster, handedOutBy(where === "on another node" ? withoutEar : withEar), 0, withoutEar);
  await cluster.until(() => runs.length === 1);
  const hearer = lastHearer(cluster);
  if (where !== "on another node") expect(hearer).toBe(withEar);
  const diedMs = cluster.nowMs;
  cluster.kill(hearer);
  await cluster.until(() => runs.length === 2);
  expect(cluster.nowMs - diedMs).toBeLessThan(AGAIN_WITHIN_MS);
  await cluster.advance(20_000);
  expect(runs).toHaveLength(2);
});

test.each([1, 2, 3])("a handler that is cut off and ends late does not count (seed %i)", async (seed) => {
  const { cluster, runs, script } = await open(seed, "write");
  const [node = ""] = others(await earless(cluster));
  const via = others(node)[0] ?? "";
  const who = handedOutBy(node);
  // The second one begins before the first one ends, and fails after that.
  script.push({ takesMs: 6_000 }, { takesMs: 12_000, isFailure: true });
  await say(cluster, who, 0, via);
  await cluster.until(() => runs.length === 1);
  expect(lastHearer(cluster)).toBe(node);
  cluster.partition([node], others(node));
  await say(cluster, who, 1, via);
  await cluster.until(() => runs.length === 2);
  expect(runs[0]?.endedMs).toBeUndefined();
  cluster.heal();
  await cluster.until(() => runs.length === 4, 60_000);
  await cluster.advance(20_000);
  // Its message was not done with the late answer: it was tried once more, and the next one has waited for that.
  expect(runs.map(({ n }) => n)).toEqual([0, 0, 0, 1]);
  const [first, second, third, next] = runs;
  expect(first?.endedMs).toBeLessThan(second?.endedMs ?? 0);
  expect(third?.beganMs).toBeGreaterThan(second?.endedMs ?? Infinity);
  expect(next?.beganMs).toBeGreaterThanOrEqual(third?.endedMs ?? Infinity);
});
