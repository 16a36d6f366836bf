// Slow. Real nodes are drained one after the other while clients call: no call fails, and each write runs once.
import { readFile } from "node:fs/promises";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { type Client, connect } from "../../src/client/connect.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applySlices, pushSlice, untilServed } from "./support/call-slices.ts";

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
  for (const name of NAMES) {
    await pushSlice(fleet, {
      artifact: `test:${name}:1.0.0`,
      head: `import { appendFileSync } from "node:fs";`,
      methods: {
        look: { effect: "read", handler: "() => ({})" },
        mark: {
          effect: "write",
          handler: `async ({ id }) => {
            appendFileSync(${JSON.stringify(journal)}, id + "\\n");
            await sleep(3);
            return {};
          }`,
        },
      },
    });
  }
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
  const calls = new Calls(fleet.names.flatMap(callersOf));
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
  expect(written.sort()).toEqual([...calls.writes].sort());
});

test("a drain that is cancelled at once fails no call and ends with every instance in its place", async () => {
  const calls = new Calls(fleet.names.map((name) => fleet.api(name)));
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

/** Callers that go on whatever happens, and never send a call twice. */
class Calls {
  readonly failures: unknown[] = [];
  /** Ids of the writes that were answered. */
  readonly writes: string[] = [];
  answered = 0;
  private isStopping = false;
  private readonly clients: readonly Client[];
  private readonly callers: readonly Promise<void>[];

  constructor(apis: readonly string[]) {
    this.clients = apis.map((api) => connect({ nodes: [api] }));
    this.callers = this.clients.map((client, caller) => this.call(client, caller));
  }

  async progress(calls: number): Promise<void> {
    const enough = this.answered + calls;
    await eventually(`${calls} more answers`, () => this.answered >= enough || undefined);
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await Promise.all(this.callers);
    for (const client of this.clients) client.close();
  }

  private async call(client: Client, caller: number): Promise<void> {
    for (let count = 0; !this.isStopping; count++) {
      const slice = NAMES[count % NAMES.length] ?? "";
      const id = `${caller}-${count}`;
      try {
        if (count % 2 === 0) await client.call({ slice, method: "look", input: {}, effect: "read" });
        else {
          await client.call({ slice, method: "mark", input: { id }, effect: "write" });
          this.writes.push(id);
        }
        this.answered += 1;
      } catch (error) {
        this.failures.push(error);
      }
    }
  }
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
