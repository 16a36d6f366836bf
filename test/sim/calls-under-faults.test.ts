// What callers are told about their writes, against what really ran, while nodes die, stand still, restart and are cut
// off, on a simulated cluster. The one thing that is shared by all instances is the book of what ran.
import { expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../src/base/errors.ts";
import { SeededRandom, type Random } from "../../src/base/random.ts";
import type { BlueprintInput } from "../../src/sdk/blueprint.ts";
import { defineContract, defineSlice, method, type MethodEffect } from "../../src/sdk/index.ts";
import { createTestCluster, inlineSlice, type TestCluster, type TestSlice } from "../../src/testkit/index.ts";

const SEEDS = Array.from({ length: 6 }, (_, index) => index + 1);
const WRITERS = 6;
const FAULTS = 6;
const NODES = 3;
const INSTANCES = { front: 3, back: 2 };
/** A node that was away is back, and what has to move has moved. */
const SETTLED_MS_MAX = 60_000;

const id = z.object({ id: z.string() });
const front = defineContract("front", { write: method({ input: id, output: id, timeoutMs: 4_000 }) });

type Told = "ok" | "not-applied" | "unknown";

interface Played {
  /** How often the back ran for each id. */
  readonly runs: ReadonlyMap<string, number>;
  readonly told: ReadonlyMap<string, Told>;
}

/** A front that calls a back, which takes its time. */
function createSlices(runs: Map<string, number>, effect: MethodEffect): readonly TestSlice[] {
  const back = defineContract("back", { write: method({ input: id, output: id, timeoutMs: 3_000, effect }) });
  const backSlice = inlineSlice({
    artifact: "test:back:1.0.0",
    create: ({ sleep }) => defineSlice({
      contract: back,
      methods: {
        write: async (input) => {
          await sleep(8);
          runs.set(input.id, (runs.get(input.id) ?? 0) + 1);
          await sleep(8);
          return input;
        },
      },
    }),
  });
  const frontSlice = inlineSlice({
    artifact: "test:front:1.0.0",
    create: () => defineSlice({
      contract: front,
      uses: { back },
      methods: {
        write: (input, ctx) => {
          const { idempotencyKey: key } = ctx;
          return ctx.uses.back.write(input, key === undefined ? {} : { idempotencyKey: `${key}/back` });
        },
      },
    }),
  });
  return [backSlice, frontSlice];
}

async function write(cluster: TestCluster, id: string): Promise<Told> {
  try {
    await cluster.slice(front).write({ id });
    return "ok";
  } catch (error) {
    if (!(error instanceof AetherError) || error.outcome === undefined) throw error;
    return error.outcome;
  }
}

/** Asks again, with the same key, as long as that may help. */
async function writeOnce(cluster: TestCluster, id: string): Promise<Told> {
  for (let left = 10; ; left--) {
    try {
      await cluster.slice(front).write({ id }, { idempotencyKey: id });
      return "ok";
    } catch (error) {
      if (!(error instanceof AetherError) || error.outcome === undefined) throw error;
      if (left === 0 || error.code === "E_HANDLER" || error.details["isFinal"] === true) return "unknown";
    }
    await cluster.advance(500);
  }
}

type Disturb = (cluster: TestCluster, random: Random) => Promise<void>;

const breakThings: Disturb = async (cluster, random) => {
  for (let fault = 0; fault < FAULTS; fault++) {
    await breakSomething(cluster, random);
    await cluster.advance(1_000);
  }
};

const restartEach: Disturb = async (cluster) => {
  for (const node of cluster.nodes) {
    await cluster.advance(1_000);
    await cluster.stop(node);
    await cluster.start(node);
  }
};

const ROLLOUTS: readonly NonNullable<BlueprintInput["slices"][string]["rollout"]>[] = [
  { strategy: "rolling" },
  { strategy: "blue-green", bakeMs: 1_000 },
  { strategy: "canary", steps: [20, 100], stepMs: 1_000, minCalls: 20 },
];

/** Both slices, of a version that their variables make: all versions do the same. */
function pairOf(more: Partial<BlueprintInput["slices"][string]>): BlueprintInput & { readonly name: string } {
  return {
    name: "pair",
    slices: {
      front: { artifact: "test:front:1.0.0", instances: INSTANCES.front, ...more },
      back: { artifact: "test:back:1.0.0", instances: INSTANCES.back, ...more },
    },
  };
}

const rollOutEach: Disturb = async (cluster) => {
  for (const rollout of ROLLOUTS) {
    await cluster.apply(pairOf({ rollout, variables: { HOW: rollout.strategy } }));
    await cluster.advance(1_000);
    await cluster.until(() => runsAsWanted(cluster), 30_000);
  }
};

const rollOutAndBreak: Disturb = async (cluster, random) => {
  for (const rollout of ROLLOUTS) {
    await cluster.apply(pairOf({ rollout, variables: { HOW: rollout.strategy } }));
    await breakSomething(cluster, random);
    await breakSomething(cluster, random);
  }
};

const cutThePower: Disturb = async (cluster) => {
  await cluster.advance(1_000);
  for (const node of cluster.nodes) cluster.kill(node);
  await Promise.all(cluster.nodes.map((node) => cluster.start(node)));
  await cluster.until(() => runsAsWanted(cluster), 30_000);
};

async function breakSomething(cluster: TestCluster, random: Random): Promise<void> {
  const node = cluster.nodes[random.below(NODES)] ?? "n1";
  const forMs = 200 + random.next() * 8_000;
  const fault = random.below(4);
  if (fault === 0) cluster.kill(node);
  if (fault === 1) cluster.pause(node, forMs);
  if (fault === 2) cluster.partition([node]);
  if (fault === 3) await cluster.stop(node);
  await cluster.advance(forMs);
  cluster.heal();
  if (fault === 0 || fault === 3) await cluster.start(node);
}

/** Every instance that should be there is ACTIVE, and no other row is left. */
async function runsAsWanted(cluster: TestCluster): Promise<boolean> {
  for (const [slice, want] of Object.entries(INSTANCES)) {
    const instances = await cluster.instances(slice);
    if (instances.length !== want || instances.some(({ state }) => state !== "ACTIVE")) return false;
  }
  return true;
}

interface Game {
  readonly effect: MethodEffect;
  readonly disturb: Disturb;
  /** How a writer writes. */
  readonly write?: typeof write;
}

async function play(seed: number, { effect, disturb, write: ask = write }: Game): Promise<Played> {
  const runs = new Map<string, number>();
  const told = new Map<string, Told>();
  await using cluster = await createTestCluster({
    nodes: NODES,
    seed,
    time: "virtual",
    slices: createSlices(runs, effect),
    blueprint: pairOf({}),
  });
  let isOver = false;
  const keepWriting = async (writer: number): Promise<void> => {
    for (let count = 0; !isOver; count++) {
      const name = `${writer}-${count}`;
      told.set(name, await ask(cluster, name));
      await cluster.advance(20);
    }
  };
  const writing = Array.from({ length: WRITERS }, (_, writer) => keepWriting(writer));
  await disturb(cluster, new SeededRandom(seed).fork("faults"));
  isOver = true;
  await Promise.all(writing);
  await cluster.until(() => runsAsWanted(cluster), SETTLED_MS_MAX);
  return { runs, told };
}

/** Calls whose callers were told something else than what happened. */
function wronglyTold({ runs, told }: Played): readonly (readonly [string, Told])[] {
  return [...told].filter(([name, outcome]) => {
    const count = runs.get(name) ?? 0;
    return outcome === "ok" ? count !== 1 : count > (outcome === "unknown" ? 1 : 0);
  });
}

function countOf(told: Played["told"], wanted: Told): number {
  return [...told.values()].filter((outcome) => outcome === wanted).length;
}

test.each(SEEDS)("what a caller is told of a write is what happened, and all runs again (seed %i)", async (seed) => {
  const played = await play(seed, { effect: "write", disturb: breakThings });
  expect(wronglyTold(played)).toEqual([]);
  expect(countOf(played.told, "ok")).toBeGreaterThan(300);
  expect(countOf(played.told, "unknown")).toBeGreaterThan(0);
});

test.each(SEEDS)("with keys writes are repeated, and none runs twice (seed %i, K1, K2, K3)", async (seed) => {
  const played = await play(seed, { effect: "write", disturb: breakThings, write: writeOnce });
  expect(wronglyTold(played)).toEqual([]);
  expect([...played.runs.values()].every((count) => count === 1)).toBe(true);
  expect(countOf(played.told, "ok")).toBeGreaterThan(200);
});

test("such faults make what may happen twice happen twice", async () => {
  for (const seed of SEEDS) {
    const { runs, told } = await play(seed, { effect: "idempotent", disturb: breakThings });
    if ([...runs].some(([name, count]) => count > 1 && told.get(name) === "ok")) return;
  }
  expect.fail("no call was tried again after it had run: the faults reach nothing");
});

test.each(SEEDS)("while every node restarts in order, one after the other, no call fails (seed %i)", async (seed) => {
  const played = await play(seed, { effect: "write", disturb: restartEach });
  expect(wronglyTold(played)).toEqual([]);
  expect(countOf(played.told, "ok")).toBe(played.told.size);
  expect(played.told.size).toBeGreaterThan(300);
});

test.each(SEEDS.slice(0, 3))("while versions come and go, in each way, no call fails (seed %i)", async (seed) => {
  const played = await play(seed, { effect: "write", disturb: rollOutEach });
  expect(wronglyTold(played)).toEqual([]);
  expect(countOf(played.told, "ok")).toBe(played.told.size);
  expect(played.told.size).toBeGreaterThan(300);
});

test.each(SEEDS.slice(0, 3))("with failing nodes in rollouts callers are told the truth (seed %i)", async (seed) => {
  const played = await play(seed, { effect: "write", disturb: rollOutAndBreak });
  expect(wronglyTold(played)).toEqual([]);
  expect(countOf(played.told, "ok")).toBeGreaterThan(100);
});

test.each(SEEDS)("after a power cut of all nodes everything runs again within 30 s (seed %i)", async (seed) => {
  const played = await play(seed, { effect: "write", disturb: cutThePower });
  expect(wronglyTold(played)).toEqual([]);
  expect(countOf(played.told, "ok")).toBeGreaterThan(50);
});
