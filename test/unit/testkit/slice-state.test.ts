// What slices keep in the store, on simulated nodes that pause and are cut off.
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { defineContract, defineSlice, method, type SliceLease } from "../../../src/sdk/index.ts";
import { createTestCluster, inlineSlice, type TestCluster } from "../../../src/testkit/index.ts";

const guard = defineContract("guard", {
  work: method({
    input: z.object({ workMs: z.int(), waitMs: z.int().default(0) }),
    output: z.object({ token: z.int(), isAborted: z.boolean(), code: z.string() }),
    timeoutMs: 60_000,
  }),
  last: method({ input: z.object({}), output: z.object({ token: z.unknown() }), effect: "read" }),
});

/** Takes the lease, works, and writes its token under it. */
const guardSlice = inlineSlice({
  artifact: "test:guard:1.0.0",
  create: ({ sleep }) => defineSlice({
    contract: guard,
    methods: {
      work: async ({ workMs, waitMs }, ctx) => {
        const lease = await ctx.lease("work", { ttlMs: 1_000, waitMs });
        await sleep(workMs);
        const isAborted = lease.signal.aborted;
        let code = await tryPut(lease);
        // A node that was away sees no majority for a moment.
        for (; code === "E_NO_QUORUM"; code = await tryPut(lease)) await sleep(50);
        return { token: lease.token, isAborted, code };
      },
      last: async (_input, ctx) => ({ token: (await ctx.kv.get("last"))?.value }),
    },
  }),
});

async function tryPut(lease: SliceLease): Promise<string> {
  try {
    await lease.kv.put("last", lease.token);
    return "written";
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : "unknown";
  }
}

async function openGuard(seed: number): Promise<TestCluster> {
  const cluster = await createTestCluster({
    nodes: 3,
    seed,
    time: "virtual",
    slices: [guardSlice],
    blueprint: { name: "guard", slices: { guard: { artifact: "test:guard:1.0.0", instances: 2 } } },
  });
  onTestFinished(() => cluster.close());
  return cluster;
}

/** The instance that takes the lease through one node, and another node that has the other instance. */
async function twoHosts(cluster: TestCluster): Promise<readonly [string, string]> {
  const [first, second] = await cluster.instances("guard");
  return [first?.node ?? "", second?.node ?? ""];
}

test.each([1, 2, 3, 4])("a holder that pauses is overtaken, its late write refused (seed %i)", async (seed) => {
  const cluster = await openGuard(seed);
  const [slow, other] = await twoHosts(cluster);
  const late = cluster.slice(guard, { via: slow }).work({ workMs: 500 });
  await cluster.advance(200);
  cluster.pause(slow, 4_500);
  const next = await cluster.slice(guard, { via: other }).work({ workMs: 10, waitMs: 30_000 });
  expect(next).toMatchObject({ isAborted: false, code: "written" });
  const overtaken = await late;
  expect(overtaken.code).toBe("E_FENCED");
  expect(overtaken.token).toBeLessThan(next.token);
  expect(await cluster.slice(guard, { via: other }).last({})).toEqual({ token: next.token });
});

test("a lease that is renewed outlives its time many times over, and nobody else gets it meanwhile", async () => {
  const cluster = await openGuard(5);
  const [holder, other] = await twoHosts(cluster);
  const long = cluster.slice(guard, { via: holder }).work({ workMs: 20_000 });
  await cluster.advance(5_000);
  const refused = cluster.slice(guard, { via: other }).work({ workMs: 0 });
  await expect(refused).rejects.toMatchObject({ code: "E_HANDLER", details: { code: "E_CONFLICT" } });
  expect(await long).toMatchObject({ isAborted: false, code: "written" });
  expect(await cluster.slice(guard, { via: other }).work({ workMs: 0 })).toMatchObject({ code: "written" });
});
