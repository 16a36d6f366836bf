// Owns: what must and must not compile for people who test slices. Never executed: `tsc` is the test.
import { z } from "zod";
import { defineContract, defineSlice, method } from "../../src/sdk/index.ts";
import { createTestCluster, inlineSlice, type TestCluster } from "../../src/testkit/index.ts";

const pricing = defineContract("pricing", {
  quote: method({ input: z.object({ sku: z.string() }), output: z.object({ cents: z.number() }), effect: "read" }),
});

const slice = inlineSlice({
  artifact: "test:pricing:1.0.0",
  create: ({ sleep }) => defineSlice({
    contract: pricing,
    config: z.object({ cents: z.number() }),
    methods: {
      quote: async (_input, ctx) => {
        await sleep(5);
        return { cents: ctx.config.cents };
      },
    },
  }),
});
const blueprint = { name: "shop", slices: { pricing: { artifact: "test:pricing@^1.0.0" } } };

export async function play(): Promise<number> {
  const cluster: TestCluster = await createTestCluster({ time: "virtual", slices: [slice], blueprint });
  const { quote } = cluster.slice(pricing, { via: "n1" });
  const { cents } = await quote({ sku: "tea" }, { timeoutMs: 50 });
  // @ts-expect-error the contract has no such input
  await quote({ name: "tea" });
  // @ts-expect-error there is no real time
  await createTestCluster({ time: "real", slices: [slice], blueprint });
  // @ts-expect-error a blueprint is applied under a name
  await cluster.apply({ slices: {} });
  return cents;
}
