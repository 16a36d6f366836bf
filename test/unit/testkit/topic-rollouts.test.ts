// Topics of a slice whose version changes: who hears a message is the version that the rollout has given the calls to.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { defineContract, defineSlice, defineTopic, method } from "../../../src/sdk/index.ts";
import { createTestCluster, inlineSlice, type TestCluster, type TestSlice } from "../../../src/testkit/index.ts";

const said = defineTopic("said", { payload: z.object({ n: z.int() }) });
const message = { input: said.payload, output: z.object({}) };
const mouth = defineContract("mouth", { say: method(message) });
const look = method({ input: z.object({}), output: z.object({}), effect: "read" });
const ear = defineContract("ear", { look });
const CANARY = { strategy: "canary" as const, steps: [20, 100], stepMs: 2_000, minCalls: 5 };

interface Version {
  readonly version: string;
  /** The method that handles the topic, if any does. */
  readonly on?: "hear" | "hark";
  readonly isBroken?: true;
}

interface World {
  readonly cluster: TestCluster;
  /** Who has heard which message: `VERSION METHOD`. */
  readonly heard: Map<number, string>;
  /** Begins to replace one version by the other. */
  turn(): void;
}

function earOf({ version, on, isBroken }: Version, heard: World["heard"]): TestSlice {
  return inlineSlice({
    artifact: `test:ear:${version}`,
    create: () => {
      const looks = (): Record<string, never> => {
        if (isBroken === true) throw new RangeError("broken");
        return {};
      };
      if (on === undefined) return defineSlice({ contract: ear, methods: { look: looks } });
      const hears = ({ n }: z.output<typeof said.payload>): Record<string, never> => {
        heard.set(n, `${version} ${on}`);
        return {};
      };
      return on === "hear"
        ? defineSlice({
            contract: defineContract("ear", { look, hear: method(message) }),
            on: { said: "hear" },
            methods: { look: looks, hear: hears },
          })
        : defineSlice({
            contract: defineContract("ear", { look, hark: method(message) }),
            on: { said: "hark" },
            methods: { look: looks, hark: hears },
          });
    },
  });
}

async function open(seed: number, before: Omit<Version, "version">, next: Omit<Version, "version">): Promise<World> {
  const heard = new Map<number, string>();
  const mouthSlice = inlineSlice({
    artifact: "test:mouth:1.0.0",
    create: () => defineSlice({
      contract: mouth,
      methods: { say: async (spoken, ctx) => (await ctx.publish(said, spoken), {}) },
    }),
  });
  const slices = (version: string) => ({
    mouth: { artifact: "test:mouth:1.0.0" },
    ear: { artifact: `test:ear:${version}`, instances: 2, rollout: CANARY },
  });
  const cluster = await createTestCluster({
    nodes: 3, seed, time: "virtual",
    slices: [
      mouthSlice, earOf({ ...before, version: "1.0.0" }, heard), earOf({ ...next, version: "2.0.0" }, heard),
    ],
    blueprint: { name: "talk", slices: slices("1.0.0") },
  });
  onTestFinished(() => cluster.close());
  const turn = (): void => {
    // ignored: it waits for the end of the rollout, and says how that went; the test looks at each.
    void cluster.apply({ name: "talk", slices: slices("2.0.0") }).catch(() => undefined);
  };
  return { cluster, heard, turn };
}

const UP_TO = (count: number) => Array.from({ length: count }, (_, n) => n);

async function say(cluster: TestCluster, numbers: readonly number[]): Promise<void> {
  await Promise.all(numbers.map((n) => cluster.slice(mouth).say({ n })));
}

/** Calls until what runs is of this version alone; who is called is what the rollout says. */
async function callUntilAll(cluster: TestCluster, version: string): Promise<void> {
  while (!(await runsOnly(cluster, version))) {
    // ignored: a version that is broken is what the rollout is to find out.
    await Promise.all(UP_TO(10).map(() => cluster.slice(ear).look({}).catch(() => undefined)));
    await cluster.advance(500);
  }
}

async function runsOnly(cluster: TestCluster, version: string): Promise<boolean> {
  const found = await cluster.instances("ear");
  return found.length === 2 && found.every(({ artifact }) => artifact.endsWith(version));
}

