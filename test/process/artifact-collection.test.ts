// Slow. The collection of artifacts on real nodes, every second and without any time to apply what was pushed, while
// its leader is killed: what a revision of a blueprint, an instance or a job needs stays, and everything else goes.
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { sampleArchive } from "../unit/slices-build/sample-artifacts.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";
import { applySlices, callOver, pushSlice, untilServed } from "./support/call-slices.ts";

const AGENTS = "test:agents:1.0.0";
/** What the blueprint had before, and has now. */
const BEFORE = "test:shop:1.0.0";
const NOW = "test:shop:1.1.0";
const BAIT_BYTES = 3 * 1_024 * 1_024;

const clusterSchema = z.object({ leader: z.object({ node: z.string() }).nullish() });
const listSchema = z.object({
  artifacts: z.array(z.object({ artifact: z.string(), neededBy: z.array(z.string()) })),
});

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
});

afterAll(() => fleet.close());

const api = (path: string): string => `${fleet.api("n1")}/v1/${path}`;

/** Who needs each artifact that is stored. */
async function stored(): Promise<ReadonlyMap<string, readonly string[]>> {
  const { artifacts } = listSchema.parse((await ask(api("artifacts"))).body);
  return new Map(artifacts.map(({ artifact, neededBy }) => [artifact, neededBy]));
}

/** Again, with a collection every second that leaves no time to apply what was pushed. */
async function restartCollecting(name: string): Promise<void> {
  await fleet.kill(name);
  const artifacts = { keepHours: 0, collectEveryMs: 1_000, keepChunksMs: 1_000 };
  await (await fleet.launch(name, { artifacts })).ready();
}

async function leader(): Promise<string> {
  return await eventually("somebody leads", async () =>
    clusterSchema.parse((await ask(api("cluster"))).body).leader?.node);
}

/** Pushes something that nobody needs; once that is gone, everything has been looked at. */
async function collected(name: string): Promise<void> {
  const artifact = `test:${name}:1.0.0`;
  const raw = Buffer.from(sampleArchive({ artifact, bundle: Buffer.alloc(BAIT_BYTES, name) }));
  expect(await ask(api(`artifacts/${artifact}`), { method: "PUT", raw })).toMatchObject({ status: 200 });
  await eventually(`${artifact} is gone`, async () => !(await stored()).has(artifact) || undefined);
}

test("what nobody needs goes at once, and what anything needs stays, whoever leads", async () => {
  for (const version of ["1.0.0", "1.1.0"]) {
    const look = { effect: "read", handler: `() => ({ version: "${version}" })` } as const;
    await pushSlice(fleet, { artifact: `test:shop:${version}`, methods: { look } });
    await applySlices(fleet, { shop: { artifact: `test:shop:${version}`, instances: 2 } }, "shop");
  }
  await applyAgents(fleet, "agents");
  await startJob(fleet, "n1", { agent: "waiting", input: { sleepMs: 1 }, id: "waits" });
  // From here on only the job needs its code.
  expect(await ask(api("blueprints/agents"), { method: "DELETE" })).toMatchObject({ status: 200 });

  for (const name of fleet.names) await restartCollecting(name);

  for (const round of [1, 2, 3]) {
    await collected(`bait${round}`);
    const kept = await stored();
    expect([...kept.keys()].sort()).toEqual([AGENTS, BEFORE, NOW]);
    expect(kept.get(AGENTS)).toEqual(["1 jobs that have not ended"]);
    expect(kept.get(BEFORE)).toEqual(["blueprint shop, revision 1"]);
    await restartCollecting(await leader());
    await untilServed(fleet, "shop/look");
  }

  await fleet.command("n1", "blueprint", "rollback", "shop", "--wait", "--timeout", "60");
  expect(await callOver(fleet, "n2", "shop/look")).toMatchObject({ status: 200, output: { version: "1.0.0" } });
  const told = await ask(api("jobs/waits/signals/go"), { method: "POST", body: { by: "ann" } });
  expect(told.status, JSON.stringify(told.body)).toBeLessThan(300);
  expect(await resultOf(fleet, "n1", "waits")).toMatchObject({ kind: "completed", output: { by: "ann" } });
});
