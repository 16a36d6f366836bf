// Slow. What slices keep in the store and who holds their leases, on real nodes of which one is killed.
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applySlices, callOver, pushSlice, untilServed } from "./support/call-slices.ts";

/** Whoever has the lease counts, under its token. */
const GUARD = {
  artifact: "test:guard:1.0.0",
  head: "let lease;",
  rest: `start: (ctx) => {
    const hold = async () => {
      while (!ctx.signal.aborted) {
        try {
          lease = await ctx.lease("leader", { ttlMs: 1000, waitMs: 60000 });
          await new Promise((resolve) => lease.signal.addEventListener("abort", resolve));
        } catch {
          await sleep(50);
        }
      }
    };
    void hold();
  },`,
  methods: {
    look: { effect: "read", handler: "() => ({})" },
    count: {
      effect: "write",
      handler: `async (_, ctx) => {
        if (lease === undefined || lease.signal.aborted) return { isHolder: false };
        const entry = await ctx.kv.get("count");
        const count = (entry?.value ?? 0) + 1;
        await lease.kv.put("count", count, { ifRevision: entry?.modRevision ?? 0 });
        return { isHolder: true, count, token: lease.token };
      }`,
    },
  },
} as const;

const LEASE = "leases/guard/leader";
const rowSchema = z.object({ modRevision: z.number(), value: z.object({ node: z.string(), instance: z.string() }) });
type Row = z.output<typeof rowSchema>;
const countedSchema = z.object({ isHolder: z.literal(true), count: z.number(), token: z.number() });

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await pushSlice(fleet, GUARD);
  await applySlices(fleet, { guard: { artifact: "test:guard@^1.0.0", instances: 2 } });
  await untilServed(fleet, "guard/look");
});

afterAll(() => fleet.close());

async function holder(via: string): Promise<Row | undefined> {
  const answer = await ask(`${fleet.api(via)}/v1/kv/${LEASE}`);
  return answer.status === 200 ? rowSchema.parse(answer.body) : undefined;
}

/** Until the instance that has the lease was asked: through its node, which prefers its own instance. */
async function count(via: string): Promise<z.output<typeof countedSchema>> {
  return await eventually("the holder has counted", async () => {
    const row = await holder(via);
    const { output } = await callOver(fleet, row?.value.node ?? via, "guard/count");
    return countedSchema.safeParse(output).data;
  });
}

test("the holder's node is killed: another has the lease under a higher token, the old one is refused", async () => {
  const first = await eventually("somebody has the lease", () => holder("n1"));
  const via = fleet.names.find((name) => name !== first.value.node) ?? "";
  const counted = await count(via);
  expect(counted.count).toBe(1);
  // On a busy machine a lease of a second may have gone to the other instance meanwhile.
  const before = await eventually("somebody has the lease", () => holder(via));
  expect(counted.token).toBeGreaterThanOrEqual(first.modRevision);
  expect(counted.token).toBeLessThanOrEqual(before.modRevision);

  const alive = fleet.names.find((name) => name !== before.value.node) ?? "";
  await fleet.kill(before.value.node);
  const after = await eventually("another has the lease", async () => {
    const row = await holder(alive);
    return row === undefined || row.value.node === before.value.node ? undefined : row;
  });
  expect(after.modRevision).toBeGreaterThan(before.modRevision);
  const next = await count(alive);
  expect(next.count).toBe(2);
  expect(next.token).toBeGreaterThanOrEqual(after.modRevision);

  // What a holder that is late would send.
  const late = await ask(`${fleet.api(alive)}/v1/kv/txn`, {
    method: "POST",
    body: {
      compare: [{ key: LEASE, target: "modRevision", op: "=", value: before.modRevision }],
      then: [{ op: "put", key: "data/slices/guard/count", value: 99 }],
    },
  });
  expect(late).toMatchObject({ status: 200, body: { succeeded: false } });
  expect(await count(alive)).toMatchObject({ count: 3 });
});

test("what a slice has put outlives all its instances, and the node that comes back", async () => {
  const down = fleet.names.find((name) => !fleet.process(name).isRunning) ?? "";
  await fleet.start(down);
  const { count: counted } = await count(down);
  await applySlices(fleet, {});
  await eventually("it is gone", async () => (await callOver(fleet, "n1", "guard/look")).status !== 200 || undefined);
  await eventually("nobody has the lease", async () => (await holder("n1")) === undefined || undefined);
  const { body } = await ask(`${fleet.api("n2")}/v1/kv/data/slices/guard/count`);
  expect(body).toMatchObject({ value: counted });
  await applySlices(fleet, { guard: { artifact: "test:guard@^1.0.0", instances: 1 } });
  await untilServed(fleet, "guard/look");
  expect(await count("n1")).toMatchObject({ count: counted + 1 });
});