async function untilCanaryServes(cluster: TestCluster): Promise<void> {
  await cluster.until(async () => (await cluster.instances("ear"))
    .some(({ artifact, state }) => artifact.endsWith("2.0.0") && state === "ACTIVE"));
  // Until every node has seen which share it has.
  await cluster.advance(1_000);
}

function from(first: number, count: number): readonly number[] {
  return UP_TO(count).map((n) => first + n);
}

test("both handle a topic by one method: the new one hears as many messages as it has calls", async () => {
  const { cluster, heard, turn } = await open(1, { on: "hear" }, { on: "hear" });
  turn();
  await untilCanaryServes(cluster);
  await say(cluster, UP_TO(60));
  await cluster.until(() => heard.size === 60);
  const canarys = [...heard.values()].filter((who) => who === "2.0.0 hear").length;
  expect(canarys).toBeGreaterThan(3);
  expect(canarys).toBeLessThan(27);
});

test("the new one handles it by another method: that begins with all calls, and nothing is lost between", async () => {
  const { cluster, heard, turn } = await open(2, { on: "hear" }, { on: "hark" });
  turn();
  await untilCanaryServes(cluster);
  await say(cluster, UP_TO(30));
  await cluster.until(() => heard.size === 30);
  expect(new Set(heard.values())).toEqual(new Set(["1.0.0 hear"]));
  const calling = callUntilAll(cluster, "2.0.0");
  for (let n = 30; !(await runsOnly(cluster, "2.0.0")); n += 5) {
    await say(cluster, from(n, 5));
    await cluster.advance(500);
  }
  await calling;
  const count = heard.size;
  await say(cluster, from(10_000, 5));
  await cluster.until(() => heard.size >= count + 5);
  expect(from(10_000, 5).map((n) => heard.get(n))).toEqual(from(10_000, 5).map(() => "2.0.0 hark"));
  const numbers = [...heard.keys()].filter((n) => n < 10_000);
  expect(numbers.length).toBe(Math.max(...numbers) + 1);
});

test("only the new one handles it: it gets what is published once it has all calls", async () => {
  const { cluster, heard, turn } = await open(3, {}, { on: "hear" });
  turn();
  await untilCanaryServes(cluster);
  await say(cluster, UP_TO(30));
  await cluster.advance(5_000);
  expect(heard.size).toBe(0);
  await callUntilAll(cluster, "2.0.0");
  await cluster.advance(1_000);
  await say(cluster, from(100, 5));
  await cluster.until(() => heard.size === 5);
  await cluster.advance(5_000);
  expect([...heard.keys()].sort()).toEqual(from(100, 5));
});

test("the new one does not handle it, and is rolled back: nobody misses a message", async () => {
  const { cluster, heard, turn } = await open(4, { on: "hear" }, { isBroken: true });
  turn();
  await untilCanaryServes(cluster);
  await say(cluster, UP_TO(20));
  await cluster.until(() => heard.size === 20);
  await callUntilAll(cluster, "1.0.0");
  await say(cluster, from(20, 20));
  await cluster.until(() => heard.size === 40);
  expect(new Set(heard.values())).toEqual(new Set(["1.0.0 hear"]));
});

test("only the new one handles it, and is rolled back: nothing piles up for it", async () => {
  const { cluster, heard, turn } = await open(5, {}, { on: "hear", isBroken: true });
  turn();
  await untilCanaryServes(cluster);
  await callUntilAll(cluster, "1.0.0");
  await say(cluster, UP_TO(20));
  await cluster.advance(5_000);
  expect(heard.size).toBe(0);
  await cluster.push(earOf({ version: "2.0.1", on: "hear" }, heard));
  await cluster.apply({
    name: "talk",
    slices: { mouth: { artifact: "test:mouth:1.0.0" }, ear: { artifact: "test:ear:2.0.1", instances: 2 } },
  });
  await cluster.advance(5_000);
  expect(heard.size).toBe(0);
  await say(cluster, [100]);
  await cluster.until(() => heard.size === 1);
});

test("the new one does not handle it any more: what waits goes once the rollout is over", async () => {
  const { cluster, heard, turn } = await open(6, { on: "hear" }, {});
  turn();
  await untilCanaryServes(cluster);
  await say(cluster, UP_TO(20));
  await cluster.until(() => heard.size === 20);
  await callUntilAll(cluster, "2.0.0");
  await cluster.advance(1_000);
  await say(cluster, from(20, 5));
  await cluster.advance(5_000);
  expect(heard.size).toBe(20);
});
