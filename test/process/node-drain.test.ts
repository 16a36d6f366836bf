// Slow. Real nodes are drained one after the other while clients call: no call fails, and each write runs once.
import { readFile } from "node:fs/promises";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { markingSlice } from "./support/call-ledger.ts";
import { applySlices, pushSlice, untilServed } from "./support/call-slices.ts";
import { SteadyCalls } from "./support/steady-calls.ts";

const SLICES = { solo: 1, pair: 2, trio: 3 } as const;
const NAMES = Object.keys(SLICES);
const INSTANCES = 6;
const CALLERS_PER_NODE = 4;

const clusterSchema = z.object({
  nodes: z.array(z.object({ id: z.string(), status: z.string(), instances: z.number() })),
});
type NodeSeen = z.output<typeof clusterSchema>["nodes"][number];

let fleet: NodeFleet;
let directory: string;
let journal: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "aether-drain-"));
  journal = join(directory, "writes");
  fleet = await NodeFleet.create();
  await fleet.startAll();
  for (const name of NAMES) await pushSlice(fleet, markingSlice(`test:${name}:1.0.0`, journal));
  await applySlices(fleet, Object.fromEntries(Object.entries(SLICES).map(([name, instances]) =>
    [name, { artifact: `test:${name}@^1.0.0`, instances }])));
  for (const name of NAMES) await untilServed(fleet, `${name}/look`);
  await eventually("all instances are there", async () => {
    const nodes = await nodesSeen();
    return nodes.reduce((sum, { instances }) => sum + instances, 0) === INSTANCES || undefined;
  });
});

afterAll(async () => {
  await fleet.close();
  rmSync(directory, { recursive: true, force: true });
});

test("every node is drained and comes back, under calls of which none fails and each write runs once", async () => {
  const callersOf = (name: string) => Array.from({ length: CALLERS_PER_NODE }, () => fleet.api(name));
  const { calls, marks } = lookAndMark(fleet.names.flatMap(callersOf));
  await calls.progress(200);
  for (const name of fleet.names) {
    expect(await aether("node", "drain", name, "--wait")).toContain(`${name} is drained`);
    expect(await nodeSeen(name)).toMatchObject({ status: "drained", instances: 0 });
    await calls.progress(200);
    expect(await aether("node", "drain", name, "--cancel", "--wait")).toContain(`${name} is on-duty`);
    await calls.progress(200);
  }
  await calls.stop();
  process.stdout.write(`drain of each node: ${calls.answered} calls, ${calls.failures.length} failed\n`);
  expect(calls.failures).toEqual([]);
  const written = (await readFile(journal, "utf8")).trimEnd().split("\n");
  expect(written.sort()).toEqual([...marks].sort());
});

test("a drain that is cancelled at once fails no call and ends with every instance in its place", async () => {
  const { calls } = lookAndMark(fleet.names.map((name) => fleet.api(name)));
  await calls.progress(50);
  await aether("node", "drain", "n2");
  await aether("node", "drain", "n2", "--cancel", "--wait");
  await eventually("as many instances as are wanted", async () => {
    const nodes = await nodesSeen();
    return nodes.reduce((sum, { instances }) => sum + instances, 0) === INSTANCES || undefined;
  });
  await calls.progress(50);
  await calls.stop();
  expect(calls.failures).toEqual([]);
});

test("a drained node stays drained over its restart; the last node on duty is drained only by force", async () => {
  await aether("node", "drain", "n1", "--wait");
  await fleet.process("n1").stop("SIGTERM");
  await fleet.start("n1");
  await eventually("it is drained again", async () => (await nodeSeen("n1"))?.status === "drained" || undefined);
  await aether("node", "drain", "n2", "--wait");
  const refused = await ask(`${fleet.api("n2")}/v1/nodes/n3/drain`, { method: "POST" });
  expect(refused).toMatchObject({ status: 409, body: { error: { code: "E_CONFLICT" } } });
  expect(await ask(`${fleet.api("n2")}/v1/nodes/n7/drain`, { method: "POST" })).toMatchObject({ status: 404 });
  for (const name of ["n1", "n2"]) await aether("node", "drain", name, "--cancel", "--wait");
});

/** Callers that look and mark in turn, and the ids of the marks that were answered. */
function lookAndMark(apis: readonly string[]): { readonly calls: SteadyCalls; readonly marks: readonly string[] } {
  const marks: string[] = [];
  const calls = new SteadyCalls(apis, async (client, caller, count) => {
    const slice = NAMES[count % NAMES.length] ?? "";
    if (count % 2 === 0) await client.call({ slice, method: "look", input: {}, effect: "read" });
    else {
      const id = `${caller}-${count}`;
      await client.call({ slice, method: "mark", input: { id }, effect: "write" });
      marks.push(id);
    }
  });
  return { calls, marks };
}

async function nodesSeen(): Promise<readonly NodeSeen[]> {
  return clusterSchema.parse((await ask(`${fleet.api("n3")}/v1/cluster`)).body).nodes;
}

async function nodeSeen(name: string): Promise<NodeSeen | undefined> {
  return (await nodesSeen()).find(({ id }) => id === name);
}

/** Runs a command that must succeed, and gives what it printed. */
async function aether(...args: readonly string[]): Promise<string> {
  const command = fleet.run(["--api", fleet.api("n3"), ...args]);
  const { code } = await command.waitForEnd(60_000);
  expect(code, command.transcript()).toBe(0);
  return command.stdout.join("\n");
}
